"""A run's directory: what is where, whose it is, and how far it has come."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from groupwise.changes import Changes, accepted
from groupwise.checkpoint import PARTIAL, put_right, remove_directory, write_json
from groupwise.errors import UserError
from groupwise.versions import recipe_hash

HALF_RECORD = f"{PARTIAL}run.json"
TIMED = ("started", "seconds", "evaluation_seconds", "continued", "changes")


class RunDirectory:
    """Paths of a run, and the questions that resuming asks. Nothing is written before ``claim``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.times = path / "times.jsonl"
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

    def checkpoints(self, stage: str) -> dict[int, Path]:
        """Of a stage, by their steps in order; whether their files are whole is not looked at."""
        named = re.compile(re.escape(stage) + r"-(\d{6,})")
        found = {path: named.fullmatch(path.name) for path in (self.path / "checkpoints").glob("*")}
        return dict(sorted((int(match[1]), path) for path, match in found.items() if match))

    def latest(self, checkpoint: Path | None) -> None:
        """``checkpoints/latest`` leads to the one given; None: to nothing."""
        link = self.path / "checkpoints" / "latest"
        if checkpoint is None:
            link.unlink(missing_ok=True)
            return
        partial = link.with_name(".latest")
        partial.unlink(missing_ok=True)
        partial.symlink_to(checkpoint.name)
        os.replace(partial, link)

    def set_aside(self, checkpoint: Path) -> Path:
        """A damaged one, under a name that nothing takes for a checkpoint, for a look."""
        aside = checkpoint.with_name(f".damaged-{checkpoint.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(checkpoint, aside)
        return aside

    def drop_damaged(self, stage: str) -> None:
        """Removes what of a stage was set aside."""
        for path in (self.path / "checkpoints").glob(".damaged-*"):
            if path.name.removeprefix(".damaged-").rpartition("-")[0] == stage:
                shutil.rmtree(path)

    def drop_checkpoints(self, stage: str, keep: Collection[int] = ()) -> None:
        """Removes a stage's checkpoints but those of the steps named."""
        for step, path in self.checkpoints(stage).items():
            if step not in keep:
                remove_directory(path)

    def read(self) -> dict[str, Any]:
        """run.json; empty where the run has not begun."""
        return json.loads(self.record.read_text(encoding="utf-8")) if self.record.exists() else {}

    def lasting_record(self) -> dict[str, Any]:
        """run.json without what a clock says of this run: the same for every run that comes to the same."""
        return {name: value for name, value in self.read().items() if name not in TIMED}

    @property
    def finished(self) -> bool:
        """Whether every stage has left its model, and all that follows is done."""
        record = self.read()
        left = all(self.model(stage["name"]).exists() for stage in record.get("stages", ()))
        return record.get("seconds") is not None and left

    @contextmanager
    def claim(self, recipe: dict[str, Any], fresh: bool) -> Iterator[Changes]:
        """Holds the directory for this process and this recipe, and says what of it has changed since the run began.

        ``fresh`` removes an earlier run first. Raises UserError where another process is at work here, where the
        directory belongs to another recipe, and where it holds something that is no run. A new run that ends with a
        UserError before its first step, or first samples, leaves nothing behind.
        """
        self._refuse_foreign()
        absent = [path for path in (self.path, *self.path.parents) if not path.exists()]
        with self._opened() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is running here; wait for it or choose another --out"
                ) from None
            if fresh:
                self._clear()
            for parent in (self.path / "models", self.path / "checkpoints"):
                put_right(parent)
            changes = self._changes(recipe)
            self._take(changes, recipe)
            is_new = not self.record.exists()
            try:
                yield changes
            except UserError:
                if is_new and not self._has_results():
                    self._clear()
                    (self.path / ".lock").unlink()
                    for path in absent:
                        path.rmdir()
                raise

    def _opened(self) -> TextIO:
        """The file that says that a process is at work here. Raises UserError where none can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(
                f"{self.path}: can't be written ({error.strerror}: {error.filename}); choose another --out"
            ) from error

    def write_record(self, values: dict[str, Any]) -> None:
        write_json(self.record, self.read() | values)

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; expected a directory for the run")
        if self.path.is_dir() and not self.record.exists():
            foreign = [path.name for path in self.path.iterdir() if path.name not in (".lock", HALF_RECORD)]
            if foreign:
                raise UserError(
                    f"{self.path}: holds {foreign[0]} but no run.json, so it is no run's; choose another --out"
                )

    def begun(self, stage: str) -> bool:
        """Whether anything of a stage is there: a step, a checkpoint, what it gathered, its model."""
        kept = self.model(stage).exists() or bool(self.checkpoints(stage)) or (self.ledger / stage).exists()
        gathered = [path for path in self.gathered.glob("*") if path.name in (f"{stage}.jsonl", f".parts-{stage}")]
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []
        return kept or bool(gathered) or any(f'"stage": {json.dumps(stage)}' in line for line in lines)

    def _changes(self, recipe: dict[str, Any]) -> Changes:
        """What is otherwise than recorded. Raises UserError where that is another run."""
        record = self.read()
        return accepted(self, recipe, record["recipe"]) if record else Changes()

    def _take(self, changes: Changes, recipe: dict[str, Any]) -> None:
        """Makes room for them, and records them last: killed in between, the same is found and done again."""
        if not changes.words:
            return
        if changes.lengthened:
            remove_directory(self.model(changes.lengthened))
        if self.evaluation.exists() and changes.evaluates_anew:
            self.evaluation.unlink()
        elif self.evaluation.exists() and changes.lengthened:
            write_json(self.evaluation, _without(json.loads(self.evaluation.read_text()), changes.lengthened))
        record = self.read()
        stages = [{"name": stage["name"], "steps": stage["steps"]} for stage in recipe.get("stages", ())]
        again = {"seconds": None} if changes.lengthened or changes.evaluates_anew else {}
        history = [*record.get("changes", ()), {"time": round(time.time()), "options": list(changes.words)}]
        kept = {"recipe": recipe, "recipe_sha256": recipe_hash(recipe), "stages": stages, "changes": history}
        self.write_record(kept | again)

    def _has_results(self) -> bool:
        """A step, or samples that were gathered for one."""
        return self.gathered.exists() or (self.metrics.exists() and self.metrics.stat().st_size > 0)

    def _clear(self) -> None:
        """run.json goes last: what is left of a clearing that was cut short is still a run's."""
        for path in sorted(self.path.iterdir(), key=lambda path: path == self.record):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


def _without(evaluations: dict[str, Any], stage: str) -> dict[str, Any]:
    """What evaluation.json holds of the other stages; a comparison is made again."""
    others = {kind: [one for one in evaluations[kind] if one["stage"] != stage] for kind in ("models", "scorers")}
    return evaluations | others | {"comparison": None}
