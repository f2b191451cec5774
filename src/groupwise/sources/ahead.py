"""This source makes the draws of another source ahead of time: the engine samples the next ones while the learner
learns."""

from __future__ import annotations

import queue
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from groupwise.algorithm import Source
from groupwise.isolation.deadlines import Helper, result
from groupwise.sources.draw import DrawContext, PendingDraw, Position, RolloutBatch
from groupwise.sources.on_policy import OnPolicy
from groupwise.sources.wrapped import WrappedSource
from groupwise.types import Group

ON_POLICY = OnPolicy()
HEARD_SECONDS = 0.1
"""Between two looks at how far a draw is that is waited for."""


@dataclass(frozen=True)
class Ahead(WrappedSource):
    """This source draws what ``source`` draws, ``steps`` ahead: the draw of step n + steps is sampled from the weights
    before update n, while the learner works.

    Which weights draw what is a function of the step alone, so that a run is the same to the bit however fast engine
    and learner are, and after a stop too: a checkpoint keeps the draws that were made ahead of it. The first draws,
    for which there were no earlier weights, are all of the first ones. With 0 steps it is ``source`` itself.
    """

    source: Source = ON_POLICY
    """What is drawn: any source that samples from the policy that learns."""
    steps: Annotated[int, "[0, inf)"] = 1
    """By how many steps. 1 hides the shorter one of sampling and learning; more also evens out draws of unlike
    length, keeps a copy of the weights for each that waits, and makes rollouts older."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Makes the groups of one step (``Source.draw``)."""
        if not self.steps:
            return self.source.draw(context, position)  # type: ignore[no-any-return]
        started, thread, pending = time.perf_counter(), _thread_of(context), context.pending
        _drop_before(context, position)
        while len(pending) <= self.steps:
            pending.append(self._begun(context, position, thread))
        draw = thread.awaited(pending[0].draw, context)
        return replace(draw, waits={**draw.waits, "learner": time.perf_counter() - started})

    def lag(self) -> int:
        """Says by how many steps the weights that draw may be behind those that learn."""
        return self.steps

    def pending(self, context: DrawContext, position: Position) -> Sequence[RolloutBatch]:
        """Returns the draws that it has made already and that begin at ``position`` or later."""
        _drop_before(context, position)
        return [_thread_of(context).awaited(each.draw, context) for each in context.pending]

    def restore(self, context: DrawContext, position: Position, pending: Sequence[RolloutBatch]) -> bool:
        """Takes up what ``pending`` gave at that position, and says whether it has a use for that."""
        for draw in pending if self.steps else ():
            done: Future[RolloutBatch] = Future()
            done.set_result(draw)
            context.pending.append(PendingDraw(position, done))
            position = draw.position
        return self.steps > 0 or not pending

    def pause(self, context: DrawContext) -> None:
        """Leaves the engine to whoever asks, until the next draw; waits for what is under way there."""
        for each in context.pending:
            _thread_of(context).awaited(each.draw, context)

    def close(self, context: DrawContext) -> None:
        """Leaves what has not begun, and waits for what is under way: it is the engine that ends it."""
        for each in context.pending:
            if not each.draw.cancel():
                with suppress(Exception):  # whoever waits for the draw hears of it
                    result(each.draw, context.name, "a draw made ahead", context.on_note)
        if context.threads:
            context.threads.pop().helper.close()
        context.pending.clear()

    def _begun(self, context: DrawContext, position: Position, thread: _Drawing) -> PendingDraw:
        """The next draw, from the learner's present weights: at once where the engine is idle, else when the one before
        it is done, from a copy of them."""
        pending = context.pending
        before = pending[-1].draw if pending else None
        step = context.state.global_step + len(pending)
        if before is None or before.done():
            context.serve()
            load: Callable[[], None] = _nothing
        else:
            load = context.copy_weights()
        order = partial(self._drawn, thread, context, step, position, before, load)
        return PendingDraw(position if before is None else None, thread.helper.submit(order))

    def _drawn(
        self,
        thread: _Drawing,
        context: DrawContext,
        step: int,
        position: Position,
        before: Future[RolloutBatch] | None,
        load: Callable[[], None],
    ) -> RolloutBatch:
        """Makes a draw in the thread of the draws."""
        idle = time.perf_counter() - thread.ended if thread.ended else 0.0
        try:
            start = (
                position if before is None else before.result(timeout=0).position
            )  # of this thread, which is done with it
            load()
            draw = self.source.draw(thread.quiet(context.at(step, start, serve=_nothing)), start)
            return replace(draw, groups=[_as_kept(group) for group in draw.groups], waits={"engine": idle})
        finally:
            thread.ended = time.perf_counter()


class _Drawing:
    """The thread in which the draws of a stage are made, and what they have to say, which the run's own thread tells:
    terminals and trackers are of one thread."""

    def __init__(self) -> None:
        self.helper, self.ended = Helper("draws ahead"), 0.0
        self.told: queue.SimpleQueue[tuple[Callable[..., None], tuple[object, ...]]] = queue.SimpleQueue()

    def quiet(self, context: DrawContext) -> DrawContext:
        """The same context, whose words wait until they are told."""
        hears = partial(self._keep, context.on_phase), partial(self._keep, context.on_note)
        return context.but(on_phase=hears[0], on_note=hears[1])

    def _keep(self, hear: Callable[..., None], *said: object) -> None:
        self.told.put((hear, said))

    def tell(self) -> None:
        """Tells what was said so far."""
        while not self.told.empty():
            hear, said = self.told.get_nowait()
            hear(*said)

    def awaited(self, draw: Future[RolloutBatch], context: DrawContext) -> RolloutBatch:
        """The draw when it is made; meanwhile how far it is. Raises what it raised."""
        while True:
            self.tell()
            try:
                found = draw.result(timeout=HEARD_SECONDS)
            except TimeoutError:
                if draw.done():  # its own
                    raise
                continue
            self.tell()
            return found


def _as_kept(group: Group) -> Group:
    """The group with log-probabilities as the ledger keeps them: they are learned from, unlike those of a draw on the
    policy, so that what is learned from the ledger again is the same to the bit."""
    kept = (array("f", rollout.behavior_logprobs) for rollout in group.rollouts)
    rollouts = zip(group.rollouts, kept, strict=True)
    return replace(group, rollouts=tuple(replace(rollout, behavior_logprobs=tuple(said)) for rollout, said in rollouts))


def _thread_of(context: DrawContext) -> _Drawing:
    """Returns the thread of the stage."""
    if not context.threads:
        context.threads.append(_Drawing())
    return context.threads[0]  # type: ignore[no-any-return]


def _drop_before(context: DrawContext, position: Position) -> None:
    """Leaves the draws that begin at ``position`` or later."""
    pending, here = context.pending, dict(position)
    while pending and dict(pending[0].start or {}) != here:
        ended = result(pending.pop(0).draw, context.name, "a draw made ahead", context.on_note).position
        if pending:
            pending[0] = PendingDraw(ended, pending[0].draw)


def _nothing() -> None:
    return
