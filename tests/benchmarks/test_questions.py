"""What benchmarks/questions.py and benchmarks/tutorial.py read from runs, on runs made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import questions  # noqa: E402
import questions_page  # noqa: E402
import tutorial  # noqa: E402

sys.path.pop(0)


def a_run(directory: Path, rewards: list[float]) -> None:
    checkpoint = directory / "checkpoints" / "grpo-9"
    checkpoint.mkdir(parents=True)
    (checkpoint / "groupwise_state.safetensors").write_bytes(bytes(2**20))
    rows = [{"stage": "grpo", "reward": reward, "num_tokens": 9.0, "kl": 0.25} for reward in rewards]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    times = {"stage": "grpo", "step_time": 2.0, "seconds/train": 1.5, "seconds/sample": 0.25}
    (directory / "times.jsonl").write_text((json.dumps(times) + "\n") * len(rewards))
    part = {"pass_at_1": {"value": 0.5, "low": 0.25, "high": 0.75}}
    models = [{"stage": name, "evaluation": part} for name in ("before grpo", "grpo")]
    (directory / "evaluation.json").write_text(json.dumps({"models": models, "comparison": part}))


def test_the_target_is_reached_where_the_mean_of_three_steps_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "RUNS", tmp_path)
    a_run(tmp_path / "one", [0.5, 0.75, 0.5, 1.0, 1.0, 0.25])
    found = questions.reached("one")
    assert found == {
        "steps": 5,
        "completions": 640,
        "seconds": 10.0,
        "seconds_learning": 7.5,
        "state_megabytes": 1.0,
    }
    a_run(tmp_path / "two", [0.5, 0.6, 0.7])
    assert questions.reached("two")["steps"] is None
    rows = [{"seed": 0, "megabytes": 700} | found, {"seed": 1, "megabytes": 701} | questions.reached("two")]
    lines = questions_page.table({"grpo": rows}).splitlines()
    assert lines[2] == "| grpo | 0 | 640 | 10.0 | 7.5 | 1.0 | 700 |"
    assert lines[3] == "| grpo | 1 | not reached | not reached | not reached | 1.0 | 701 |"


def test_scatter_is_among_the_samples_of_a_prompt() -> None:
    import torch

    gradients = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    groups = torch.tensor([0, 0, 1, 1])
    found = questions.scatter(gradients, torch.ones(4), groups, torch.tensor([1.0, 1.0]))
    assert found == pytest.approx({"noise": 1.0, "length": 2**0.5, "cosine": 1.0})


def test_gradients_of_completions_that_are_read_together_are_those_of_each_alone() -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    small = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 4}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=16, num_key_value_heads=1, **small))
    rows = [
        {"prompt_tokens": [1, 2], "tokens": [3, 4, 5]},
        {"prompt_tokens": [6], "tokens": [7]},
        {"prompt_tokens": [8, 9], "tokens": [10, 11, 12]},
    ]
    layer = model.model.layers[-1].mlp.down_proj
    found = questions.gradients_of(model, layer, rows)
    for row, own in zip(rows, found, strict=True):
        start = len(row["prompt_tokens"]) - 1
        logprobs = model(torch.tensor([row["prompt_tokens"] + row["tokens"]])).logits[0, start:-1].log_softmax(-1)
        said = logprobs.gather(-1, torch.tensor(row["tokens"])[:, None]).sum()
        (wanted,) = torch.autograd.grad(said, layer.weight)
        assert torch.allclose(own, wanted.flatten(), atol=1e-6)


def test_a_run_of_the_tutorial_in_a_line(tmp_path: Path) -> None:
    a_run(tmp_path / "run", [0.25, 0.5, 0.75, 1.0])
    found = tutorial.measured(tmp_path / "run", 2048) | {"seconds": 12.0}
    assert found["peak_megabytes"] == 2
    assert found["seconds_learning"] == 6.0
    said = tutorial.said(found)
    assert said.startswith(
        "mean reward 0.50 in the first 3 steps, 0.75 in the last 3; pass@1 on held-out problems 0.500"
    )
    assert (
        "paired +0.500 [+0.250, +0.750]; KL to the reference 0.2500 nats a token at the end; 12 seconds, 2 MB." in said
    )
    page = tutorial.filled("<!-- run -->\nNot measured yet\n<!-- /run -->\n", {"run": found})
    assert page.startswith("<!-- run -->\nIt gave: mean reward 0.50")
