"""This module refuses numbers that are not finite: found before they reach the weights, and named where they first
appear.

An update one of whose numbers is NaN or infinite is left out whole. What came first is named, in the order in which
numbers are made of numbers: a NaN advantage makes a NaN coefficient and a NaN gradient, and the advantage is the news.
A number that the learner's precision cannot hold is infinite, too: rewards of 1e308, which a group's spread may still
normalise, are no fault, and an advantage of 1e308 is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.algorithm import Coefficients, Outputs, Signals
from groupwise.learning.record import BadNumber

MADE_BEFORE = ("behavior_logprobs", "old_logprobs", "reference_logprobs", "old_values", "returns")
"""Of ``Signals``, before advantages are made of them."""
SAID = ("logprobs", "entropy", "values", "exact_kl")
"""Of ``Outputs``."""


@dataclass
class NonFiniteUpdate(Exception):  # noqa: N818 - no error of ours: it leaves an update out
    """An update must not be made. ``row`` is that of the minibatch."""

    number: BadNumber


def refuse_bad(signals: Signals, outputs: Outputs, found: Coefficients) -> None:
    """Raises NonFiniteUpdate for the first number of a micro-batch that is not finite, of tokens that count."""
    for kind, tensor in _in_order(signals, outputs, found):
        bad = signals.mask & ~tensor.isfinite()
        if bad.any():
            row, token = (int(index) for index in bad.nonzero()[0])
            raise NonFiniteUpdate(BadNumber(kind, float(tensor[row, token]), int(bad.sum()), row, token))
    if not torch.isfinite(found.objective):
        raise NonFiniteUpdate(BadNumber("loss", -float(found.objective)))


def _in_order(signals: Signals, outputs: Outputs, found: Coefficients) -> Iterator[tuple[str, Tensor]]:
    """Yields ``[b, T]`` tensors that are there; what is made of others comes after them."""
    learned = [(name, vars(signals)[name]) for name in (*MADE_BEFORE, "advantages")]
    learned += [(name, vars(outputs)[name]) for name in SAID]
    learned += [("coefficients", vars(found.cotangent)[name]) for name in SAID]
    yield "rewards", signals.rewards
    for name, tensor in learned:
        if tensor is not None:
            yield name, tensor.to(outputs.logprobs.dtype)
