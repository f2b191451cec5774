"""Groupwise: a whole ``groupwise.run``, ledger and metrics included, that takes a step whenever the bench says so.

It chooses its own thread counts, as it does for everyone, unless the job names one, and has its own micro-batches,
unless they are to be TRL's (``small``): for the comparison of memory.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from cases import GROUP, PROMPTS, ROWS, STOPS, reward
from talk import Channel, Ended, Memory

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import Source
from groupwise.engines import Native
from groupwise.learners import Local
from groupwise.rewards.scoring import score_rollouts
from groupwise.sources import DrawContext, Position, RolloutBatch, as_rollout, prompt_stream
from groupwise.types import Completion, Example, Group, Request, Rollout, Sampling, Score

CANDIDATES = 48  # completions of each prompt among which those of the wanted lengths are found


@dataclass(frozen=True)
class Trivial:
    """The reward."""

    name: str = "trivial"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(reward(rollout.tokens)) for rollout in rollouts]


class Orders:
    """The bench's orders, and the account of the step that is under way."""

    def __init__(self, channel: Channel, out: Path) -> None:
        self.channel, self.out, self.memory = channel, out, Memory()
        self.seeds = [tuple(range(GROUP)) for _ in range(PROMPTS)]
        self.now: dict[str, Any] = {}
        self.started = self.sampling = self.learning = 0.0
        self.tokens = 0

    def threads(self) -> int:
        """Those that the learner chose."""
        return int(json.loads((self.out / "run.json").read_text())["threads"])

    def next(self, plan: Any) -> dict[str, Any]:
        """Reports the step before, and waits for the next. A period ends where the next one could begin."""
        if self.now:
            seconds = time.perf_counter() - self.started
            self.channel.say(
                seconds=seconds, sampling=self.sampling, learning=self.learning, tokens=self.tokens,
                threads=self.threads(), **self.memory.figures(),
            )  # fmt: skip
        while True:
            self.now = self.channel.hear()
            if self.now["do"] == "plan":
                self.channel.say(lengths=plan(self.now["targets"]))
                continue
            self.started = time.perf_counter()
            return self.now


@dataclass(frozen=True)
class Ordered(Source):
    """The same prompts each time; completions by the seeds that give them the wanted lengths.

    The learning rate is 0, so that weights, and with them completions, stay as they are; every update is computed.
    """

    temperature: float = 1.0
    max_completion_tokens: int = 64
    stop_tokens: tuple[int, ...] = ()
    orders: ClassVar[Orders]

    def draw(self, world: DrawContext, position: Position) -> RolloutBatch:
        world.serve()
        rows = [world.renderer.prompt(example) for example, _ in zip_rows(world)]
        order = self.orders.next(lambda targets: self.plan(world, [row.tokens for row in rows], targets))
        sampling = Sampling(min(self.max_completion_tokens, order["cut"]), stop_tokens=self.stop_tokens)
        requests = [Request(row.tokens, seeds) for row, seeds in zip(rows, self.orders.seeds, strict=True)]
        begun = time.perf_counter()
        found = sampled(world, requests, sampling)
        self.orders.sampling = time.perf_counter() - begun
        rollouts = [as_rollout(rows[number], completion, world.renderer) for (number, _), completion in found]
        rollouts, metrics = score_rollouts(rollouts, world.task.rewards)
        self.orders.tokens = sum(len(rollout.tokens) for rollout in rollouts)
        groups = [Group(row, tuple(rollouts[i * GROUP : (i + 1) * GROUP])) for i, row in enumerate(rows)]
        seconds = {"sample": self.orders.sampling}
        return RolloutBatch(groups, position, metrics, seconds, self.orders.tokens)

    def plan(self, world: DrawContext, tokens: list[tuple[int, ...]], targets: Sequence[int]) -> list[list[int]]:
        """Chooses each prompt's seeds among many; the lengths that they give."""
        if not self.stop_tokens:
            return [list(targets) for _ in tokens]
        sampling = Sampling(self.max_completion_tokens, stop_tokens=self.stop_tokens)
        lengths: list[dict[int, int]] = [{} for _ in tokens]
        for start in range(0, CANDIDATES, GROUP):  # as many rows at once as in a step
            requests = [Request(row, tuple(range(start, start + GROUP))) for row in tokens]
            for (number, index), completion in sampled(world, requests, sampling):
                lengths[number][start + index] = len(completion.tokens)
        chosen = [nearest(own, targets) for own in lengths]
        self.orders.seeds = [tuple(seeds) for seeds in chosen]
        return [[own[seed] for seed in seeds] for own, seeds in zip(lengths, chosen, strict=True)]


def sampled(
    world: DrawContext, requests: Sequence[Request], sampling: Sampling
) -> list[tuple[tuple[int, int], Completion]]:
    """In the order of requests and seeds."""
    found = [((number, index), said) for number, index, said in world.engine.generate(requests, sampling)]
    return sorted(found, key=lambda one: one[0])


def zip_rows(world: DrawContext) -> list[tuple[Example, int]]:
    """The task's rows in their own order."""
    stream = prompt_stream(world)
    return sorted((next(stream) for _ in range(PROMPTS)), key=lambda one: one[0].id)


def nearest(lengths: dict[int, int], targets: Sequence[int]) -> list[int]:
    """For each target a seed of its own; the longest first, since long completions are rare."""
    left, chosen = dict(lengths), {}
    for target in sorted(targets, reverse=True):
        seed = min(left, key=lambda seed: (abs(left[seed] - target), seed))
        chosen[target, len(chosen)] = seed
        del left[seed]
    return list(chosen.values())


@dataclass
class Listener:
    """A sink that hears how long learning took."""

    orders: Orders = field(repr=False)

    def metrics(self, stage: str, step: int, values: dict[str, float]) -> None:
        self.orders.learning = values["seconds/train"]

    def stage(self, *of: Any) -> None: ...
    def phase(self, *of: Any) -> None: ...
    def completions(self, *of: Any) -> None: ...
    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def close(self, *of: Any) -> None: ...


def import_all(architecture: str) -> None:
    """What a run imports when it first needs it."""
    for name in (
        f"transformers.models.{architecture}.modeling_{architecture}",
        "transformers.models.auto.tokenization_auto",
        "pyarrow.parquet",
        "groupwise.learners.local",
        "groupwise.runs.session",
    ):
        importlib.import_module(name)


def main() -> None:
    channel = Channel()
    job = channel.hear()
    import_all(job["architecture"])
    Ordered.orders = Orders(channel, Path(job["out"]))
    stops = tuple(range(1, 1 + STOPS)) if job["spread"] else ()
    source = Ordered(max_completion_tokens=job["completion"], stop_tokens=stops)
    rows = tuple(Example(f"{row:02}", text) for row, text in enumerate(job["prompts"]))
    task = gw.Task("bench", rows, (Trivial(),), chat="never")
    stage = gw.Stage(
        "bench", replace(recipes.trl_1_16, source=source), task, steps=10**6, prompts_per_step=PROMPTS,
        learning_rate=0.0, checkpoint_every=0,
    )  # fmt: skip
    budget = job["micro_batch_rows"] * (job["prompt"] + job["completion"])
    learner = Local(device="cpu", threads=job["threads"])
    learner = replace(learner, tokens_per_micro_batch=budget) if job["small"] else learner
    run = gw.Run("bench", job["model"], (stage,), learner, Native(threads=job["threads"]))
    channel.say(rows=ROWS)
    try:
        gw.run(run, Path(job["out"]), fresh=True, sinks=[Listener(Ordered.orders)])
    except Ended:
        return


if __name__ == "__main__":
    main()
