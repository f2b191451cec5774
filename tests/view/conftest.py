"""Runs made by hand: what a run leaves on disk, with numbers that can be reckoned in the head."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groupwise.ledger.columns import schema

SCRIPT = "<script>window.hacked = 1</script>"
WORDS = ("<end>", "2", "3", "4", "5", "\n", SCRIPT, "\u202e", "\x00", "#### ")
END = 0
STARTED = 1_000_000.0


def row(step: int, group: int, reward: float | None, tokens: Sequence[int], **others: Any) -> dict[str, Any]:
    """A rollout; each of its tokens has log-probability -0.5, coefficient 0.1 × reward, and advantage reward."""
    size, value = len(tokens), reward or 0.0
    return {
        "stage": "grpo",
        "step": step,
        "group": group,
        "example": f"train:{group}",
        "prompt": f"{group} + 2 = ?",
        "answer": str(group + 2),
        "prompt_tokens": [1, 2],
        "tokens": list(tokens),
        "mask": [True] * size,
        "text": "".join(WORDS[token] for token in tokens if token != END),
        "finished": True,
        "version": step - 1,
        "versions": [{"version": step - 1, "end": size}],
        "reward": reward,
        "correct": value >= 1,
        "reward_tokens": [size - 1],
        "reward_values": [value],
        "scores": [("answer", reward)],
        "score_weights": [("answer", 1.0)],
        "parts": [("answer", reward)],
        "statuses": [("answer", "scored" if reward is not None else "failed")],
        "behavior_logprobs": [-0.5] * size,
        "logprobs": [-0.5] * size,
        "reference_logprobs": [-0.75] * size,
        "entropy": [0.25] * size,
        "reads": "logprobs",
        "advantages": [value] * size,
        "coefficients": [0.1 * value] * size,
        **others,
    }


def write_step(directory: Path, rows: Sequence[dict[str, Any]], stage: str = "grpo") -> Path:
    """Writes a step's file as a run does: whole, then under its name."""
    form = schema()
    path = directory / "ledger" / stage / f"{rows[0]['step']:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [pa.array([one.get(field.name) for one in rows], type=field.type) for field in form]
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_arrays(arrays, schema=form), partial, compression="zstd")
    partial.replace(path)
    return path


def write_metrics(directory: Path, step: int, **numbers: float) -> None:
    """Appends a step's line to both files."""
    place = {"stage": "grpo", "step": step}
    with (directory / "times.jsonl").open("a") as file:
        file.write(json.dumps({**place, "time_seconds": STARTED + step, "step_time": 2.0}) + "\n")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**place, "reward": 0.1 * step, "num_tokens": 10.0 * step, **numbers}) + "\n")


def write_record(directory: Path, name: str = "hand", started: float = STARTED, **others: Any) -> None:
    """Writes run.json of a run with one stage."""
    algorithm = {"is": "Algorithm", "source": {"is": "OnPolicy", "group_size": 4}}
    stage = {"is": "Stage", "name": "grpo", "algorithm": algorithm, "steps": 4, "prompts_per_step": 2}
    record = {"name": name, "recipe": {"is": "Run", "name": name, "stages": [stage]}, "started": started}
    record |= {"recipe_sha256": "0" * 64, "stages": [{"name": "grpo", "steps": 4}], **others}
    (directory / "run.json").write_text(json.dumps(record))


def measure(*values: float) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {"value": mean, "low": mean - 0.1, "high": mean + 0.1, "by_problem": list(values)}


def evaluation(*greedy: float, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Of a model on as many problems as there are verdicts."""
    shown = [{"question": "q?", "text": text, "reward": 1.0, "finished": True, "correct": True} for text in texts]
    return {
        "problems": len(greedy),
        "ids": [f"held:{at}" for at in range(len(greedy))],
        "greedy": measure(*greedy),
        "pass_at_1": measure(*greedy),
        "pass_at": {},
        "maj_at": {},
        "completions": shown,
        "judge": "answer",
    }


def write_evaluation(directory: Path) -> None:
    """Of four problems one is lost, one gained, one stays wrong, one right."""
    models = [
        {"stage": "before grpo", "evaluation": evaluation(1, 0, 0, 1, texts=["a", "b"])},
        {"stage": "grpo", "evaluation": evaluation(0, 1, 0, 1, texts=[SCRIPT, "d"])},
    ]
    interval = {"value": 0.0, "low": -0.5, "high": 0.5}
    comparison = {
        "greedy": interval,
        "pass_at_1": interval,
        "pass_at": {},
        "maj_at": {},
        "sentence": "Nothing is shown.",
    }
    text = json.dumps({"models": models, "scorers": [], "comparison": comparison})
    (directory / "evaluation.json").write_text(text)


def write_tokenizer(directory: Path) -> None:
    """A token a word of ``WORDS``, so that one token is a script."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    (directory / "models" / "grpo").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "models" / "grpo" / "tokenizer.json"))


def step_of(step: int) -> list[dict[str, Any]]:
    """Two groups of two: one whose rewards differ, one whose rewards are alike."""
    return [
        row(step, 0, 1.0, [1, 5, 9, 1, END]),
        row(step, 0, 0.0, [2, END]),
        row(step, 1, 0.0, [3, 6, END], finished=False),
        row(step, 1, 0.0, [4, 7, 8, END]),
    ]


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """``make_run(name, steps)``: a finished run's directory."""

    def make(name: str = "hand", steps: int = 3) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        write_record(directory, name, seconds=12.0)
        for step in range(1, steps + 1):
            write_metrics(directory, step)
            write_step(directory, step_of(step))
        write_tokenizer(directory)
        return directory

    return make


@pytest.fixture
def hand() -> SimpleNamespace:
    """What makes the parts of a run."""
    return SimpleNamespace(
        row=row,
        write_step=write_step,
        write_metrics=write_metrics,
        write_record=write_record,
        write_evaluation=write_evaluation,
        evaluation=evaluation,
        step_of=step_of,
        script=SCRIPT,
    )
