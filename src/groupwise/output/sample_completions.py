"""This module chooses completions of an evaluation to look at: with their questions, and which of them are worth a
look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.seeding import stable_seed
from groupwise.types import Rollout


@dataclass(frozen=True)
class SampleCompletion:
    """This is a greedy answer to look at."""

    question: str
    text: str
    reward: float | None
    finished: bool
    correct: bool | None = None
    """The judge's verdict; None where it could not score."""


def to_look_at(rollouts: Sequence[Rollout], seed: int) -> dict[str, SampleCompletion]:
    """The ``best`` and the ``worst`` by their rewards, and a ``random`` other one. Of equals the first is the
    best and the last the worst."""
    scored = [number for number, rollout in enumerate(rollouts) if rollout.reward is not None]
    chosen: dict[str, int] = {}
    if scored:
        chosen["best"] = max(scored, key=lambda number: rollouts[number].reward or 0.0)
        chosen["worst"] = min(reversed(scored), key=lambda number: rollouts[number].reward or 0.0)
    others = sorted({*range(len(rollouts))} - {*chosen.values()})
    if others:
        chosen["random"] = others[stable_seed(seed, "to look at") % len(others)]
    return {name: sample_of(rollouts[number]) for name, number in chosen.items()}


def sample_of(rollout: Rollout) -> SampleCompletion:
    """Returns a completion with its question, to look at."""
    prompt = rollout.prompt.example.prompt
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return SampleCompletion(question, rollout.text, rollout.reward, rollout.finished, rollout.correct)
