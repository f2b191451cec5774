"""This module shows a method at work on a case: every number between the rewards and the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Coefficients, Outputs, Signals, Whitening, gradient_coefficient
from groupwise.errors import UserError
from groupwise.explain.case import Case, signals_of


@dataclass(frozen=True)
class Tokens:
    """The numbers of one response: a list has one number a token, 0 for a token that the policy did not sample."""

    rewards: Sequence[float]
    """On their tokens, a KL penalty in the reward subtracted."""
    raw_advantages: Sequence[float]
    """Before whitening."""
    advantages: Sequence[float]
    ratios: Sequence[float]
    """π_θ/π_old of the token, or of the sequence where the objective speaks of those."""
    clipped: Sequence[bool]
    """Where a clip holds the token's term, or its weight, flat."""
    kl: Sequence[float]
    """Nats before the coefficient: in the objective of π_θ, in the reward of π_old. 0 without a penalty."""
    corrections: Sequence[float]
    """Weights between sampler and learner."""
    weights: Sequence[float]
    """The aggregation's, divided by the count; 0 where the token is filtered out."""
    coefficients: Sequence[float]
    """∂J/∂logprobs, every normaliser in it."""
    others: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """∂J/∂ what else the network says: ``values``, ``entropy``, ``exact_kl``."""

    def record(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        named = {"advantages", "ratios", "clipped", "kl", "weights", "coefficients"}
        others = {f"{name}_coefficients": values for name, values in self.others.items()}
        return {name: values for name, values in vars(self).items() if name in named} | others


@dataclass(frozen=True)
class Numbers:
    """These are the numbers of a whole case."""

    objective: float
    groups: Sequence[Sequence[Tokens]]

    def responses(self) -> list[Tokens]:
        """Yields those of each response, group by group."""
        return [tokens for group in self.groups for tokens in group]

    def record(self) -> dict[str, Any]:
        """Returns them as JSON has them."""
        groups = [[tokens.record() for tokens in group] for group in self.groups]
        return {"objective": self.objective, "loss": -self.objective, "groups": groups}


def compute(algorithm: Algorithm, case: Case, method: str = "the method") -> Numbers:
    """Computes what the algorithm makes of the case, in float64; the gradient of one update on all of it.

    Raises UserError for what the method needs and the case lacks, for options that contradict each other, and where a
    number is not finite.
    """
    signals, outputs = signals_of(case, algorithm, method)
    try:
        prepared = algorithm.prepare(signals)
        raw = replace(algorithm, whitening=Whitening()).prepare(signals).advantages
        found = gradient_coefficient(algorithm, prepared, outputs)
    except ValueError as error:
        raise UserError(f"{method} with these options: {error}") from error
    assert prepared.weights is not None
    assert prepared.counts is not None
    count = float(prepared.counts.sum()) or 1.0  # every completion filtered out: nothing is learned
    nats = _nats(algorithm, signals, found)
    tables = {
        "rewards": signals.rewards - (algorithm.kl.coefficient * nats if _in_rewards(algorithm) else 0.0),
        "raw_advantages": raw,
        "advantages": prepared.advantages,
        "ratios": found.ratio,
        "clipped": found.clipped != 0,
        "kl": nats,
        "corrections": _corrections(algorithm, prepared, outputs),
        "weights": prepared.weights / count,
        "coefficients": found.cotangent.logprobs / count,
    }
    cotangent = vars(found.cotangent.map(lambda tensor: tensor / count))
    others = {name: tensor for name, tensor in cotangent.items() if tensor is not None and name != "logprobs"}
    rows = _rows(signals.mask, [len(response.logprobs) for _, response in case.rows()], tables, others)
    _refuse_infinite(case, rows)
    sizes = iter(rows)
    groups = [[next(sizes) for _ in group] for group in case.groups]
    return Numbers(float(found.objective) / count, groups)


def _in_rewards(algorithm: Algorithm) -> bool:
    return algorithm.kl.in_reward and algorithm.kl.place == "reward"


def _nats(algorithm: Algorithm, signals: Signals, found: Coefficients) -> Tensor:
    """``[B, T]``: in the reward they are those of the policy that drew, as Algorithm.prepare takes them."""
    if not algorithm.kl.in_reward:
        return found.kl
    assert signals.old_logprobs is not None
    assert signals.reference_logprobs is not None
    return algorithm.kl.estimate(signals.old_logprobs, signals.reference_logprobs)


def _corrections(algorithm: Algorithm, prepared: Signals, outputs: Outputs) -> Tensor:
    old = outputs.logprobs if prepared.old_logprobs is None else prepared.old_logprobs
    return algorithm.correction.weights(outputs.logprobs, replace(prepared, old_logprobs=old))


def _rows(
    mask: Tensor, lengths: Sequence[int], tables: dict[str, Tensor | None], others: dict[str, Tensor]
) -> list[Tokens]:
    """One for each row, cut to its length."""

    def lists(tensor: Tensor | None) -> list[list[Any]]:
        assert tensor is not None
        exact = torch.where(mask, tensor, torch.zeros_like(tensor)).tolist()
        return [row[:length] for row, length in zip(exact, lengths, strict=True)]

    named = {name: lists(tensor) for name, tensor in tables.items()}
    beside = {name: lists(tensor) for name, tensor in others.items()}

    def row(tables: dict[str, list[list[Any]]], i: int) -> dict[str, list[Any]]:
        return {name: rows[i] for name, rows in tables.items()}

    return [Tokens(**row(named, i), others=row(beside, i)) for i in range(len(lengths))]


def _refuse_infinite(case: Case, rows: Sequence[Tokens]) -> None:
    for (where, _), tokens in zip(case.rows(), rows, strict=True):
        for place, (coefficient, ratio) in enumerate(zip(tokens.coefficients, tokens.ratios, strict=True)):
            if not (math.isfinite(coefficient) and math.isfinite(ratio)):
                raise UserError(
                    f"{where}, token {place}: the coefficient is {coefficient:g} and the ratio {ratio:g}; expected "
                    "log-probabilities whose differences have an exponential"
                )
