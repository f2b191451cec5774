"""This module samples groups without a pause in a thread of its own, and hands out those that are finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from groupwise.isolation.deadlines import Helper
from groupwise.seeding import stable_seed
from groupwise.sources.draw import DrawContext, Position, prompts_taken
from groupwise.sources.on_policy import OnPolicy
from groupwise.sources.open_group import OpenGroup, Parts
from groupwise.sources.rollouts import Sampler
from groupwise.types import CompletionEvent, Group

HEARD_SECONDS = 0.1
"""Between two looks at what was said, and whether anything went wrong."""


class ReadyGroup(NamedTuple):
    """A scored group that no step has learned from."""

    place: int
    """Of its prompt in the stream of prompts."""
    group: Group
    oldest_step: int
    """The step whose weights drew its oldest token."""


class StepGroups(NamedTuple):
    """These are the groups that a step takes, and what was counted and waited for meanwhile."""

    groups: list[ReadyGroup]
    counts: dict[str, float]
    sampler: Sampler
    tokens: int
    idle: float
    """Seconds that the engine stood still since the step before."""


class Streaming:
    """This keeps groups under way. One thread, the run's own, asks; one samples; one scores.

    A group is started, then open, then ready, and then taken; or dropped: stale, or without signal.
    """

    def __init__(
        self, source: OnPolicy, most_steps: int, segment: int, position: Position, kept: Sequence[ReadyGroup]
    ) -> None:
        self.source, self.most_steps, self.segment = source, most_steps, segment
        self.ready, self.stood = list(kept), position
        unfinished: Any = position.get("open", ())
        self._next = prompts_taken(position)
        self._again = sorted(set(unfinished) - {each.place for each in kept})
        self._open: dict[int, OpenGroup] = {}
        self._scoring: set[int] = set()
        self._changed = threading.Condition()
        self._load: Callable[[], None] | None = None
        self._step, self._loaded = -1, 0
        self._may_sample = self._over = self._at_work = False
        self._error: BaseException | None = None
        self._forget()
        self._told: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._scorer, self._thread = Helper("rewards"), Helper("stream", apart=True)

    # Of the run's thread

    def begin(self, context: DrawContext) -> None:
        """A step begins: newer weights, and more groups that may be started."""
        first = self._step < 0
        load = context.serve if first else context.copy_weights()
        with self._changed:
            self._step, self._hears = context.state.global_step, context.on_phase
            self._context = context.but(on_note=partial(self._keep, context.on_note), serve=lambda: None)
            self._sampler = Sampler(self._context)
            self._load, self._may_sample = load, True
            self._drop_stale()
            if first:
                self._take_weights()
            self._changed.notify_all()
        if first:
            self._thread.submit(self._work)

    def take(self, count: int) -> StepGroups:
        """The groups that finished first, as soon as there are so many; fewer where ``most_rounds`` times as many were
        dropped meanwhile. Raises what sampling or scoring raised."""
        while True:
            with self._changed:
                told, self._told = self._told, []
                error, ready = self._error, len(self.ready)
                enough = ready >= count or self._counts["groups_dropped"] >= self.source.most_rounds * count
                if enough and error is None and not told:
                    return self._take(count)
                if not told and error is None:
                    self._changed.wait(HEARD_SECONDS)
            self._hears("sample", min(ready, count), count)
            for hear, said in told:
                hear(*said)
            if error is not None:
                raise error

    def finished(self, position: Position) -> list[ReadyGroup]:
        """Returns those of the position's groups that are ready."""
        unfinished: Any = position.get("open", ())
        with self._changed:
            return [each for each in self.ready if each.place in unfinished]

    def pause(self) -> None:
        """Waits until the engine and the rewards, which an evaluation asks next, are left alone; ``begin`` goes on."""
        with self._changed:
            self._may_sample = False
            while (self._at_work or self._scoring) and self._error is None:
                self._changed.wait(HEARD_SECONDS)

    def close(self) -> None:
        """Ends it; the parts that the engine has under way end first."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.pause()
        self._scorer.close()
        self._thread.close()

    def _take(self, count: int) -> StepGroups:
        taken, self.ready = self.ready[:count], self.ready[count:]
        open_now = {*self._open, *self._scoring, *self._again, *(each.place for each in self.ready)}
        self.stood = {"prompts": self._next, "open": sorted(open_now)}
        counts = {name: float(number) for name, number in self._counts.items()}
        counts |= {"groups_waiting": float(len(self.ready)), "groups_short": float(count - len(taken))}
        found = StepGroups(taken, counts, self._sampler, self._tokens, self._idle)
        self._forget()
        return found

    def _forget(self) -> None:
        self._counts = {"prompts_too_long": 0, "groups_dropped": 0, "groups_stale": 0}
        self._tokens, self._idle = 0, 0.0

    def _drop_stale(self) -> None:
        """Drops groups that are too old to be learned from now; unfinished ones are sampled no further."""
        least = self._step - self.most_steps
        fresh = [each for each in self.ready if each.oldest_step >= least]
        old = [place for place, each in self._open.items() if (each.oldest_step or 0) < least and each.has_begun]
        self._counts["groups_stale"] += len(self.ready) - len(fresh) + len(old)
        self.ready = fresh
        for place in old:
            del self._open[place]

    def _keep(self, hear: Callable[..., None], *said: Any) -> None:
        with self._changed:
            self._told.append((hear, said))

    # Of the sampling thread

    def _work(self) -> None:
        try:
            while self._wait():
                self._sample()
        except BaseException as error:
            self._fail(error)
        finally:
            self._rest()

    def _wait(self) -> bool:
        """Waits until there is something to sample, and says False where it is over."""
        started = time.perf_counter()
        with self._changed:
            self._at_work = False
            self._changed.notify_all()
            while not self._over and not (self._may_sample and self._is_due()):
                self._changed.wait(HEARD_SECONDS)
            self._idle += time.perf_counter() - started
            if not self._over:
                self._at_work = True
                self._take_weights()
            return not self._over

    def _rest(self) -> None:
        with self._changed:
            self._at_work = False
            self._changed.notify_all()

    def _is_due(self) -> bool:
        return self._load is not None or bool(self._open) or self._may_start()

    def _may_start(self) -> bool:
        """Says whether another group may be started: so many are that each step finds its own, and no more, which
        bounds staleness."""
        under_way = len(self._open) + len(self._scoring) + len(self.ready)
        return under_way < (self.most_steps + 1) * self._context.prompts_per_step

    def _take_weights(self) -> None:
        load, self._load = self._load, None
        if load is not None:
            load()
            self._loaded = self._step

    def _sample(self) -> None:
        """Samples with the weights that are loaded until there are newer ones, or nothing may go on."""
        sampling = self.source.sampling(self._context.renderer)
        assert sampling is not None
        started, stream = time.perf_counter(), self._context.engine.stream(sampling)
        parts = Parts(stream, self.segment)
        try:
            for group in [*self._open.values(), *self._started()]:
                parts.submit_all(group)
            for event in stream.events():
                if isinstance(event, CompletionEvent) and self._heard(event, parts):
                    for group in self._started():
                        parts.submit_all(group)
        finally:
            stream.close()
            with self._changed:
                self._sampler.seconds["sample"] += time.perf_counter() - started

    def _heard(self, event: CompletionEvent, parts: Parts) -> bool:
        """A part has ended; whether these weights may begin further ones."""
        group, index, kept = parts.under_way.pop(event.request)
        with self._changed:
            self._tokens += len(event.completion.tokens)
            goes_on = group.add(index, event.completion, self._loaded)
            newest = self._load is None and self._may_sample and not self._over
            is_open = group.place in self._open
        if goes_on and newest and is_open:
            parts.submit(group, index, event.request)
        if kept:
            parts.stream.cancel(event.request)
        if group.is_over and is_open:
            self._finish(group)
        return newest

    def _started(self) -> list[OpenGroup]:
        """The groups that may be started now."""
        found: list[OpenGroup] = []
        context, source = self._context, self.source
        while True:
            with self._changed:
                if not self._may_start():
                    return found
                taken = self._again.pop(0) if self._again else self._next
                places, after, too_long = source.next_prompts(context, taken, 1)
                self._next = max(self._next, after)
                self._counts["prompts_too_long"] += too_long
                for place, prompt in places.items():
                    stream = (context.seed, context.name, "sample", place)
                    seeds = [stable_seed(*stream, index) for index in range(source.group_size)]
                    most, room = source.max_completion_tokens, context.engine.context_tokens
                    group = OpenGroup(place, prompt, seeds, most, room)
                    self._open[place] = group
                    found.append(group)

    def _finish(self, group: OpenGroup) -> None:
        with self._changed:
            self._open.pop(group.place, None)
            self._scoring.add(group.place)
            sampler = self._sampler
        self._scorer.submit(partial(self._score, group, sampler))

    # Of the scoring thread

    def _score(self, group: OpenGroup, sampler: Sampler) -> None:
        context = self._context
        try:
            rollouts = sampler.score(group.rollouts(context.renderer, context.task.steps))
            scored = Group(group.prompt, tuple(rollouts))
            keeps = self.source.keeps(scored, context.signal)
        except BaseException as error:
            self._fail(error)
            return
        with self._changed:
            self._scoring.discard(group.place)
            oldest = group.oldest_step or 0
            if not keeps:
                self._counts["groups_dropped"] += 1
            elif oldest < self._step - self.most_steps:
                self._counts["groups_stale"] += 1
            else:
                self.ready.append(ReadyGroup(group.place, scored, oldest))
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
