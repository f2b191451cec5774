"""This module runs the rewards and puts what they say on the rollouts."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from groupwise.environments.protocol import TOOLS
from groupwise.errors import UserError
from groupwise.protocols import FollowsTraining, Reward
from groupwise.rewards.calls import place
from groupwise.rewards.failures import unscored
from groupwise.rewards.score_values import as_scores
from groupwise.rewards.verdicts import Judge, equal_reward
from groupwise.types import OVER, Rollout, Score, ScoreStatus, TrainerState
from groupwise.values.tolerance import TOLERANCE

LARGEST = sys.float_info.max
COUNTED: tuple[ScoreStatus, ...] = ("unparseable", "timeout", "failed")


@runtime_checkable
class NeedsPreparation(Protocol):
    """A reward that starts something, or finds out whether it can work here, before anything is spent."""

    def prepare(self) -> None:
        """Raises UserError where it cannot work. Called again it does nothing."""
        ...


@runtime_checkable
class NeedsGuards(Protocol):
    """A reward that needs guards around what a model wrote, unless it is told to do without."""

    @property
    def unguarded(self) -> bool:
        """Says whether the user allowed this reward to run without guards."""
        ...


def prepare(rewards: Iterable[Reward]) -> None:
    """Prepares all that must be ready before a model is opened. Raises UserError where a reward cannot work here."""
    for reward in rewards:
        if isinstance(reward, NeedsPreparation):
            reward.prepare()


def score_rollouts(
    rollouts: Sequence[Rollout],
    rewards: Sequence[Reward],
    judge: Judge | None = None,
    beside: Sequence[Reward] = (),
    state: TrainerState = OVER,
) -> tuple[list[Rollout], dict[str, float]]:
    """The same rollouts, in order, with ``scores`` by reward name and ``rewards`` by token index; and the metrics.

    A value goes, times its reward's weight, to the last sampled token; a score with ``steps`` goes to those indices
    instead. A reward that does not apply to a row adds nothing to it. A row that any reward timed out or failed on
    keeps its scores but gets no ``rewards``: part of a sum is not comparable with the whole sums of its group. A reward
    that raises failed on all of them, and one that says NaN or infinity on that row. ``state``: where training stood
    when they were drawn.

    ``judge`` sets ``correct``, the verdict of its reward alone. A judge that is none of ``rewards`` is asked as well:
    its score stands among ``scores`` and ``correct`` comes of it, and it is no part of ``rewards``. Nor are those
    ``beside``, whose scores are kept as well.

    Metrics, for every reward: ``rewards/NAME/mean`` and ``/std`` (Bessel's, of the values there are; left out where
    there are none), ``/seconds``, and ``/unparseable``, ``/timeout``, ``/failed`` (of a cached reward also ``/cached``)
    as fractions of the rollouts, and the mean of what it logged.
    Raises UserError where two rewards have one name, a reward returns another number of scores than it was given
    rollouts, or no reward applies to a row.
    """
    everyone = list(rewards)
    for reward in (*([judge.reward] if judge else ()), *beside):
        everyone += [reward] if equal_reward(reward, everyone) is None else []
    _check_names(everyone)
    metrics: dict[str, float] = {}
    by_name: dict[str, list[Score]] = {}
    for reward in everyone:
        started = time.perf_counter()
        scores = checked_scores(reward, rollouts, state)
        by_name[reward.name] = scores
        metrics |= score_metrics(reward.name, scores, time.perf_counter() - started, _of_episodes(rollouts))
    weights = {reward.name: float(reward.weight) for reward in rewards}
    rows = [{name: scores[row] for name, scores in by_name.items()} for row in range(len(rollouts))]
    return [_scored(rollout, scores, weights, judge) for rollout, scores in zip(rollouts, rows, strict=True)], metrics


def scores_at(reward: Reward, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
    """Returns what a reward says of completions that were drawn at that state, as scores (``as_scores``)."""
    said = reward.score_at(rollouts, state) if isinstance(reward, FollowsTraining) else reward.score(rollouts)
    return as_scores(reward.name, said, rollouts)


def checked_scores(reward: Reward, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
    """Returns what a reward says; where it raises anything but a UserError it failed on all, and on what it says NaN
    of."""
    try:
        return scores_at(reward, rollouts, state)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # an object of the user's own class runs here
        reason = f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]} at {place(error, None)}"
        return [Score(None, "failed", reason=reason) for _ in rollouts]


def _of_episodes(rollouts: Sequence[Rollout]) -> bool:
    return any(rollout.stop is not None for rollout in rollouts)


def score_metrics(name: str, scores: Sequence[Score], seconds: float, of_episodes: bool = False) -> dict[str, float]:
    """Returns one reward's metrics, as ``score_rollouts`` names them, of any of its scores. What is counted of the
    tools of episodes is no reward's: it stands among the step's own metrics."""
    values = [score.value for score in scores if score.value is not None]
    counts = Counter(score.status for score in scores)
    metrics = {f"rewards/{name}/{status}": counts[status] / max(len(scores), 1) for status in COUNTED}
    metrics[f"rewards/{name}/seconds"] = seconds
    if any(score.cached is not None for score in scores):
        metrics[f"rewards/{name}/cached"] = sum(bool(score.cached) for score in scores) / len(scores)
    for logged in sorted({key for score in scores for key in score.logged}):
        if of_episodes and logged.startswith(TOOLS):
            continue
        found = [score.logged[logged] for score in scores if logged in score.logged]
        metrics[f"rewards/{name}/{logged}"] = _or_infinite(statistics.fmean, found)
    if values:
        metrics[f"rewards/{name}/mean"] = _or_infinite(statistics.fmean, values)
        metrics[f"rewards/{name}/std"] = _or_infinite(statistics.stdev, values) if len(values) > 1 else 0.0
    return metrics


def reward_means(groups: Iterable[Sequence[Rollout]]) -> dict[str, float]:
    """Returns by reward the mean over the groups that it gave any value, of each the mean of its values."""
    found: dict[str, list[float]] = {}
    for rollouts in groups:
        for name in rollouts[0].scores:
            values = [value for rollout in rollouts if (value := rollout.scores[name].value) is not None]
            found.setdefault(name, []).extend([_or_infinite(statistics.fmean, values)] if values else [])
    return {name: _or_infinite(statistics.fmean, values) for name, values in found.items() if values}


def _or_infinite(of: Callable[[list[float]], float], values: list[float]) -> float:
    """A statistic of finite values, or infinity where it is too large for a float."""
    try:
        return of(values)
    except OverflowError:
        return math.inf


def _scored(
    rollout: Rollout, scores: Mapping[str, Score], weights: Mapping[str, float], judge: Judge | None
) -> Rollout:
    own = {name: scores[name] for name in weights}
    incomplete = unscored(replace(rollout, scores=own))
    if not incomplete and all(score.value is None and not score.steps for score in own.values()):
        said = f"{', '.join(own)} returned None" if own else "there are no rewards"
        raise UserError(f"{rollout.prompt.example.id}: no reward applies to this row ({said}); every row needs one")
    terms: dict[int, list[float]] = {}
    if not incomplete:
        for name, score in own.items():
            for index, value in _places(rollout, score).items():
                terms.setdefault(index, []).append(max(-LARGEST, min(LARGEST, weights[name] * value)))
    rewards = {index: _sum(values) for index, values in terms.items()}
    correct = judge.verdict(scores[judge.name]) if judge else None
    return replace(rollout, scores=scores, rewards=rewards, correct=correct)


def _sum(terms: Sequence[float]) -> float:
    """Adds in order, whatever the Python; returns 0 where the terms cancel but for rounding, and holds the sum at the
    largest float."""
    total = 0.0
    for term in terms:
        total = max(-LARGEST, min(LARGEST, total + term))
    return 0.0 if abs(total) <= TOLERANCE * max(map(abs, terms)) else total


def _places(rollout: Rollout, score: Score) -> Mapping[int, float]:
    if score.steps or score.value is None:
        return score.steps
    if not any(rollout.mask):
        raise UserError(f"{rollout.prompt.example.id}: the completion has no sampled token that a reward could sit on")
    return {rollout.last: score.value}


def _check_names(rewards: Sequence[Reward]) -> None:
    for name, count in Counter(reward.name for reward in rewards).items():
        if count > 1:
            raise UserError(f"{count} rewards are named '{name}'; give each a name of its own (name=...)")
