"""Sampling and scoring side by side: what is scored when, and what happens where it goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from groupwise import OnPolicy
from groupwise.errors import UserError
from groupwise.isolation import deadlines
from groupwise.rewards import as_reward
from groupwise.sources import DrawContext
from groupwise.types import Completion, Request, Sampling

Open = Callable[..., DrawContext]


class Told:
    """The world's engine, which counts what was taken, and gives completions backwards, group after group; where
    ``ahead`` is given, a group begins when it can be acquired."""

    def __init__(self, engine: Any, ahead: threading.Semaphore | None) -> None:
        self.engine, self.ahead, self.taken, self.in_time = engine, ahead, 0, True
        self.context_tokens, self.version = engine.context_tokens, engine.version

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        found = sorted(self.engine.generate(requests, sampling), key=lambda one: (one[0], -one[1]))
        for number, one in enumerate(found):
            if self.ahead is not None and (number == 0 or one[0] != found[number - 1][0]):
                self.in_time &= self.ahead.acquire(timeout=300)
            self.taken += 1
            yield one


def opened(
    world: Open, reward: Any, ahead: threading.Semaphore | None = None, prompts: int = 5
) -> tuple[DrawContext, Told, OnPolicy]:
    source = OnPolicy(group_size=3, max_completion_tokens=4)
    here = world(source, prompts_per_step=prompts)
    task = replace(here.task, rewards=(as_reward(reward, isolated=False),))
    told = Told(here.engine, ahead)
    return replace(here, engine=told, task=task), told, source


def test_groups_are_scored_while_others_are_sampled(world: Open) -> None:
    """Each in one call, prompt after prompt, its rollouts in the order of their seeds."""
    calls: list[list[str]] = []
    two_ahead = threading.Semaphore(2)

    def heard(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        calls.append(list(completions))
        time.sleep(0.25 if len(calls) < 5 else 0.0)
        two_ahead.release()
        return [float(len(text)) for text in completions]

    here, told, source = opened(world, heard, two_ahead)
    draw = source.draw(here, {})
    assert calls == [[rollout.text for rollout in group.rollouts] for group in draw.groups]
    assert [rollout.reward for group in draw.groups for rollout in group.rollouts] == [
        len(rollout.text) for group in draw.groups for rollout in group.rollouts
    ]
    assert told.in_time  # three groups were scored before the fifth was sampled
    # Waited for is the last group alone; the reward's own seconds are all of them.
    assert draw.metrics["rewards/heard/seconds"] >= 1.0
    assert draw.seconds["reward"] < draw.metrics["rewards/heard/seconds"]


def test_too_many_failures_end_the_sampling(world: Open) -> None:
    def fails(completions: Sequence[str], **columns: Any) -> list[float]:
        two_ahead.release()
        return [0.0]

    two_ahead = threading.Semaphore(2)
    here, told, source = opened(world, fails, two_ahead, prompts=8)
    with pytest.raises(UserError, match=r"(15|18) of a step's 24 completions .*returned 1 values for 3"):
        source.draw(here, {})
    assert told.taken < 24


def test_a_reward_that_fails_on_too_many_stops_the_draw_and_few_are_counted(world: Open) -> None:
    def fails(completion: str) -> float:
        raise ValueError("never")

    here, _, source = opened(world, fails)
    with pytest.raises(UserError, match=r"of a step's 15 completions have no reward.*ValueError: never"):
        source.draw(here, {})
    notes: list[str] = []
    patient = replace(here, most_unscored=1.0, on_note=notes.append)
    draw = source.draw(patient, {})
    assert draw.metrics["completions/unscored"] == 15.0
    assert draw.metrics["rewards/fails/failed"] == 1.0
    assert len(notes) == 1
    assert all(rollout.reward is None for group in draw.groups for rollout in group.rollouts)


def test_a_reward_in_this_process_that_never_ends_is_named_with_its_stack(
    world: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(deadlines, "MOST_TIMES", 2)
    over = threading.Event()

    def never(completion: str) -> float:
        over.wait(60)
        return 0.0

    here, _, source = opened(world, never)
    notes: list[str] = []
    with pytest.raises(UserError, match=r"stage has waited 0\.4 s for the rewards of a group and gives up; .*never \("):
        source.draw(replace(here, on_note=notes.append), {})
    over.set()
    assert len(notes) == 2
    assert "rewards stands in wait" in notes[0]
