"""This source samples all the time: groups are learned from as they finish, and what is unfinished goes on under new
weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any

from groupwise.algorithm import Algorithm
from groupwise.sources.draw import DrawContext, PendingDraw, Position, RolloutBatch
from groupwise.sources.on_policy import OnPolicy
from groupwise.sources.selection import select_from
from groupwise.sources.streaming import ReadyGroup, Streaming
from groupwise.sources.wrapped import WrappedSource
from groupwise.tasks.task import Task

ON_POLICY = OnPolicy()


@dataclass(frozen=True)
class Stream(WrappedSource):
    """This source draws what ``source`` draws, all the time: a step takes the groups that finished first, at most
    ``max_staleness`` steps old.

    While the learner works, the engine samples on. At each step it is given newer weights, under which unfinished
    completions go on: their tokens say which version drew them (``Rollout.spans``). A group of which a token is older
    than the bound when it would be learned from is dropped and counted, its time in the queue included. A slow
    completion holds no other group. What a step takes depends on how fast things are; what was learned can be learned
    again from the ledger, to the bit.
    """

    source: OnPolicy = ON_POLICY
    """What is drawn. A group that it would drop or redraw is replaced by the next."""
    max_staleness: Annotated[int, "[0, inf)"] = 1
    """By how many steps the oldest token of a group may be behind the weights that learn from it. So many steps' groups
    are under way beside those of the present one."""
    segment_tokens: Annotated[int, "[1, inf)"] = 64
    """Tokens that a completion draws before the engine looks for new weights."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Makes the groups of one step (``Source.draw``)."""
        started, work = time.perf_counter(), self._at_work(context, position)
        work.begin(context)
        taken = work.take(context.prompts_per_step)
        groups = [ready.group for ready in taken.groups]
        chosen, counts = select_from(groups, self.source.select)
        metrics = {
            name: float(value) for name, value in taken.sampler.metrics(groups).items()
        }  # none scored just now: 0
        metrics |= counts | taken.counts
        waits = {"learner": time.perf_counter() - started, "engine": taken.idle}
        return RolloutBatch(chosen, work.stood, metrics, taken.sampler.seconds, taken.tokens, waits)

    def lag(self) -> int:
        """Says by how many steps the weights that draw may be behind those that learn."""
        return max(1, self.max_staleness)

    def pending(self, context: DrawContext, position: Position) -> Sequence[RolloutBatch]:
        """Returns finished groups that no step has taken; what is unfinished is sampled anew after a stop."""
        if not context.threads:
            return [each.draw.result(timeout=0) for each in context.pending]
        ready = context.threads[0].finished(position)
        return [_batch_of(ready, position)] if ready else []

    def restore(self, context: DrawContext, position: Position, pending: Sequence[RolloutBatch]) -> bool:
        """Takes up what ``pending`` gave at that position, and says whether it has a use for that."""
        for draw in pending:
            done: Future[RolloutBatch] = Future()
            done.set_result(draw)
            context.pending.append(PendingDraw(position, done))
        return True

    def pause(self, context: DrawContext) -> None:
        """Leaves the engine to whoever asks, until the next draw; waits for what is under way there."""
        if context.threads:
            context.threads[0].pause()

    def close(self, context: DrawContext) -> None:
        """Ends what it has under way."""
        if context.threads:
            context.threads.pop().close()

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if self.source.greedy_baseline:
            yield "Stream samples no greedy completion beside a group; Ahead does, around the same source"
        yield from super().complaints(algorithm)

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        if task.episodes is not None:
            yield f"Stream cannot stop episodes of the environment {task.episodes.name} between turns; Ahead plays them"
        yield from super().task_complaints(algorithm, task)

    def _at_work(self, context: DrawContext, position: Position) -> Streaming:
        """Returns what is under way from that position on; begins it where nothing is."""
        if context.threads and dict(context.threads[0].stood) != dict(position):
            self.close(context)
        if not context.threads:
            kept = [ready for each in context.pending for ready in _groups_of(each.draw.result(timeout=0))]
            context.pending.clear()
            context.threads.append(Streaming(self.source, self.max_staleness, self.segment_tokens, position, kept))
        return context.threads[0]  # type: ignore[no-any-return]


def _batch_of(ready: Sequence[ReadyGroup], position: Position) -> RolloutBatch:
    """Returns finished groups as a checkpoint keeps them."""
    places = {"places": [each.place for each in ready], "steps": [each.oldest_step for each in ready]}
    return RolloutBatch([each.group for each in ready], {**position, **places})


def _groups_of(batch: RolloutBatch) -> list[ReadyGroup]:
    """Returns the groups that ``_batch_of`` kept."""
    places: Any = batch.position["places"]
    steps: Any = batch.position["steps"]
    return [ReadyGroup(*each) for each in zip(places, batch.groups, steps, strict=True)]
