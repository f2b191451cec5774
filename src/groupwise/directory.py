"""A run's directory: what is where, whose it is, and how far it has come."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groupwise.checkpoint import PROGRESS, write_json
from groupwise.describe import differences
from groupwise.errors import UserError

SHOWN_DIFFERENCES = 3


class RunDirectory:
    """Paths of a run, and the questions that resuming asks. Nothing is written before ``claim``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.alarms = path / "alarms.jsonl"
        self.tensorboard = path / "tensorboard"
        self.ledger = path / "ledger"
        self.gathered = path / "gathered"
        self.bad_batches = path / "bad_batches"
        self.evaluation = path / "evaluation.json"
        self.groups = path / "groups.json"
        self.report = path / "report.html"

    def model(self, stage: str) -> Path:
        """Where a finished stage leaves its model; the directory exists only when it is complete."""
        return self.path / "models" / stage

    def checkpoint(self, stage: str, step: int) -> Path:
        return self.path / "checkpoints" / f"{stage}-{step:06d}"

    def newest_checkpoint(self, stage: str) -> Path | None:
        """The latest complete checkpoint of a stage under way."""
        found = sorted((self.path / "checkpoints").glob(f"{stage}-[0-9]*"))
        complete = [path for path in found if (path / PROGRESS).exists()]
        return complete[-1] if complete else None

    def drop_checkpoints(self, stage: str, keep: Path | None = None) -> None:
        """Removes a stage's checkpoints but the one named."""
        for path in (self.path / "checkpoints").glob(f"{stage}-[0-9]*"):
            if path != keep:
                shutil.rmtree(path)

    def read(self) -> dict[str, Any]:
        """run.json; empty where the run has not begun."""
        return json.loads(self.record.read_text(encoding="utf-8")) if self.record.exists() else {}

    @property
    def finished(self) -> bool:
        return self.read().get("seconds") is not None

    @contextmanager
    def claim(self, recipe: dict[str, Any], fresh: bool) -> Iterator[None]:
        """Holds the directory for this process and this recipe.

        ``fresh`` removes an earlier run first. Raises UserError where another process is at work here, where the
        directory belongs to another recipe, and where it holds something that is no run. A new run that ends with a
        UserError before its first step leaves nothing behind.
        """
        self._refuse_foreign()
        absent = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is running here; wait for it or choose another --out"
                ) from None
            if fresh:
                self._clear()
            self._refuse_other(recipe)
            is_new = not self.record.exists()
            try:
                yield
            except UserError:
                if is_new and not self._has_steps():
                    self._clear()
                    (self.path / ".lock").unlink()
                    for path in absent:
                        path.rmdir()
                raise

    def write_record(self, values: dict[str, Any]) -> None:
        write_json(self.record, self.read() | values)

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; expected a directory for the run")
        if self.path.is_dir() and not self.record.exists():
            foreign = [path.name for path in self.path.iterdir() if path.name != ".lock"]
            if foreign:
                raise UserError(
                    f"{self.path}: holds {foreign[0]} but no run.json, so it is no run's; choose another --out"
                )

    def _refuse_other(self, recipe: dict[str, Any]) -> None:
        record = self.read()
        if not record:
            return
        found = list(differences(recipe, record["recipe"]))
        if found:
            more = f" and {len(found) - SHOWN_DIFFERENCES} more" if len(found) > SHOWN_DIFFERENCES else ""
            raise UserError(
                f"{self.path}: belongs to another recipe; they differ in {'; '.join(found[:SHOWN_DIFFERENCES])}{more}. "
                "Choose another --out, or start over with --fresh"
            )

    def _has_steps(self) -> bool:
        return self.metrics.exists() and self.metrics.stat().st_size > 0

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
