"""This module makes a gradient of gradient coefficients: what learners share whose network lies in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Protocol

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs, gradient_coefficient
from groupwise.learners.placement import StoppedElsewhere
from groupwise.learning.nonfinite import NonFiniteUpdate
from groupwise.learning.tally import Tally, coefficients
from groupwise.learning.train_batch import TrainBatch
from groupwise.types import Rollout

CoefficientFunction = Callable[[Sequence[int], Outputs], Outputs]
"""``(rows, outputs) -> cotangents``: row numbers of the micro-batch, what the network said of them (``[b, T]``),
and the gradient coefficient ∂J/∂outputs in the same shape."""


class Backward(Protocol):
    """A backward goes forward and backward through a network, a micro-batch at a time."""

    def __call__(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
        count: float = 0.0,
        idle: frozenset[int] = frozenset(),
    ) -> None:
        """Adds ``-coefficient · ∂outputs/∂θ`` to the gradient. ``outputs`` names what must carry a gradient beside
        ``logprobs``: ``entropy``, ``values``, ``exact_kl``. Rows with one number in ``together`` go through the
        network in one micro-batch. ``count``: what the step divides the gradient of these rows by; a loss of the
        network's own, which is a mean already, is multiplied by it. ``idle``: rows whose coefficients are probably
        all zero (``rows_without_gradient``), which go through the network apart from others; where they are zero
        indeed, nothing goes backward."""
        ...


def accumulate(backward: Backward, batch: TrainBatch, algorithm: Algorithm, on_rows: Callable[[int], None]) -> Tally:
    """Does what ``trainable.Trainable.accumulate`` promises, with this ``backward``."""
    return Tally.total([Tally.counts(batch), *tallies(backward, batch, algorithm, on_rows)])


def tallies(backward: Backward, batch: TrainBatch, algorithm: Algorithm, on_rows: Callable[[int], None]) -> list[Tally]:
    """Accumulates, and returns a tally for each micro-batch of this process."""
    found: list[Tally] = []

    def asked(rows: Sequence[int], outputs: Outputs) -> Outputs:
        cotangent, tally = coefficients(batch.part(rows), algorithm, outputs)
        found.append(tally)
        if tally.bad is not None:
            raise NonFiniteUpdate(tally.bad)
        on_rows(len(rows))
        return cotangent

    with suppress(NonFiniteUpdate, StoppedElsewhere):  # the tally says so
        idle = rows_without_gradient(batch, algorithm)
        backward(batch.rollouts, batch.temperature, asked, algorithm.outputs, batch.together, batch.count, idle)
    return found


def rows_without_gradient(batch: TrainBatch, algorithm: Algorithm) -> frozenset[int]:
    """Returns the rows whose gradient coefficients are all zero where the learner says of each token what the sampler
    said: those of a group that was equally right throughout, as a rule. It is a guess, made before the network is
    asked; none where the sampler's log-probabilities are not known or do not decide."""
    sampled = batch.signals.behavior_logprobs
    if sampled is None or algorithm.outputs or algorithm.trains_scorer:
        return frozenset()
    found = gradient_coefficient(algorithm, batch.signals, Outputs(sampled.float()))
    silent = (found.cotangent.logprobs == 0).all(dim=1)
    return frozenset(silent.nonzero()[:, 0].tolist())


def send_back(said: Outputs, cotangent: Outputs, loss: Tensor | None = None) -> None:
    """Makes one backward pass from every output that has a cotangent, with the minus sign that makes the objective a
    loss, and from ``loss``."""
    given = {field.name: getattr(cotangent, field.name) for field in fields(Outputs)}
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    ends = {name: getattr(said, name) for name in given}
    for name, end in ends.items():
        if end is None or not end.requires_grad:
            raise ValueError(f"a cotangent of {name} would be lost: backward(outputs=...) must name it")
    gradients = [-given[name].to(end) for name, end in ends.items()]
    more = [] if loss is None else [loss]
    torch.autograd.backward([*ends.values(), *more], [*gradients, *map(torch.ones_like, more)])
