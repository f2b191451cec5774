"""This module measures how good a model is on problems it never trained on: greedy accuracy, pass@1, unbiased pass@k
and maj@k.

DeepSeekMath (arXiv 2402.03300, section 5.2.2 and figure 7) asks whether reinforcement learning raised Maj@K or also
Pass@K; ``comparison.compare`` answers it for two evaluations of the same problems.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.plan import HeldOut
from groupwise.evaluation.problems import fitting_prompts, sets_of
from groupwise.evaluation.progress import Progress, counter
from groupwise.evaluation.statistics import doubling, maj_at_k, mean, pass_at_k
from groupwise.evaluation.voting import Canonical, candidates, voting_judge
from groupwise.output.sample_completions import SampleCompletion, sample_of
from groupwise.protocols import RolloutEngine
from groupwise.rewards.failures import reasons
from groupwise.rewards.scoring import reward_means, score_rollouts
from groupwise.rewards.verdicts import Judge
from groupwise.seeding import stable_seed
from groupwise.tasks.task import Task
from groupwise.types import OVER, Prompt, Rollout, TrainerState

if TYPE_CHECKING:
    from groupwise.tokens.renderer import Renderer

Sampled = Callable[[Sequence[Sequence[Rollout]]], None]
"""Hears of each problem's samples."""

SHOWN_COMPLETIONS = 8


@dataclass(frozen=True)
class Settings:
    """These settings say how the completions were drawn and judged. Two evaluations that are compared should share
    them."""

    samples: int = 32
    """On each of the first ``sampled_problems``; the others get one."""
    sampled_problems: int = 100
    temperature: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    correct_at: float = 1.0
    """A completion is correct where the judge's reward gives it at least this."""
    narrowed: tuple[int, float, float] = (0, 1.0, 0.0)
    """top-k, top-p and min-p of the sampled completions."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation is one model on one task's held-out problems. ``ids`` is the order of every ``by_problem``."""

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
    highest: float | None = None
    """The highest of the judge's scores that any completion had."""
    sets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Where the problems of each held-out set stand in ``ids``, by its name; empty where there is one set."""
    episodes: Mapping[str, float] = field(default_factory=dict)
    """Turns and shares of stop reasons of the samples, as in docs/metrics.md; empty without an environment."""
    unscored: tuple[str, ...] = ()
    """Why completions have no score, with a row each: the first reasons."""

    @property
    def problems(self) -> int:
        """Returns how many problems there are."""
        return len(self.ids)

    def of_set(self, name: str) -> Evaluation:
        """Returns what was measured on one set's problems; tokens and shares of completions are the whole's."""
        rows, deep = self.sets[name], [row for row in self.sets[name] if row < self.settings.sampled_problems]
        return replace(
            self,
            task=f"{self.task}: {name}",
            settings=replace(self.settings, sampled_problems=len(deep)),
            ids=tuple(self.ids[row] for row in rows),
            greedy=self.greedy.at(rows),
            pass_at_1=self.pass_at_1.at(rows),
            pass_at={k: measure.at(deep) for k, measure in self.pass_at.items() if deep},
            maj_at={k: measure.at(deep) for k, measure in self.maj_at.items() if deep},
            reward_means={},
            sets={},
            episodes={},
        )

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        values = {"problems": self.problems, **asdict(self)}
        return {name: value for name, value in values.items() if name not in ("episodes", "unscored") or value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """Reads what ``to_json`` gave, also after a round through text."""
        fields = {name: value for name, value in values.items() if name != "problems"}
        fields["settings"] = Settings(**values["settings"])
        fields["settings"] = replace(fields["settings"], narrowed=tuple(fields["settings"].narrowed))
        fields |= {"ids": tuple(values["ids"]), "unscored": tuple(values.get("unscored", ()))}
        fields["sets"] = {name: tuple(rows) for name, rows in values.get("sets", {}).items()}
        fields["completions"] = tuple(SampleCompletion(**row) for row in values["completions"])
        for name in ("greedy", "pass_at_1"):
            fields[name] = Measure.from_json(values[name])
        for name in ("pass_at", "maj_at"):
            fields[name] = {int(k): Measure.from_json(measure) for k, measure in values[name].items()}
        return cls(**fields)

    def save(self, path: Path) -> None:
        """Writes the evaluation to a file, as JSON."""
        path.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Reads the evaluation that ``save`` wrote to this file."""
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
    on_sampled: Sampled = lambda samples: None,
    state: TrainerState = OVER,
    narrowed: tuple[int, float, float] = (0, 1.0, 0.0),
    on_greedy: Callable[[Sequence[Rollout]], Any] = lambda rollouts: None,
) -> Evaluation:
    """Evaluates the engine's present weights, its plan given by numbers: ``evaluate_plan`` says what they mean.

    ``max_tokens`` are those of a completion, ``narrowed`` is top-k, top-p and min-p.
    """
    top_k, top_p, min_p = narrowed
    plan = HeldOut(problems, sampled_problems, samples, temperature, max_tokens, top_k=top_k, top_p=top_p, min_p=min_p)
    hooks = on_progress, on_sampled, state, on_greedy
    return evaluate_plan(engine, renderer, task, plan, seed, correct_at, canonical, *hooks)


