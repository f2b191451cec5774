"""``examples/gsm8k.py`` from end to end, through the real command line, on real GSM8K rows and a tiny new model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from groupwise import NewModel
from groupwise.cli import main
from groupwise.ledger.files import Ledger

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "gsm8k.py"
DATA = ROOT / "../shared/data/gsm8k"
STEPS, PROMPTS, SAMPLES = 3, 2, 2

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"GSM8K is not at {DATA}")


def command(model: Path) -> list[str]:
    rows = ["--train", f"{DATA}/train.jsonl", "--test", f"{DATA}/test.jsonl"]
    return ["run", str(EXAMPLE), "--model", str(model), *rows]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gsm8k") / "model"
    small = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=1024)
    small.save(directory)
    return directory


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of a few steps."""
    out = tmp_path_factory.mktemp("run") / "gsm8k"
    budget = ["--steps", str(STEPS), "--prompts_per_step", str(PROMPTS), "--evaluate_every", "0"]
    budget += ["--algorithm.source.group_size", str(SAMPLES), "--algorithm.source.max_completion_tokens", "16"]
    budget += ["--evaluation.problems", "4", "--evaluation.sampled_problems", "2", "--evaluation.samples", "2"]
    assert main([*command(model), *budget, "--evaluation.max_completion_tokens", "16", "--out", str(out)]) == 0
    return out


def questions(split: str) -> list[str]:
    return [json.loads(line)["question"] for line in (DATA / f"{split}.jsonl").read_text().splitlines()]


def test_it_reads_every_row_and_keeps_deepseekmaths_settings(model, capsys):
    assert main([*command(model), "--dry_run"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["task"]["train"]["rows"] == 7473
    assert stage["task"]["held_out"]["rows"] == 1319
    assert stage["algorithm"]["kl"]["coefficient"] == 0.04
    assert stage["algorithm"]["kl"]["estimator"] == "k3"
    assert stage["learning_rate"] == 1e-6


def test_every_step_is_on_record(finished):
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["reward"] <= 1 for row in rows)


def test_the_ledger_holds_questions_of_gsm8k(finished, model):
    ledger, asked = Ledger(finished / "ledger"), questions("train")
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert ledger.steps("grpo") == [1, 2, 3]
    for step in ledger.steps("grpo"):
        rows = ledger.read("grpo", step)
        assert len(rows) == PROMPTS * SAMPLES
        for row in rows:
            file, _, line = row["example"].partition(":")
            prompt = tokenizer.decode(row["prompt_tokens"])
            assert file == "train.jsonl"
            assert asked[int(line) - 1] in prompt
            assert prompt.endswith("and the final number.<|assistant|>")


def test_it_is_evaluated_on_the_test_split(finished):
    *_, model = json.loads((finished / "evaluation.json").read_text())["models"]
    assert model["evaluation"]["ids"] == [f"test.jsonl:{line}" for line in (1, 2, 3, 4)]


def test_the_model_it_leaves_loads(finished):
    left = finished / "models" / "grpo"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(left), AutoTokenizer.from_pretrained(left)
    with torch.no_grad():
        logits = model(**tokenizer("1 + 1", return_tensors="pt", return_token_type_ids=False)).logits
    assert logits.shape == (1, 5, len(tokenizer))
    assert torch.isfinite(logits).all()
