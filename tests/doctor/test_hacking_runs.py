"""A reward that can be pleased without being right: the log says so while it happens, by the referee's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def run(reward: Any, directory: Path) -> Heard:
    """SFT on noisy demonstrations, whose likeliest answer is right, then RL on the reward, with the rule as referee."""
    rule = gw.as_reward(right)
    task = gw.Task("letters", ROWS, (rule,), held_out=ROWS)
    pleased = replace(task, rewards=(gw.as_reward(reward),), referee=(rule,))
    source = gw.OnPolicy(group_size=8, max_completion_tokens=4)
    stages = (
        gw.Stage("sft", recipes.sft, replace(task, train=NOISY), steps=100, prompts_per_step=96, learning_rate=1e-2),
        gw.Stage("grpo", replace(recipes.dr_grpo, source=source), pleased, 24, 8, learning_rate=3e-3, evaluate_every=2),
    )
    model = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=16)
    learner = gw.Local(device="cpu", threads=1, betas=(0.9, 0.99))
    recipe = gw.Run("hacking", model, stages, learner, evaluation=gw.HeldOut(problems=0, during=100))
    heard = Heard()
    gw.run(recipe, directory, sinks=[heard])
    return heard


def test_the_log_says_when_a_reward_is_hacked(tmp_path: Path) -> None:
    heard = run(flawed, tmp_path / "run")
    accuracy = [row["eval/accuracy"] for row in heard.rows if "eval/accuracy" in row]
    assert accuracy[0] > 0.9
    assert accuracy[-1] < 0.5
    said = [note for note in heard.notes if "rises while the rule falls" in note]
    assert said
    assert "'flawed'" in said[0]
    assert said[0].startswith("grpo: ")


def test_it_is_quiet_where_the_reward_is_the_rule(tmp_path: Path) -> None:
    heard = run(right, tmp_path / "run")
    assert not [note for note in heard.notes if "rises while" in note]
