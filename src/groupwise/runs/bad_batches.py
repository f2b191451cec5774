"""This module says what is done about numbers that are not finite: no such model is left, and the batch of such an
update is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from groupwise.errors import UserError
from groupwise.learning.record import StepRecord
from groupwise.ledger.files import Ledger
from groupwise.storage.atomic import write_json

MOST_KEPT = 20
"""Batches of a stage that are saved."""


def all_finite(weights: Iterable[tuple[str, Tensor]]) -> bool:
    """Says whether every weight is finite: what is not need not be kept. It reads all of them, as ``Trainable.weights``
    asks for."""
    finite = True
    for _, tensor in weights:
        finite &= bool(tensor.isfinite().all())
    return finite


def refuse_broken(stage: str, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Raises UserError where the weights that a stage would leave are not finite."""
    if not all_finite(weights):
        raise UserError(
            f"stage {stage}: the weights are not finite after the last update, so no model was saved; lower the "
            "learning rate or mend the reward, and the same command continues from the last checkpoint"
        )


@dataclass
class BadBatches:
    """Bad batches are kept in ``directory/<stage>/<step>.parquet`` in the ledger's columns, and beside it
    ``<step>.json``: what and where."""

    directory: Path
    last: str = field(default="", init=False)
    """Of the newest step: what was found, and where it lies."""

    def keep(self, stage: str, record: StepRecord, weights: Mapping[str, float]) -> str:
        """Saves a step's batch and says in words what was not finite in it: the first MOST_KEPT of a stage."""
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
