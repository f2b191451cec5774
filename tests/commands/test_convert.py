"""groupwise convert: the file that it writes, and that it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.cli import main

TRAIN = '''"""Somebody's script."""
import re
from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

INSTRUCTION = "Add."  # said first
NUMBER = re.compile(r"\\\\d+")


def as_prompt(row):
    return {{"prompt": f"{{INSTRUCTION}} {{row['question']}}"}}


def digits(completions, **kwargs):
    """The share of digits."""
    return [len("".join(NUMBER.findall(text))) / (len(text) + 1) for text in completions]


def short(completions, answer, **kwargs):
    assert all(answer)
    return [-len(text) / 100 for text in completions]


config = GRPOConfig(
    output_dir="out",
    num_generations=4,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    max_completion_length=8,
    max_steps=2,
    learning_rate=1e-3,
    reward_weights=[1.0, 0.5],
    loss_type="dr_grpo",
    beta=0.01,
    use_vllm=True,
    seed=args.seed,
)
trainer = GRPOTrainer(
    model="{model}",
    reward_funcs=[digits, short],
    args=config,
    train_dataset=load_dataset("json", data_files="{data}", split="train").map(as_prompt),
)
trainer.train()
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


def test_a_trl_script_becomes_a_recipe_that_trains(here: Path, tiny_model: Path, capsys) -> None:
    (here / "train.py").write_text(TRAIN.format(model=tiny_model, data=here / "rows.jsonl"))
    assert main(["convert", "train.py"]) == 0
    said = capsys.readouterr().out
    assert "no place: use_vllm=True: completions are sampled by the run's own engine" in said
    assert "not read: seed=args.seed (line 37)" in said
    assert said.endswith("train_groupwise.py is written; now: groupwise run train_groupwise.py --dry_run\n")
    assert main(["run", "train_groupwise.py", "--dry_run"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["algorithm"]["kl"]["coefficient"] == 0.01
    assert main(["run", "train_groupwise.py", "--learner.device", "cpu", "--learner.threads", "1"]) == 0
    steps = [json.loads(line) for line in (here / "runs/train_groupwise/metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps if "reward" in step][-1] == 2


def test_the_recipe_s_own_options_replace_what_the_script_says(here: Path, roomy_model: Path, capsys) -> None:
    words = "trl grpo --model_name_or_path org/model --dataset_name org/rows --reward_funcs accuracy_reward"
    assert main(["convert", "--out", "mine.py", "--", *words.split()]) == 0
    capsys.readouterr()
    assert main(["run", "mine.py", "--model", str(roomy_model), "--data", "rows.jsonl", "--dry_run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == str(roomy_model)
    assert shown["name"] == "mine"


def test_what_the_script_does_not_say_the_recipe_asks_for(here: Path, capsys) -> None:
    assert main(["convert", "algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=4"]) == 0
    assert "groupwise run recipe_groupwise.py --model ... --data ... --dry_run" in capsys.readouterr().out
    assert main(["run", "recipe_groupwise.py"]) == 2
    assert "--model is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "nothing to convert"),
        (["no.py"], "no such file and no training command; expected a file"),
        (["rows.jsonl"], "unknown kind of file"),
        (["kto.py"], "makes none of GRPOTrainer, RLOOTrainer, DPOTrainer, SFTTrainer, RewardTrainer; it makes KTO"),
        (["bad.yaml"], "bad.yaml: not valid YAML"),
        (["vague.yaml"], "--trainer grpo|rloo|dpo|sft|reward"),
        (["vague.yaml", "--trainer", "kto"], "invalid choice"),
        (["good.yaml", "--out", "recipe.txt"], "expected a name that ends in .py"),
        (["good.yaml", "--out", "no/such/recipe.py"], "cannot be written"),
        (["good.yaml", "--out", "kto.py"], "kto.py is there already; --fresh writes over it"),
        (["good.yaml", "--devices", "0"], "--devices is 0; expected at least 1"),
        (["good.yaml", "trainer.save_freq=1"], "one is of TRL and another of verl"),
        (["loss.yaml"], "loss_type=nova is a loss that there is no method for; there are dapo"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(here: Path, capsys, words: list[str], line: str) -> None:
    (here / "kto.py").write_text("from trl import KTOTrainer\nKTOTrainer()\n")
    (here / "bad.yaml").write_text("a: [1\n")
    (here / "vague.yaml").write_text("learning_rate: 1e-5\n")
    (here / "good.yaml").write_text("num_generations: 4\n")
    (here / "loss.yaml").write_text("num_generations: 4\nloss_type: nova\n")
    assert main(["convert", *words]) == 2
    shown = capsys.readouterr()
    assert line in shown.err
    assert shown.err.count("\n") == 1


def test_another_system_s_script_is_not_run_as_a_recipe(here: Path, capsys) -> None:
    (here / "train.py").write_text("from trl import SFTTrainer\nopen('ran', 'w')\nSFTTrainer('m').train()\n")
    assert main(["run", "train.py"]) == 2
    assert "groupwise convert train.py makes a recipe" in capsys.readouterr().err
    assert not (here / "ran").exists()


def test_a_script_and_the_configuration_that_it_reads(here: Path, capsys) -> None:
    (here / "train.py").write_text(
        "from trl import *\n_, config = TrlParser(X).parse()\nSFTTrainer('m', args=config)\n"
    )
    (here / "config.yaml").write_text("learning_rate: 3e-5\ndataset_name: rows.jsonl\n")
    assert main(["convert", "train.py", "config.yaml"]) == 0
    text = (here / "train_groupwise.py").read_text()
    assert "learning_rate=3e-05" in text
    assert 'data: str = "rows.jsonl"' in text


def test_fresh_writes_over(here: Path) -> None:
    (here / "good.yaml").write_text("num_generations: 4\n")
    assert main(["convert", "good.yaml"]) == 0
    assert main(["convert", "good.yaml"]) == 2
    assert main(["convert", "good.yaml", "--fresh"]) == 0


def test_the_error_for_an_option_of_another_system(here: Path, tiny_model: Path, capsys) -> None:
    known = ["run", "grpo", "--model", str(tiny_model), "--data", "rows.jsonl", "--reward", "math"]
    for words, right in (
        (["--num_train_epochs", "3"], "TRL's num_train_epochs is --steps"),
        (["--epsilon_high", "0.28"], "TRL's epsilon_high is --algorithm.objective.high"),
        (["trainer.save_freq=3"], "verl's trainer.save_freq is --checkpoint_every"),
        (["++actor_rollout_ref.rollout.n=3"], "groupwise convert makes a recipe"),
    ):
        assert main([*known, *words]) == 2
        assert right in capsys.readouterr().err
    assert main(["run", "train.sh"]) == 2
    assert "groupwise convert" in capsys.readouterr().err
    assert main(["evaluate", "m", "--task", "stepwise", "--model_name_or_path", "x"]) == 2
    assert "these are options of groupwise run" in capsys.readouterr().err
