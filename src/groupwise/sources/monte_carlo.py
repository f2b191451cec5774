"""This source draws q ~ P, o ~ π_frozen, labels by continuation: what becomes of a step's prefix says how good the step
is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Annotated, Literal, NamedTuple

from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.seeding import stable_seed
from groupwise.sources.draw import DrawContext, OfflineGroups, Position, RolloutBatch, prompts_taken
from groupwise.sources.offline_rollouts import (
    SAMPLED_TOGETHER,
    ModelSamples,
    check_replay,
    fitting_prompts,
    gather_once,
    samples,
    take,
)
from groupwise.sources.offline_source import OfflineSource
from groupwise.sources.rollouts import TOLD_EVERY, Sampler, as_rollout
from groupwise.sources.step_labels import ALONE, label_metrics, refuse_one_label
from groupwise.tasks.task import Task
from groupwise.types import Completion, Group, Prompt, Request, Rollout, flatten

COUNTED = (
    "solutions/duplicate",
    "solutions/without_steps",
    "solutions/unlabelled",
    "steps/open",
    "steps/unknown",
    "continuations",
    "continuation_tokens",
)


@dataclass(frozen=True)
class MonteCarloSteps(OfflineSource):
    """This source draws q ~ P, o ~ π_frozen: solutions of policies that no longer change, each step labelled by what
    becomes of it.

    Math-Shepherd (arXiv 2312.08935, eq. 3 and 4): a step's prefix is continued N times, and its label is 1 where any of
    them ends right (hard) or the share of those that do (soft), by the verdict of the task's judge. The
    last step of a finished solution has the verdict on the solution itself. The last step of a truncated one is open
    and has no label. Prefix and continuation together have ``max_completion_tokens``.

    A group is one solution with its labels as rewards, each at its step's last token, and what its rewards said as
    ``scores``. All is gathered at the first draw and kept, as FrozenPolicy does.
    """

    samples_per_prompt: Annotated[int, "[1, inf)"] = 4
    """Solutions a prompt and model; those of one text count once."""
    continuations: Annotated[int, "[1, inf)"] = 8
    """Of each distinct prefix, N; Math-Shepherd: 8."""
    estimate: Literal["hard", "soft"] = "hard"
    """A label of 0 or 1, or a share."""
    sampling_temperature: Annotated[float, "[0, inf)"] = 1.0
    """Of solutions and continuations."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of log-probabilities, where an objective reads any."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 256
    """A solution that reaches it is truncated."""
    prompts: Annotated[int, "[0, inf)"] = 0
    """How many of the training rows, the first in seeded order; 0: all."""
    models: tuple[str, ...] = ("",)
    """Who samples and continues its own solutions, named as ``FrozenPolicy.models`` are; an empty name: the policy as
    the stage finds it."""
    replay: Annotated[float, "[0, 1)"] = 0.0
    """Share of the groups that is drawn at random from what earlier stages kept (DeepSeekMath, Algorithm 1: 0.1)."""
    replay_from: tuple[str, ...] = ()
    """Those stages, on the same rows; empty: nothing is replayed."""

    def __post_init__(self) -> None:
        check_replay(self.replay)
        if self.continuations < 1:
            raise UserError(f"continuations is {self.continuations}; expected 1 or more")

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Gathers at the first draw, whose metrics tell of it.

        Raises UserError where the task has no rewards or does not say what a step is, where no step could be labelled
        or all have one label, and for what ``gather_once`` raises.
        """
        gathered = gather_once(self, context, position, self._gather)
        if not prompts_taken(position):
            labels = (label for rollout in flatten(gathered.groups) for label in rollout.rewards.values())
            advice = "both; take more prompts, samples_per_prompt or temperature, or another model"
            refuse_one_label(labels, context, advice)
        return take(gathered, context, position)

    def labels_steps(self) -> bool:
        """Says whether its rewards are labels of steps."""
        return True

    def needs_reward(self, algorithm: Algorithm) -> bool:
        """Says whether what it samples must be scored in such an algorithm."""
        return True

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.trains_scorer and algorithm.objective.joins_group():
            yield ALONE

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        if not task.rewards:
            yield f"task {task.name} has no reward, and what becomes of a step is judged by one"
        if task.episodes is not None:
            yield f"task {task.name} has an environment, and an episode cannot be continued from the middle of a turn"

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return True

    def _gather(self, context: DrawContext) -> OfflineGroups:
        if context.task.steps is None or not context.task.rewards:
            missing = "rewards" if context.task.steps else "steps"
            raise UserError(
                f"{context.name}: task {context.task.name} has no {missing}; expected a reward, which judges "
                "what becomes of a step, and steps, such as Lines()"
            )
        prompts, too_long = fitting_prompts(self, context)
        sampler, done, wanted = Sampler(context), 0, len(prompts) * len(self.samples_from())
        labelling = _Labelling(self, context, sampler)
        solutions: dict[int, list[Rollout]] = {row: [] for row in prompts}
        everything: list[Group] = []
        together = max(1, SAMPLED_TOGETHER // self.continuations)
        for sampled in samples(self, context, sampler, prompts, together):
            everything += [Group(prompts[row], tuple(rollouts)) for row, rollouts in sampled.rollouts.items()]
            for row, rollout in labelling.labelled(sampled):
                solutions[row].append(rollout)
            done += len(sampled.rollouts)
            context.on_phase("gather", done, wanted)
        groups = [Group(prompts[row], (rollout,)) for row, rollouts in solutions.items() for rollout in rollouts]
        metrics = sampler.metrics(everything) | labelling.metrics() | label_metrics(groups)
        if not groups:
            said = ", ".join(f"{name} {count:g}" for name, count in labelling.metrics().items())
            raise UserError(f"{context.name}: no step could be labelled ({said}); begin with a better model")
        too_long += wanted - done
        metrics |= {"prompts_too_long": float(too_long), "solutions": float(len(groups))}
        return OfflineGroups(groups, metrics, sampler.seconds, sampler.tokens)


class Prefix(NamedTuple):
    """A prompt's row and the tokens up to a step's end."""

    row: int
    tokens: tuple[int, ...]


@dataclass
class _Labelling:
    """Labels the steps of samples, part by part, and keeps account."""

    source: MonteCarloSteps
    context: DrawContext
    sampler: Sampler
    counts: Counter[str] = field(default_factory=Counter)
    texts: set[tuple[int, str]] = field(default_factory=set)

    def metrics(self) -> dict[str, float]:
        return {name: float(self.counts[name]) for name in COUNTED}

    def labelled(self, sampled: ModelSamples) -> list[tuple[int, Rollout]]:
        """Returns row number and solution with its labels as rewards, of those that have any."""
        pairs = [(row, rollout) for row, rollouts in sampled.rollouts.items() for rollout in rollouts]
        solutions = [(row, rollout) for row, rollout in pairs if self._new(row, rollout)]
        shares = self._shares(sampled, solutions)
        found = []
        for row, solution in solutions:
            known = {end: shares[Prefix(row, solution.tokens[: end + 1])] for end in solution.steps[:-1]}
            if solution.finished:
                known[solution.steps[-1]] = None if solution.correct is None else float(solution.correct)
            labels = {end: label for end, label in known.items() if label is not None}
            self.counts["steps/open"] += not solution.finished
            self.counts["steps/unknown"] += len(known) - len(labels)
            self.counts["solutions/unlabelled"] += not labels
            if labels:
                found.append((row, replace(solution, rewards=labels)))
        return found

    def _new(self, row: int, solution: Rollout) -> bool:
        """Says whether it has steps and no earlier one of its prompt has the same text."""
        duplicate = (row, solution.text) in self.texts
        self.texts.add((row, solution.text))
        self.counts["solutions/duplicate"] += duplicate
        self.counts["solutions/without_steps"] += not duplicate and not solution.steps
        return not duplicate and bool(solution.steps)

    def _shares(self, sampled: ModelSamples, solutions: Sequence[tuple[int, Rollout]]) -> Mapping[Prefix, float | None]:
        """Returns of each distinct prefix the label; None where the rule could judge no continuation of it."""
        prompts = {
            Prefix(row, solution.tokens[: end + 1]): solution.prompt
            for row, solution in solutions
            for end in solution.steps[:-1]
        }
        attempts = self._continued(sampled, prompts)
        judge = self.context.task.judge
        assert judge is not None
        scores = self.sampler.judged(judge.reward, [attempt for _, attempt in attempts])
        verdicts: dict[Prefix, list[float]] = {prefix: [] for prefix in prompts}
        for (prefix, _), score in zip(attempts, scores, strict=True):
            verdict = judge.verdict(score)
            verdicts[prefix] += [] if verdict is None else [float(verdict)]
        estimate = max if self.source.estimate == "hard" else fmean
        return {prefix: estimate(found) if found else None for prefix, found in verdicts.items()}

    def _continued(self, sampled: ModelSamples, prompts: Mapping[Prefix, Prompt]) -> list[tuple[Prefix, Rollout]]:
        """Returns whole attempts, each begun by its prefix: of all prefixes in one batch, in the order they finished
        in."""
        if not prompts:
            return []
        started, prefixes = time.perf_counter(), list(prompts)
        stream = (self.context.seed, self.context.name, "continue", sampled.model)
        places = range(self.source.continuations)
        requests = [
            Request(prompts[prefix].tokens + prefix.tokens, tuple(stable_seed(*stream, *prefix, n) for n in places))
            for prefix in prefixes
        ]
        most = self.source.max_completion_tokens - min(len(prefix.tokens) for prefix in prefixes)
        how = self.context.renderer.sampling(most, self.source.sampling_temperature)
        attempts: list[tuple[Prefix, Rollout]] = []
        total = len(prefixes) * len(places)
        for number, _, completion in sampled.engine.generate(requests, how):
            prefix = prefixes[number]
            attempts.append((prefix, self._attempt(prompts[prefix], prefix.tokens, completion)))
            self.counts["continuation_tokens"] += len(completion.tokens)
            self.sampler.tokens += len(completion.tokens)
            if len(attempts) % TOLD_EVERY == 0 or len(attempts) == total:
                self.context.on_phase("continue", len(attempts), total)
        self.counts["continuations"] += total
        self.sampler.seconds["sample"] += time.perf_counter() - started
        return attempts

    def _attempt(self, prompt: Prompt, begun: tuple[int, ...], completion: Completion) -> Rollout:
        """Returns what the policy would have left of it: no longer than a solution may be."""
        tokens = (begun + completion.tokens)[: self.source.max_completion_tokens]
        finished = completion.finished and len(tokens) == len(begun) + len(completion.tokens)
        renderer = self.context.renderer
        return as_rollout(
            prompt, replace(completion, tokens=tokens, logprobs=(), finished=finished, versions=()), renderer
        )
