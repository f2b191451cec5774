"""How good a model is on problems it never trained on: greedy accuracy, pass@1, unbiased pass@k and maj@k.

DeepSeekMath (arXiv 2402.03300, section 5.2.2 and figure 7) asks whether reinforcement learning raised Maj@K or also
Pass@K; ``compare`` answers it for two evaluations of the same problems.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.comparison import Comparison, compare
from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.seeding import stable_seed
from groupwise.statistics import doubling, maj_at_k, mean, mean_interval, pass_at_k
from groupwise.tasks.task import Task
from groupwise.types import Prompt, Request, Rollout
from groupwise.verdicts import Judge
from groupwise.voting import Canonical, able_judge, candidates, voting_answer

if TYPE_CHECKING:
    from groupwise.render import Renderer

Progress = Callable[[int, int], None]
"""``(completions done, completions in all)``."""

Sampled = Callable[[Sequence[Sequence[Rollout]]], None]
"""Hears of each problem's samples."""

SHOWN_COMPLETIONS = 8

__all__ = ["Comparison", "Evaluation", "Measure", "Settings", "compare", "evaluate", "voting_answer"]


@dataclass(frozen=True)
class Measure:
    """A mean over problems with its 95 % interval, and each problem's value so that two models can be paired."""

    value: float
    low: float
    high: float
    by_problem: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Measure:
        """The mean of per-problem values and its ``statistics.mean_interval``."""
        interval = mean_interval(values)
        return cls(interval.value, interval.low, interval.high, tuple(values))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measure:
        return cls(values["value"], values["low"], values["high"], tuple(values["by_problem"]))


@dataclass(frozen=True)
class SampleCompletion:
    """A greedy answer to look at."""

    question: str
    text: str
    reward: float | None
    finished: bool
    correct: bool | None = None
    """The judge's verdict; None where it could not score."""


@dataclass(frozen=True)
class Settings:
    """How the completions were drawn and judged. Two evaluations that are compared should share them."""

    samples: int = 32
    """On each of the first ``sampled_problems``; the others get one."""
    sampled_problems: int = 100
    temperature: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    correct_at: float = 1.0
    """A completion is correct where the judge's reward gives it at least this."""


