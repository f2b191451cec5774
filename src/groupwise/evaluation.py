"""How good a model is on problems it never trained on: greedy accuracy, pass@1, unbiased pass@k and maj@k.

DeepSeekMath (arXiv 2402.03300, section 5.2.2 and figure 7) asks whether reinforcement learning raised Maj@K or also
Pass@K; ``compare`` answers it for two evaluations of the same problems.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.comparison import Comparison, compare
from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.seeding import stable_seed
from groupwise.statistics import maj_at_k, mean, mean_interval, pass_at_k
from groupwise.tasks.task import Task
from groupwise.types import Prompt, Request, Rollout

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
    """A completion is correct where its reward is at least this."""
    narrowed: tuple[int, float, float] = (0, 1.0, 0.0)
    """top-k, top-p and min-p of the sampled completions."""


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
    """k -> accuracy of the majority vote of k samples, ties split uniformly, on the sampled problems."""
    seconds: float
    tokens: int
    """Sampled in all, greedy ones included."""
    mean_completion_tokens: float
    truncated_fraction: float
    unparseable_fraction: float
    """Share of the samples in which no final answer was found: they vote for nothing."""
    unscored_fraction: float
    """Share of all completions that a reward timed out on, failed on or gave no value: they count as wrong."""
    prompts_too_long: int
    """Problems left out because their prompt leaves no room in the context."""
    completions: tuple[SampleCompletion, ...]
    """The greedy answers to the first problems."""

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
        fields["settings"] = replace(fields["settings"], narrowed=tuple(fields["settings"].narrowed))
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
    correct_at: float = 1.0,
    canonical: Callable[[Rollout], Hashable | None] | None = None,
    on_progress: Progress | None = None,
    on_sampled: Sampled | None = None,
    narrowed: tuple[int, float, float] = (0, 1.0, 0.0),
) -> Evaluation:
    """Evaluate the engine's present weights on the first ``problems`` of ``task.held_out``.

    Each gets one greedy completion and one at ``temperature``; the first ``sampled_problems`` get ``samples`` of the
    latter. ``canonical`` gives the answer a completion votes for (``voting_answer`` where it is None). The same seed
    asks for the same random streams, whatever the batch. ``on_sampled`` is given the samples of those problems, scored.

    Raises UserError where the task has no held-out problems or no rewards, or no prompt fits the context.
    """
    started = time.perf_counter()
    prompts, too_long = _prompts(engine, renderer, task, problems)
    settings = Settings(samples, min(sampled_problems, len(prompts)), temperature, max_tokens, seed, correct_at)
    settings = replace(settings, narrowed=narrowed)
    counts = [samples if row < settings.sampled_problems else 1 for row in range(len(prompts))]
    done, total = itertools.count(1), len(prompts) + sum(counts)

    def advance() -> None:
        if on_progress:
            on_progress(next(done), total)

    greedy = _draw(engine, renderer, task, prompts, [1] * len(prompts), replace(settings, temperature=0.0), advance)
    sampled = _draw(engine, renderer, task, prompts, counts, settings, advance)
    if on_sampled:
        on_sampled(sampled[: settings.sampled_problems])
    return _summary(task, settings, prompts, too_long, greedy, sampled, canonical or voting_answer, started)


def voting_answer(rollout: Rollout) -> Hashable | None:
    """What a completion votes for: its final answer as a number, else as text; None where it has none.

    Where answers have no marker to find, a completion that was rewarded votes for its whole text.
    """
    from groupwise.rewards.answers import final_answer, parse_quantity

    answer = final_answer(rollout.text)
    if answer is None:
        return rollout.text.strip() if rollout.reward else None
    number = parse_quantity(answer)
    return answer.strip() if number is None else number


def _prompts(engine: RolloutEngine, renderer: Renderer, task: Task, problems: int) -> tuple[list[Prompt], int]:
    """The problems that fit the context, and how many of the asked ones do not."""
    if not task.judges:
        raise UserError(f"task {task.name!r} has no rewards, so nothing says which answers are correct: give it one")
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
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    settings: Settings,
    on_completion: Callable[[], None],
) -> list[list[Rollout]]:
    """``counts[i]`` scored rollouts of ``prompts[i]``."""
    from groupwise.rewards.failures import evidence, unscored
    from groupwise.rewards.scoring import score_rollouts
    from groupwise.sources import as_rollout

    requests = [
        Request(prompt.tokens, tuple(stable_seed(settings.seed, prompt.example.id, j) for j in range(count)))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    sampling = renderer.sampling(settings.max_tokens, settings.temperature, *settings.narrowed)
    drawn: dict[tuple[int, int], Rollout] = {}
    for row, index, completion in engine.generate(requests, sampling):
        drawn[row, index] = as_rollout(prompts[row], completion, renderer, task.steps)
        on_completion()
    places = sorted(drawn)
    scored, _ = score_rollouts([drawn[place] for place in places], task.judges)
    if scored and all(map(unscored, scored)):
        raise UserError(f"task {task.name!r}: no answer could be scored: {next(evidence(scored[0]))}")
    by_prompt: list[list[Rollout]] = [[] for _ in prompts]
    for (row, _index), rollout in zip(places, scored, strict=True):
        by_prompt[row].append(rollout)
    return by_prompt


def _summary(
    task: Task,
    settings: Settings,
    prompts: Sequence[Prompt],
    too_long: int,
    greedy: Sequence[Sequence[Rollout]],
    sampled: Sequence[Sequence[Rollout]],
    canonical: Callable[[Rollout], Hashable | None],
    started: float,
) -> Evaluation:
    def is_correct(rollout: Rollout) -> bool:
        """Weights may sum to 0.999..."""
        return rollout.reward is not None and rollout.reward >= settings.correct_at - 1e-9

    correct = [[is_correct(rollout) for rollout in rollouts] for rollouts in sampled]
    votes = [[canonical(rollout) for rollout in rollouts] for rollouts in sampled]
    n, deep = settings.samples, range(settings.sampled_problems)
    ks = _powers_of_two(n) if deep else []
    everything = [rollout for rollouts in (*greedy, *sampled) for rollout in rollouts]
    return Evaluation(
        task=task.name,
        settings=settings,
        ids=tuple(prompt.example.id for prompt in prompts),
        greedy=Measure.of([float(is_correct(rollout)) for (rollout,) in greedy]),
        pass_at_1=Measure.of([mean(row) for row in correct]),
        pass_at={k: Measure.of([pass_at_k(n, sum(correct[row]), k) for row in deep]) for k in ks},
        maj_at={k: Measure.of([maj_at_k(votes[row], correct[row], k) for row in deep]) for k in ks},
        seconds=time.perf_counter() - started,
        tokens=sum(len(rollout.tokens) for rollout in everything),
        mean_completion_tokens=mean([len(rollout.tokens) for rollout in everything]),
        truncated_fraction=mean([not rollout.finished for rollout in everything]),
        unparseable_fraction=mean([vote is None for row in votes for vote in row]),
        unscored_fraction=mean([_unscored(rollout) for rollout in everything]),
        prompts_too_long=too_long,
        completions=tuple(_shown(rollout) for (rollout,) in greedy[:SHOWN_COMPLETIONS]),
    )


def _unscored(rollout: Rollout) -> bool:
    return rollout.reward is None or any(score.status in ("timeout", "failed") for score in rollout.scores.values())


def _shown(rollout: Rollout) -> SampleCompletion:
    prompt = rollout.prompt.example.prompt
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return SampleCompletion(question, rollout.text, rollout.reward, rollout.finished)


def _powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 ... and ``largest`` itself."""
    return sorted({2**power for power in range(largest.bit_length()) if 2**power <= largest} | {largest})
