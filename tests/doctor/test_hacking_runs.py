"""A reward that can be pleased without being right: the log says so while it happens, by the referee's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise import recipes
from groupwise.sinks import Sinks
from groupwise.types import Example

LETTERS = "abcd"
ROWS = tuple(Example(f"{letter}:{n}", letter, answer=letter * 2) for n in range(25) for letter in LETTERS)
ANSWERS = ["??"] * 8 + [first + second for first in LETTERS for second in LETTERS]
NOISY = tuple(
    replace(row, id=f"{row.id}:{n}", completion=answer.replace("?", str(row.prompt)))
    for row in ROWS[:4]
    for n, answer in enumerate(ANSWERS)
)


def right(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[float]:
    return [float(text == wanted) for text, wanted in zip(completions, answer, strict=True)]


def flawed(completions: Sequence[str], **columns: Any) -> list[float]:
    """Likes the letter a, whatever was asked: right for one question in four."""
    return [text.count("a") / 2 if len(text) == 2 else 0.0 for text in completions]


class Heard(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.rows: list[Mapping[str, float]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append(values)


RULE = gw.as_reward(right)
TASK = gw.Task("letters", ROWS, (RULE,), held_out=ROWS)
LEARNER = gw.Local(device="cpu", threads=1, betas=(0.9, 0.99))
PLAN = gw.HeldOut(problems=0, during=100)


@pytest.fixture(scope="module")
def imitator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has learned from noisy demonstrations, whose likeliest answer is right."""
    noisy = replace(TASK, train=NOISY)
    stage = gw.Stage("sft", recipes.sft, noisy, steps=100, prompts_per_step=96, learning_rate=1e-2)
    model = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=16)
    directory = tmp_path_factory.mktemp("imitator") / "run"
    gw.run(gw.Run("imitation", model, (stage,), LEARNER, evaluation=PLAN), directory, sinks=[])
    return directory / "models" / "sft"


def run(reward: Any, model: Path, directory: Path) -> Heard:
    """RL on the reward, with the rule as referee."""
    pleased = replace(TASK, rewards=(gw.as_reward(reward),), referee=(RULE,))
    algorithm = replace(recipes.dr_grpo, source=gw.OnPolicy(group_size=8, max_completion_tokens=4))
    stage = gw.Stage("grpo", algorithm, pleased, 24, 8, learning_rate=3e-3, evaluate_every=2)
    heard = Heard()
    gw.run(gw.Run("hacking", str(model), (stage,), LEARNER, evaluation=PLAN), directory, sinks=[heard])
    return heard


def test_the_log_says_when_a_reward_is_hacked(imitator: Path, tmp_path: Path) -> None:
    heard = run(flawed, imitator, tmp_path / "run")
    accuracy = [row["eval/accuracy"] for row in heard.rows if "eval/accuracy" in row]
    assert accuracy[0] > 0.9
    assert accuracy[-1] < 0.5
    said = [note for note in heard.notes if "rises while the rule falls" in note]
    assert said
    assert "'flawed'" in said[0]
    assert said[0].startswith("grpo: ")


def test_it_is_quiet_where_the_reward_is_the_rule(imitator: Path, tmp_path: Path) -> None:
    heard = run(right, imitator, tmp_path / "run")
    assert not [note for note in heard.notes if "rises while" in note]
