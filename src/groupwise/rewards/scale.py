"""The slot of a learned reward that decides what its scores mean to a policy: raw numbers, standardised or bounded."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, runtime_checkable

from groupwise.errors import UserError
from groupwise.values.finite import is_finite
from groupwise.values.tolerance import differ


@runtime_checkable
class Scale(Protocol):
    """This slot says what becomes of a reward model's score."""

    def of(self, score: float) -> float:
        """Returns the reward of a finite score."""
        ...

    def formula(self) -> str:
        """Returns it as it is written, r being the score, with the numbers in force."""
        ...

    def is_known(self) -> bool:
        """Says whether all its numbers are there; those of Standardised are measured first."""
        return True


@dataclass(frozen=True)
class Unscaled(Scale):
    """The score as the model gives it, of any size and with any zero."""

    def of(self, score: float) -> float:
        """Returns the score as it is: that is the reward."""
        return score

    def formula(self) -> str:
        """Writes the scale as a formula of the score r."""
        return "r"


@dataclass(frozen=True)
class Standardised(Scale):
    """This scale is (r - mean) / spread: mean 0 and standard deviation 1 over completions of the policy that a stage
    begins with. Raises UserError for one of the two numbers without the other, and for a spread that is not above 0.

    A run measures both once, before the stage's first step, and keeps them, so that they are constants of training
    (arXiv 1909.08593, section 2.1; arXiv 2403.17031, detail 3).
    """

    prompts: Annotated[int, "[1, inf)"] = 64
    """Training prompts, the first in the stage's order, that are asked."""
    completions: Annotated[int, "[1, inf)"] = 4
    """Of each prompt, sampled as the stage samples."""
    mean: float | None = None
    """Measured where None."""
    spread: float | None = None
    """The population's standard deviation; measured where None."""

    def __post_init__(self) -> None:
        if self.mean is None and self.spread is None:
            return
        if not (is_finite(self.mean) and is_finite(self.spread) and float(self.spread or 0) > 0):
            raise UserError(
                f"a reward is standardised by the mean {self.mean!r} and the spread {self.spread!r}; expected two "
                "finite numbers, the spread above 0, or neither, so that a run measures them"
            )

    def of(self, score: float) -> float:
        """Returns ``(score - mean) / spread``. Raises ValueError before both are measured."""
        if self.mean is None or self.spread is None:
            raise ValueError("a standardised score needs its mean and spread, which a run measures")
        return (score - self.mean) / self.spread

    def formula(self) -> str:
        """Writes the scale as a formula of the score r, with its numbers where they are known."""
        if self.mean is None or self.spread is None:
            return "(r - mean) / spread"
        return f"(r - {self.mean:.4g}) / {self.spread:.4g}"

    def is_known(self) -> bool:
        """Says whether mean and spread have been measured."""
        return self.mean is not None and self.spread is not None

    def measured(self, scores: Sequence[float], name: str = "model") -> Standardised:
        """The same with the numbers of these scores. Raises UserError where there is no spread to measure."""
        if len(scores) < 2 or not differ(scores):
            seen = "all the same" if len(scores) > 1 else "too few"
            raise UserError(
                f"reward '{name}': cannot be standardised: the {len(scores)} scores of completions sampled to measure "
                f"it are {seen}; expected scores that differ: a model that was trained, more prompts or completions"
            )
        mean = statistics.fmean(scores)
        return replace(self, mean=mean, spread=statistics.pstdev(scores, mean))

    def numbers(self) -> dict[str, float | None]:
        """Returns what was measured, to be kept."""
        return {"mean": self.mean, "spread": self.spread}


@dataclass(frozen=True)
class Sigmoid(Scale):
    """This scale is σ(r), between 0 and 1: for Bradley-Terry the chance to be preferred to an answer with score 0."""

    def of(self, score: float) -> float:
        """Returns σ(score), between 0 and 1."""
        return sigmoid(score)

    def formula(self) -> str:
        """Writes the scale as a formula of the score r."""
        return "σ(r)"


@dataclass(frozen=True)
class Clipped(Scale):
    """The score held between two ends. Raises UserError unless both are finite and low < high."""

    low: Annotated[float, "(-inf, inf)"] = -5.0
    """Smallest reward."""
    high: Annotated[float, "(-inf, inf)"] = 5.0
    """Largest reward."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(f"a clipped reward's range is {self.low:g} to {self.high:g}; expected finite low < high")

    def of(self, score: float) -> float:
        """Returns the score, held between ``low`` and ``high``."""
        return min(max(score, self.low), self.high)

    def formula(self) -> str:
        """Writes the scale as a formula of the score r."""
        return f"r held between {self.low:g} and {self.high:g}"


EXPECTED_SCALES = "none, standardised, standardised PROMPTS COMPLETIONS, sigmoid or clipped LOW HIGH"
_COUNTS: dict[str, tuple[int, ...]] = {"none": (0,), "standardised": (0, 2), "sigmoid": (0,), "clipped": (2,)}


def is_scale(words: str) -> bool:
    """Says whether the words begin as the name of a scale does."""
    return words.split()[:1] in [[name] for name in _COUNTS]


def scale_named(words: str) -> Scale:
    """Returns the scale of that name: ``EXPECTED_SCALES``. Raises UserError for anything else."""
    name, *given = words.split() or [""]
    if len(given) not in _COUNTS.get(name, ()):
        raise UserError(f"a learned reward's scale is '{words.strip()}'; expected {EXPECTED_SCALES}")
    if name == "clipped":
        low, high = (_number(each, words) for each in given)
        return Clipped(low, high)
    if name == "standardised" and given:
        if not all(each.isascii() and each.isdecimal() and int(each) for each in given):
            raise UserError(f"a learned reward's scale is '{words.strip()}'; expected whole numbers of 1 or more")
        return Standardised(*map(int, given))
    plain: dict[str, Scale] = {"none": Unscaled(), "standardised": Standardised(), "sigmoid": Sigmoid()}
    return plain[name]


def scales_from(record: Mapping[str, Any], scale: Standardised) -> Standardised:
    """The same with numbers that were kept. Raises UserError for what are none."""
    if not isinstance(record, Mapping) or record.get("mean") is None or record.get("spread") is None:
        raise UserError(f"a reward's kept scale is {record!r}; expected its mean and spread")
    return replace(scale, mean=record["mean"], spread=record["spread"])


def sigmoid(logit: float) -> float:
    """Computes ``1 / (1 + exp(-logit))``, also where the exponential would overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _number(text: str, words: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"a learned reward's scale is '{words.strip()}'; '{text}' is no number") from None
