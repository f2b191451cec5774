"""A step's rollouts under a method, in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.explain.case import Case
from groupwise.explain.numbers import Numbers, Tokens


@dataclass(frozen=True)
class Totals:
    """These are totals over the sampled tokens of all responses."""

    responses: int
    tokens: int
    pushed: float
    """Share of tokens whose coefficient is not 0."""
    clipped: float
    """Share of tokens that a clip holds."""
    right: float | None
    """Mean |coefficient| of a token of a response that the judge calls right; None: there is none."""
    wrong: float | None
    """Of the others."""


def totals(case: Case, numbers: Numbers) -> Totals:
    """Sums the numbers that ``compute`` made of the case."""
    pairs = [(response, tokens) for (_, response), tokens in zip(case.rows(), numbers.responses(), strict=True)]
    count = sum(sum(response.sampled) for response, _ in pairs)
    return Totals(
        responses=len(pairs),
        tokens=count,
        pushed=sum(value != 0 for _, tokens in pairs for value in tokens.coefficients) / count,
        clipped=sum(sum(tokens.clipped) for _, tokens in pairs) / count,
        right=_size([tokens for response, tokens in pairs if case.verdict(response)]),
        wrong=_size([tokens for response, tokens in pairs if not case.verdict(response)]),
    )


def _size(rows: Sequence[Tokens]) -> float | None:
    values = [abs(value) for tokens in rows for value in tokens.coefficients]
    return sum(values) / len(values) if values else None
