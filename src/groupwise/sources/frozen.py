"""This source draws q ~ P, o ~ π_sft: completions of policies that no longer change, sampled and selected once, then
learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.sources.demonstrations import demonstrated
from groupwise.sources.draw import DrawContext, OfflineGroups, Position, RolloutBatch
from groupwise.sources.offline_rollouts import check_replay, fitting_prompts, gather_once, samples, take
from groupwise.sources.offline_source import OfflineSource
from groupwise.sources.rollouts import Sampler
from groupwise.sources.rows import fits
from groupwise.sources.selection import DistinctPaths, Selection, select_from
from groupwise.tasks.task import Task
from groupwise.types import Example, Group, Prompt, Rollout


@dataclass(frozen=True)
class FrozenPolicy(OfflineSource):
    """This source draws q ~ P, o ~ π_sft: completions of policies that no longer change.

    The first draw samples them all, scores them with the task's rewards, selects, and keeps what is left in
    ``DrawContext.store``; every draw then takes ``prompts_per_step`` of the kept groups, epoch after epoch in seeded
    order.
    ``Rollout.version`` and ``behavior_logprobs`` are the sampler's, at ``sampling_temperature``.
    """

    samples_per_prompt: Annotated[int, "[1, inf)"] = 16
    """Completions a prompt and model; 100 in arXiv 2308.01825."""
    sampling_temperature: Annotated[float, "[0, inf)"] = 0.7
    """Of the samples."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 256
    """A completion that reaches it is truncated."""
    prompts: Annotated[int, "[0, inf)"] = 0
    """How many of the training rows, the first in seeded order; 0: all."""
    models: tuple[str, ...] = ()
    """Whom to sample from, pooled for each prompt in this order: earlier stages by their names, first and last as
    ``Stage.start`` has them, directories or hub names. Empty, and every name that is empty: the policy as the stage
    finds it."""
    select: Selection = field(default_factory=DistinctPaths)
    """What of a prompt's pooled samples is trained on."""
    demonstrations: bool = False
    """The rows' own completions are trained on, too, each as a group of one without a reward."""
    replay: Annotated[float, "[0, 1)"] = 0.0
    """Share of the groups that is drawn at random from what earlier stages kept (DeepSeekMath, Algorithm 1: 0.1)."""
    replay_from: tuple[str, ...] = ()
    """Those stages, on the same rows; empty: nothing is replayed."""

    def __post_init__(self) -> None:
        check_replay(self.replay)

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Gathers at the first draw, whose metrics tell of it.

        Raises UserError where no sample was kept, and for what ``gather_once`` raises.
        """
        return take(gather_once(self, context, position, self._gather), context, position)

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return self.select.asks_verdict()

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return demonstrated(context, example).prompt if self.demonstrations else context.renderer.prompt(example)

    def needs_reward(self, algorithm: Algorithm) -> bool:
        """Says whether what it samples must be scored in such an algorithm."""
        labelled = "step_rewards" in algorithm.objective.needs()
        return labelled or algorithm.advantage.judges() or self.select.chooses()

    def selection(self) -> Selection | None:
        """Says what of a group is trained on; None: all of it."""
        return self.select

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        labelled = algorithm.trains_scorer and "step_rewards" in algorithm.objective.needs()
        if labelled and self.select.chooses():
            yield "every sample has a label, so none needs to be chosen: select AllRollouts"

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        if not task.rewards and self.needs_reward(algorithm):
            yield f"task {task.name} has no reward, and the samples of a frozen policy are chosen by one"
        if self.demonstrations and algorithm.objective.joins_group():
            yield "demonstrations are groups of one and cannot stand among pairs; leave source.demonstrations out"

    def _gather(self, context: DrawContext) -> OfflineGroups:
        prompts, too_long = fitting_prompts(self, context)
        own = [demonstrated(context, prompt.example) for prompt in prompts.values()] if self.demonstrations else []
        fitting = [rollout for rollout in own if fits(context, (rollout,))]
        sampler, done, wanted = Sampler(context), 0, len(prompts) * len(self.samples_from())
        pools: dict[int, list[Rollout]] = {row: [] for row in prompts}
        for sampled in samples(self, context, sampler, prompts):
            for row, rollouts in sampled.rollouts.items():
                pools[row] += rollouts
                done += 1
                context.on_phase("gather", done, wanted)
        pooled = [Group(prompts[row], tuple(rollouts)) for row, rollouts in pools.items()]
        groups, counts = select_from(pooled, self.select)
        if not groups:
            raise UserError(_nothing_kept(context, pooled, counts))
        groups += [Group(rollout.prompt, (rollout,)) for rollout in fitting]
        too_long += wanted - done + len(own) - len(fitting)
        metrics = sampler.metrics(pooled) | counts | {"prompts_too_long": float(too_long)}
        return OfflineGroups(groups, metrics, sampler.seconds, sampler.tokens)


def _nothing_kept(context: DrawContext, pooled: Sequence[Group], counts: Mapping[str, float]) -> str:
    sampled = sum(len(group.rollouts) for group in pooled)
    said = ", ".join(f"{name} {count:g}" for name, count in counts.items()) or "none selected"
    return (
        f"{context.name}: of {sampled} completions of {len(pooled)} prompts none was kept ({said}); begin with a "
        "better model, or raise samples_per_prompt or max_completion_tokens"
    )
