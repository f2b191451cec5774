"""Numbers that are not finite: found before they reach the weights, and named where they first appear.

An update one of whose numbers is NaN or infinite is left out whole. What came first is named, in the order in which
numbers are made of numbers: a NaN advantage makes a NaN coefficient and a NaN gradient, and the advantage is the news.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from groupwise.algorithm import Coefficients, Outputs, Signals
from groupwise.checkpoint import write_json
from groupwise.errors import UserError
from groupwise.ledger import Ledger
from groupwise.record import BadNumber, StepRecord

MADE_BEFORE = ("behavior_logprobs", "old_logprobs", "reference_logprobs", "old_values", "returns")
"""Of ``Signals``, before advantages are made of them."""
SAID = ("logprobs", "entropy", "values", "exact_kl")
"""Of ``Outputs``."""
MOST_KEPT = 20
"""Batches of a stage that are saved."""


@dataclass
class NotFinite(Exception):  # noqa: N818 - no error of ours: it leaves an update out
    """An update must not be made. ``row`` is that of the minibatch."""

    number: BadNumber


def all_finite(weights: Mapping[str, Tensor]) -> bool:
    """Whether every weight is: what is not need not be kept."""
    return all(bool(tensor.isfinite().all()) for tensor in weights.values())


def refuse_broken(stage: str, weights: Mapping[str, Tensor]) -> None:
    """Raises UserError where the weights that a stage would leave are not finite."""
    if not all_finite(weights):
        raise UserError(
            f"stage {stage}: the weights are not finite after the last update, so no model was saved; lower the "
            "learning rate or mend the reward, and the same command continues from the last checkpoint"
        )


def refuse_bad(signals: Signals, outputs: Outputs, found: Coefficients) -> None:
    """Raises NotFinite for the first number of a micro-batch that is not finite, of tokens that count."""
    for kind, tensor in _in_order(signals, outputs, found):
        bad = signals.mask & ~tensor.isfinite()
        if bad.any():
            row, token = (int(index) for index in bad.nonzero()[0])
            raise NotFinite(BadNumber(kind, float(tensor[row, token]), int(bad.sum()), row, token))
    if not torch.isfinite(found.objective):
        raise NotFinite(BadNumber("loss", -float(found.objective)))


def _in_order(signals: Signals, outputs: Outputs, found: Coefficients) -> Iterator[tuple[str, Tensor]]:
    """``[b, T]`` tensors that are there; what is made of others comes after them."""
    named = [("squared_rewards", signals.rewards.square())]  # a group's spread is made of these
    named += [(name, vars(signals)[name]) for name in (*MADE_BEFORE, "advantages")]
    named += [(name, vars(outputs)[name]) for name in SAID]
    named += [("coefficients", vars(found.cotangent)[name]) for name in SAID]
    return ((name, tensor) for name, tensor in named if tensor is not None)


@dataclass
class BadBatches:
    """``directory/<stage>/<step>.parquet`` in the ledger's columns, and beside it ``<step>.json``: what and where."""

    directory: Path
    last: str = field(default="", init=False)
    """Of the newest step: what was found, and where it lies."""

    def keep(self, stage: str, record: StepRecord, weights: Mapping[str, float]) -> str:
        """What was not finite in a step, in words, its batch saved: the first MOST_KEPT of a stage."""
        ledger = Ledger(self.directory)
        words = "; ".join(dict.fromkeys(bad.sentence() for bad in record.bad))
        earlier = [step for step in ledger.steps(stage) if step < record.step]
        if len(earlier) < MOST_KEPT:
            path = ledger.write(stage, record, weights)
            found = [asdict(bad) | {"value": str(bad.value)} for bad in record.bad]
            write_json(path.with_suffix(".json"), {"stage": stage, "step": record.step, "not_finite": found})
            words += f"; the batch lies in {path}"
        self.last = words
        return words
