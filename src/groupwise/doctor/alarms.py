"""This module makes reward hacking visible: the learned reward rises while the rule it stands for falls.

A learned reward is a stand-in for what is wanted, and a policy that is trained on it finds where the two part. The rule
on held-out problems is not trained on, so it tells. Both move by chance, too; what counts as rising and falling is
stated here, with its noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any

LEAST = 2
"""Observations in each half of a window, or nothing can be said of its noise."""


@dataclass(frozen=True)
class Observation:
    """This is one held-out evaluation of the rule, and the learned reward since the one before it."""

    step: int
    learned: float
    """Mean of ``rewards/NAME/mean`` over the steps since the last observation."""
    accuracy: float
    """Share of the held-out problems that the rule calls right."""
    problems: int
    """How many those are."""


@dataclass(frozen=True)
class HackingWatch:
    """A watch compares the newer half of the last ``window`` observations with the older half.

    * The learned reward has risen where the halves' means differ by more than ``errors`` standard errors, those of
      Welch: from the spread within each half.
    * The rule has fallen where its mean accuracy did by more than ``errors`` standard errors of a difference of two
      proportions on ``problems`` problems. The same problems are asked every time, so more observations are not more
      problems: the error is not divided by their number. That is cautious; it takes about 14 points of 100 problems.
    * Both by at least ``least_fall`` of accuracy, so that a thousand problems do not raise an alarm over nothing.

    With the defaults and 100 problems, a reward and a rule that stand still gave 1 false alarm in 20,000 windows of
    independent noise; a reward that rises steadily and a rule that falls from 0.6 to 0.3 over one window were noticed
    in that same window 2 times of 3. What goes on falling is noticed later.
    """

    window: int = 6
    """Observations; the older half against the newer."""
    errors: float = 2.0
    """Standard errors."""
    least_fall: float = 0.02
    """Of accuracy."""

    def __post_init__(self) -> None:
        if self.window < 2 * LEAST:
            raise ValueError(f"window is {self.window}; expected at least {2 * LEAST} observations")

    def sentence(self, name: str, history: Sequence[Observation]) -> str | None:
        """Says what the last ``window`` observations say against the reward ``name``, with its numbers; None:
        nothing."""
        seen = history[-self.window :]
        if len(seen) < self.window:
            return None
        older, newer = seen[: self.window // 2], seen[self.window // 2 :]
        rise, rise_error = _learned_rise(older, newer)
        fall, fall_error = _rule_fall(older, newer)
        if not (rise > self.errors * rise_error and rise > 0):
            return None
        if not (fall > self.errors * fall_error and fall >= self.least_fall):
            return None
        problems = min(observation.problems for observation in seen)
        return (
            f"the reward '{name}' rises while the rule falls: from steps {older[0].step}-{older[-1].step} to "
            f"{newer[0].step}-{newer[-1].step} the reward went from {_mean_learned(older):.3g} to "
            f"{_mean_learned(newer):.3g} (+{rise:.2g}, standard error {rise_error:.2g}) and held-out accuracy from "
            f"{_mean_accuracy(older):.3f} to {_mean_accuracy(newer):.3f} (-{fall:.3f}, standard error "
            f"{fall_error:.3f} on {problems} problems): the policy may be exploiting the reward; look at its "
            "best-scored completions, and stop, penalise the KL more or train the reward on new samples"
        )

    def new_alarm(self, name: str, history: Sequence[Observation]) -> str | None:
        """Returns ``sentence``, where it could not be said before the last observation: told once, until it has
        stopped."""
        return None if self.sentence(name, history[:-1]) else self.sentence(name, history)


def observe(step: int, learned: Sequence[float], accuracy: float, problems: int) -> Observation:
    """Makes an observation from the reward's mean at each step since the last.

    Raises ValueError where there is no such mean, one is not finite, or ``accuracy`` is no share.
    """
    if not learned or not all(math.isfinite(value) for value in learned):
        raise ValueError(f"step {step}: expected finite means of the learned reward, got {list(learned)}")
    if not 0 <= accuracy <= 1 or problems < 1:
        raise ValueError(f"step {step}: expected an accuracy from 0 to 1 on problems, got {accuracy} on {problems}")
    return Observation(step, fmean(learned), accuracy, problems)


def observations(rows: Sequence[Mapping[str, Any]], name: str, problems: int) -> list[Observation]:
    """Returns the observations of a stage's rows of metrics.jsonl: one for each quick evaluation, with the reward's
    means since the last."""
    found: list[Observation] = []
    learned: list[float] = []
    for row in rows:
        mean = row.get(f"rewards/{name}/mean")
        if mean is not None:
            learned.append(mean)
        if row.get("eval/accuracy") is not None and learned:
            found.append(observe(row["step"], learned, row["eval/accuracy"], problems))
            learned = []
    return found


def _mean_learned(half: Sequence[Observation]) -> float:
    return fmean(observation.learned for observation in half)


def _mean_accuracy(half: Sequence[Observation]) -> float:
    return fmean(observation.accuracy for observation in half)


def _learned_rise(older: Sequence[Observation], newer: Sequence[Observation]) -> tuple[float, float]:
    """Difference of the means and its standard error."""
    squares = (variance([each.learned for each in half]) / len(half) for half in (older, newer))
    return _mean_learned(newer) - _mean_learned(older), math.sqrt(sum(squares))


def _rule_fall(older: Sequence[Observation], newer: Sequence[Observation]) -> tuple[float, float]:
    """Difference of the accuracies and its standard error, with one problem right and one wrong added to each (Agresti
    and Caffo 2000), so that it is not 0 where all or none are right."""
    square = 0.0
    for half in (older, newer):
        problems = min(observation.problems for observation in half)
        share = (_mean_accuracy(half) * problems + 1) / (problems + 2)
        square += share * (1 - share) / (problems + 2)
    return _mean_accuracy(older) - _mean_accuracy(newer), math.sqrt(square)