def evaluate_plan(
    engine: RolloutEngine,
    renderer: Renderer,
    task: Task,
    plan: HeldOut,
    seed: int = 0,
    correct_at: float | None = None,
    canonical: Canonical | None = None,
    on_progress: Progress | None = None,
    on_sampled: Sampled = lambda samples: None,
    state: TrainerState = OVER,
    on_greedy: Callable[[Sequence[Rollout]], Any] = lambda rollouts: None,
) -> Evaluation:
    """Evaluates the engine's present weights on the first ``problems`` of ``task.held_out``, of each of its sets.

    Each gets one greedy completion and one at ``temperature``; the first ``sampled_problems``, of each set, get
    ``samples`` of the latter. The task's judge alone says what is correct, from the score on that its reward states or
    ``correct_at``; its reward, or ``canonical``, says which answers are the same, and without either there is no maj@k.
    The same seed asks for the same random streams, whatever the batch. ``on_greedy`` and ``on_sampled`` are given the
    scored completions. ``state``: where training stands, for rewards that ask.

    Raises UserError where the task has no held-out problems or no judge that can tell, or no prompt fits the context.
    """
    started, judge = time.perf_counter(), voting_judge(task, correct_at)
    prompts, too_long = fitting_prompts(engine, renderer, task, plan.problems, seed)
    deep = min(plan.sampled_problems * max(1, len(sets_of(prompts))), len(prompts)) if plan.samples > 1 else 0
    drawn = plan.temperature, plan.max_completion_tokens, seed
    settings = Settings(plan.samples, deep, *drawn, judge.threshold, plan.narrowed)
    counts = [plan.samples if row < settings.sampled_problems else 1 for row in range(len(prompts))]
    advance = counter(on_progress, len(prompts) + sum(counts))
    draw = partial(_draw, engine, renderer, task, judge, prompts, on_completion=advance, state=state)
    greedy, sampled = draw([1] * len(prompts), replace(settings, temperature=0.0)), draw(counts, settings)
    on_greedy([rollout for (rollout,) in greedy])
    on_sampled(sampled[: settings.sampled_problems])
    votes = [candidates(judge, rollouts, canonical) for rollouts in sampled[: settings.sampled_problems]]
    return _summary(task, judge, settings, prompts, too_long, greedy, sampled, votes, started)


def _draw(
    engine: RolloutEngine,
    renderer: Renderer,
    task: Task,
    judge: Judge,
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    settings: Settings,
    on_completion: Callable[[], None],
    state: TrainerState,
) -> list[list[Rollout]]:
    """``counts[i]`` scored rollouts of ``prompts[i]``. Raises UserError where the judge could score none."""
    from groupwise.rewards.failures import evidence
    from groupwise.sources.rollouts import drawn

    seeds = [
        tuple(stable_seed(settings.seed, prompt.example.id, j) for j in range(count))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    sampling = renderer.sampling(settings.max_tokens, settings.temperature, *settings.narrowed)
    found: dict[tuple[int, int], Rollout] = {}
    for row, index, rollout in drawn(engine, renderer, task, prompts, seeds, sampling):
        found[row, index] = rollout
        on_completion()
    places = sorted(found)
    scored, _ = score_rollouts([found[place] for place in places], task.rewards, judge, task.referee, state)
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
    correct = [[bool(rollout.correct) for rollout in rollouts] for rollouts in sampled]
    n, deep = settings.samples, range(settings.sampled_problems)
    ks = doubling(n) if deep else []
    voting = ks if len(voted := [row for row in votes if row is not None]) == len(deep) else []
    everything = [*chain(*greedy, *sampled)]
    lengths = [sum(rollout.mask) for rollout in everything]
    return Evaluation(
        task=task.name,
        settings=settings,
        ids=tuple(prompt.example.id for prompt in prompts),
        greedy=Measure.of([float(bool(rollout.correct)) for (rollout,) in greedy]),
        pass_at_1=Measure.of([mean(row) for row in correct]),
        pass_at={k: Measure.of([pass_at_k(n, sum(correct[row]), k) for row in deep]) for k in ks},
        maj_at={k: Measure.of([maj_at_k(voted[row], correct[row], k) for row in deep]) for k in voting},
        seconds=time.perf_counter() - started,
        tokens=sum(lengths),
        mean_completion_tokens=mean(lengths),
        truncated_fraction=mean([not rollout.finished for rollout in everything]),
        unparseable_fraction=mean([rollout.scores[judge.name].status == "unparseable" for rollout in chain(*sampled)]),
        unscored_fraction=mean([rollout.correct is None for rollout in everything]),
        prompts_too_long=too_long,
        completions=tuple(sample_of(rollout) for (rollout,) in greedy[:SHOWN_COMPLETIONS]),
        judge=judge.name,
        reward_means=reward_means(sampled),
        highest=judge.highest(everything),
        sets=sets_of(prompts),
        episodes=_episodes([*chain(*sampled)]),
        unscored=reasons(everything),
    )


def _episodes(rollouts: Sequence[Rollout]) -> dict[str, float]:
    from groupwise.sources.episode_metrics import episode_metrics

    return episode_metrics(rollouts)