@dataclass(frozen=True)
class Evaluation:
    """One model on one task's held-out problems. ``ids`` is the order of every ``by_problem``."""

    task: str
    settings: Settings
    ids: tuple[str, ...]
    greedy: Measure
    pass_at_1: Measure
    """Mean correctness of the samples, on all problems."""
    pass_at: Mapping[int, Measure]
    """k -> unbiased pass@k on the sampled problems."""
    maj_at: Mapping[int, Measure]
    """k -> accuracy of the majority vote of k samples, ties split uniformly, on the sampled problems. Empty where the
    judge does not know which answers are the same."""
    seconds: float
    tokens: int
    """Sampled in all, greedy ones included."""
    mean_completion_tokens: float
    truncated_fraction: float
    unparseable_fraction: float
    """Share of the samples in which the judge found no answer: they vote for nothing."""
    unscored_fraction: float
    """Share of all completions that the judge timed out on, failed on or gave no value: they count as wrong."""
    prompts_too_long: int
    """Problems left out because their prompt leaves no room in the context."""
    completions: tuple[SampleCompletion, ...]
    """The greedy answers to the first problems."""
    judge: str = ""
    """The reward whose verdict is meant by correct; empty: not known, in a file from before it was kept."""
    reward_means: Mapping[str, float] = field(default_factory=dict)
    """Of each reward that was asked, by its name: its mean over problems, of each the mean of its samples."""

    @property
    def problems(self) -> int:
        return len(self.ids)

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``json.dumps`` takes."""
        return {"problems": self.problems, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """The inverse of ``to_json``, also after a round through text."""
        fields = {name: value for name, value in values.items() if name != "problems"}
        fields["settings"] = Settings(**values["settings"])
        fields["ids"] = tuple(values["ids"])
        fields["completions"] = tuple(SampleCompletion(**row) for row in values["completions"])
        for name in ("greedy", "pass_at_1"):
            fields[name] = Measure.from_json(values[name])
        for name in ("pass_at", "maj_at"):
            fields[name] = {int(k): Measure.from_json(measure) for k, measure in values[name].items()}
        return cls(**fields)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what ``save`` wrote."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def evaluate(
    engine: RolloutEngine,
    renderer: Renderer,
    task: Task,
    problems: int = 500,
    samples: int = 32,
    sampled_problems: int = 100,
    temperature: float = 1.0,
    max_tokens: int = 1024,
    seed: int = 0,
    correct_at: float | None = None,
    canonical: Canonical | None = None,
    on_progress: Progress | None = None,
    on_sampled: Sampled | None = None,
) -> Evaluation:
    """Evaluate the engine's present weights on the first ``problems`` of ``task.held_out``.

    Each gets one greedy completion and one at ``temperature``; the first ``sampled_problems`` get ``samples`` of the
    latter. The task's judge alone says what is correct, from the score on that its reward states or ``correct_at``; its
    reward, or ``canonical``, says which answers are the same, and without either there is no maj@k. The same seed asks
    for the same random streams, whatever the batch. ``on_sampled`` is given the samples of those problems, scored.

    Raises UserError where the task has no held-out problems or no judge that can tell, or no prompt fits the context.
    """
    started, judge = time.perf_counter(), able_judge(task, correct_at)
    prompts, too_long = _prompts(engine, renderer, task, problems)
    settings = Settings(samples, min(sampled_problems, len(prompts)), temperature, max_tokens, seed, judge.threshold)
    counts = [samples if row < settings.sampled_problems else 1 for row in range(len(prompts))]
    done, total = itertools.count(1), len(prompts) + sum(counts)

    def advance() -> None:
        if on_progress:
            on_progress(next(done), total)

    draw = partial(_draw, engine, renderer, task, judge, prompts, on_completion=advance)
    greedy, sampled = draw([1] * len(prompts), replace(settings, temperature=0.0)), draw(counts, settings)
    if on_sampled:
        on_sampled(sampled[: settings.sampled_problems])
    votes = [candidates(judge, rollouts, canonical) for rollouts in sampled[: settings.sampled_problems]]
    return _summary(task, judge, settings, prompts, too_long, greedy, sampled, votes, started)


def _prompts(engine: RolloutEngine, renderer: Renderer, task: Task, problems: int) -> tuple[list[Prompt], int]:
    """The problems that fit the context, and how many of the asked ones do not."""
    if not len(task.held_out):
        raise UserError(f"task {task.name!r} has no held-out problems to evaluate on: give it a held_out split")
    asked = [renderer.prompt(task.held_out[row]) for row in range(min(problems, len(task.held_out)))]
    fitting = [prompt for prompt in asked if len(prompt.tokens) < engine.context_tokens]
    if not fitting:
        raise UserError(
            f"task {task.name!r}: none of {len(asked)} held-out prompts fits the model's context of "
            f"{engine.context_tokens} tokens: shorten the prompts or take a model with a longer context"
        )
    return fitting, len(asked) - len(fitting)


def _draw(
    engine: RolloutEngine,
    renderer: Renderer,
    task: Task,
    judge: Judge,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    settings: Settings,
    on_completion: Callable[[], None],
) -> list[list[Rollout]]:
    """``counts[i]`` scored rollouts of ``prompts[i]``. Raises UserError where the judge could score none."""
    from groupwise.rewards.failures import evidence
    from groupwise.rewards.scoring import score_rollouts
    from groupwise.sources import as_rollout

    requests = [
        Request(prompt.tokens, tuple(stable_seed(settings.seed, prompt.example.id, j) for j in range(count)))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    sampling = renderer.sampling(settings.max_tokens, settings.temperature)
    drawn: dict[tuple[int, int], Rollout] = {}
    for row, index, completion in engine.generate(requests, sampling):
        drawn[row, index] = as_rollout(prompts[row], completion, renderer, task.steps)
        on_completion()
    places = sorted(drawn)
    scored, _ = score_rollouts([drawn[place] for place in places], task.rewards, judge, task.referee)
    if scored and all(rollout.correct is None for rollout in scored):
        reason = next(evidence(scored[0]), f"reward '{judge.name}' applies to none of them")
        raise UserError(f"task {task.name!r}: no answer could be scored: {reason}")
    by_prompt: list[list[Rollout]] = [[] for _ in prompts]
    for (row, _index), rollout in zip(places, scored, strict=True):
        by_prompt[row].append(rollout)
    return by_prompt


def _summary(
    task: Task,
    judge: Judge,
    settings: Settings,
    prompts: Sequence[Prompt],
    too_long: int,
    greedy: Sequence[Sequence[Rollout]],
    sampled: Sequence[Sequence[Rollout]],
    votes: Sequence[list[Hashable | None] | None],
    started: float,
) -> Evaluation:
    from groupwise.rewards.scoring import reward_means

    correct = [[bool(rollout.correct) for rollout in rollouts] for rollouts in sampled]
    n, deep = settings.samples, range(settings.sampled_problems)
    ks = doubling(n) if deep else []
    voted = [row for row in votes if row is not None]
    everything = [rollout for rollouts in (*greedy, *sampled) for rollout in rollouts]
    return Evaluation(
        task=task.name,
        settings=settings,
        ids=tuple(prompt.example.id for prompt in prompts),
        greedy=Measure.of([float(bool(rollout.correct)) for (rollout,) in greedy]),
        pass_at_1=Measure.of([mean(row) for row in correct]),
        pass_at={k: Measure.of([pass_at_k(n, sum(correct[row]), k) for row in deep]) for k in ks},
        maj_at={
            k: Measure.of([maj_at_k(voted[row], correct[row], k) for row in deep])
            for k in (ks if len(voted) == len(deep) else ())
        },
        seconds=time.perf_counter() - started,
        tokens=sum(len(rollout.tokens) for rollout in everything),
        mean_completion_tokens=mean([len(rollout.tokens) for rollout in everything]),
        truncated_fraction=mean([not rollout.finished for rollout in everything]),
        unparseable_fraction=mean([_unread(rollout, judge) for rollouts in sampled for rollout in rollouts]),
        unscored_fraction=mean([rollout.correct is None for rollout in everything]),
        prompts_too_long=too_long,
        completions=tuple(_shown(rollout) for (rollout,) in greedy[:SHOWN_COMPLETIONS]),
        judge=judge.name,
        reward_means=reward_means(sampled),
    )


def _unread(rollout: Rollout, judge: Judge) -> bool:
    return rollout.scores[judge.name].status == "unparseable"


def _shown(rollout: Rollout) -> SampleCompletion:
    prompt = rollout.prompt.example.prompt
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return SampleCompletion(question, rollout.text, rollout.reward, rollout.finished, rollout.correct)
