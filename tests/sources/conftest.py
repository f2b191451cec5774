"""A world to draw from: real model, real engine, real rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import Native, Stage, recipes
from groupwise.learners.local import LocalLearner
from groupwise.protocols import Reward
from groupwise.render import Renderer
from groupwise.rewards import as_reward
from groupwise.sources import World
from groupwise.tasks.task import Task
from groupwise.types import Example, Group, Prompt, Rollout, Score

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}", answer=f"{n + 1}") for n in range(10))
Open = Callable[..., World]


def length(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@pytest.fixture
def rows() -> tuple[Example, ...]:
    return ROWS


@pytest.fixture
def world(tiny_model: Path, open_learner: Callable[..., LocalLearner]) -> Open:
    """``world(source, rows, rewards=, **options of Stage)``"""

    def make(
        source: Any,
        rows: Sequence[Example] = ROWS,
        max_rows: int = 64,
        rewards: tuple[Reward, ...] = (as_reward(length),),
        **options: Any,
    ) -> World:
        learner = open_learner()
        stage = Stage(
            "stage", replace(recipes.grpo, source=source), Task("rows", rows, rewards), **{"steps": 3} | options
        )
        renderer = Renderer(learner.tokenizer, name=str(tiny_model), eos_tokens=learner.stop_tokens)
        live = learner.live_module()
        engine = Native(max_rows=max_rows).open(learner.directory, live, learner.tokenizer)
        return World(stage, renderer, engine, seed=7)

    return make


@pytest.fixture
def drawn() -> Callable[[Sequence[Group]], list[Any]]:
    """Which row became which tokens."""
    return lambda groups: [(group.prompt.example.id, [r.tokens for r in group.rollouts]) for group in groups]


@pytest.fixture
def scored_group() -> Callable[..., Group]:
    """``scored_group((text, reward or None), ..., finished=)``: by hand, one reward named ``right``."""

    def make(*attempts: tuple[str, float | None], finished: bool = True) -> Group:
        prompt = Prompt(Example("row", "question"), (5, 6))
        rollouts = [
            Rollout(
                prompt=prompt,
                tokens=(7,),
                mask=(True,),
                behavior_logprobs=(-1.0,),
                text=text,
                finished=finished,
                version=0,
                rewards={} if reward is None else {0: reward},
                scores={"right": Score(reward)},
                correct=None if reward is None else reward >= 1 - 1e-9,
            )
            for text, reward in attempts
        ]
        return Group(prompt, tuple(rollouts))

    return make
