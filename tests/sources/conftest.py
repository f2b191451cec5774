"""A world to draw from: real model, real engine, real rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from groupwise import Native, Stage, recipes
from groupwise.algorithm import Source
from groupwise.learners.local import LocalLearner
from groupwise.protocols import Reward
from groupwise.rewards import as_reward
from groupwise.sources import DrawContext, OnPolicy, PendingDraw, Position, RolloutBatch
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.stage import draw_context
from groupwise.types import Example, Group, Prompt, Rollout, Sampling, Score

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}", answer=f"{n + 1}") for n in range(10))
Open = Callable[..., DrawContext]


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
    ) -> DrawContext:
        learner = open_learner()
        stage = Stage(
            "stage", replace(recipes.grpo, source=source), Task("rows", rows, rewards), **{"steps": 3} | options
        )
        renderer = Renderer(learner.tokenizer, name=str(tiny_model), eos_tokens=learner.stop_tokens)
        live = learner.live_module()
        engine = Native(max_rows=max_rows).open(learner.directory, live, learner.tokenizer)
        return draw_context(stage, renderer, engine, seed=7)

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


@dataclass(frozen=True)
class DrawnAhead(Source):
    """Is what ``Ahead`` must equal, one draw after the other: draw n + ``steps`` is of the weights before update n."""

    inner: OnPolicy
    steps: int = 1

    @property
    def temperature(self) -> float:
        return self.inner.temperature

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        pending = context.pending
        pending[:] = self._from(context, position)
        while len(pending) <= self.steps:
            start = pending[-1].draw.result().position if pending else position
            context.serve()
            there = context.at(context.state.global_step + len(pending), start, serve=lambda: None)
            pending.append(PendingDraw(start, self._begun(there, start)))
        return pending[0].draw.result()

    def pending(self, context: DrawContext, position: Position) -> Sequence[RolloutBatch]:
        return [each.draw.result() for each in self._from(context, position)]

    def restore(self, context: DrawContext, position: Position, pending: Sequence[RolloutBatch]) -> bool:
        for draw in pending:
            done: Future[RolloutBatch] = Future()
            done.set_result(draw)
            context.pending.append(PendingDraw(position, done))
            position = draw.position
        return True

    def close(self, context: DrawContext) -> None:
        for each in context.pending:
            each.draw.result()

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        return "another" if self.steps else "learner"

    def completions_per_prompt(self) -> int:
        return self.inner.group_size

    def sampling(self, renderer: Renderer) -> Sampling | None:
        return self.inner.sampling(renderer)

    def needs_reward(self, algorithm: Any) -> bool:
        return self.inner.needs_reward(algorithm)

    def _from(self, context: DrawContext, position: Position) -> list[PendingDraw]:
        """Those that begin there or later."""
        starts = [dict(each.start) for each in context.pending]
        return context.pending[starts.index(dict(position)) :] if dict(position) in starts else []

    def _begun(self, context: DrawContext, start: Position) -> Future[RolloutBatch]:
        """The draw, with log-probabilities as the ledger has them."""
        future: Future[RolloutBatch] = Future()
        draw = self.inner.draw(context, start)
        kept = [
            Group(group.prompt, tuple(replace(one, behavior_logprobs=single(one)) for one in group.rollouts))
            for group in draw.groups
        ]
        future.set_result(replace(draw, groups=kept))
        return future


def single(rollout: Rollout) -> tuple[float, ...]:
    """Its log-probabilities in single precision."""
    return tuple(torch.tensor(rollout.behavior_logprobs, dtype=torch.float32).tolist())


@pytest.fixture
def drawn_ahead() -> type[DrawnAhead]:
    return DrawnAhead
