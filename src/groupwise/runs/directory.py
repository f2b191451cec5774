"""This module knows a run's directory: what is where, whose it is, and how far it has come."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from groupwise.config.identity import unknowns
from groupwise.errors import UserError
from groupwise.runs.changes import Changes, accepted
from groupwise.runs.environment import recipe_hash
from groupwise.runs.record import damaged_parts, is_record, stages_of
from groupwise.storage.atomic import PARTIAL, put_right, read_json, remove_any, remove_directory, write_json
from groupwise.storage.clearing import FILES, LOCK, RECORD, remove, run_contents
from groupwise.storage.json_rows import read_rows

HALF_RECORD = f"{PARTIAL}{RECORD}"
CLEARING = "clearing"
"""In run.json while what the run wrote is being removed."""
MARK = "A run of groupwise was here.\n"
TIMED = ("started", "seconds", "evaluation_seconds", "continued", "changes", "resumed", "command")


class RunDirectory:
    """A run's directory knows the paths of a run, and answers the questions that resuming asks. Nothing is written
    before ``claim``."""

    def __init__(self, path: Path, command: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.command = command or {}
        """What the record keeps of the command at work."""
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
        self.lock = path / LOCK
        self.kept: tuple[str, ...] = ()
        """What ``claim`` cleared around: names that no run gave."""

    def model(self, stage: str) -> Path:
        """Returns where a finished stage leaves its model; the directory exists only when it is complete."""
        return self.path / "models" / stage

    def checkpoint(self, stage: str, step: int) -> Path:
        """Returns where the checkpoint behind a step lies."""
        return self.path / "checkpoints" / f"{stage}-{step:06d}"

    def checkpoints(self, stage: str) -> dict[int, Path]:
        """Returns those of a stage, by their steps in order; whether their files are whole is not looked at."""
        named = re.compile(re.escape(stage) + r"-(\d{6,})")
        found = {path: named.fullmatch(path.name) for path in (self.path / "checkpoints").glob("*")}
        return dict(sorted((int(match[1]), path) for path, match in found.items() if match))

    def latest(self, checkpoint: Path | None) -> None:
        """Makes ``checkpoints/latest`` lead to the one given; None: to nothing."""
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
        remove_any(aside)
        os.replace(checkpoint, aside)
        return aside

    def drop_damaged(self, stage: str) -> None:
        """Removes what of a stage was set aside."""
        for path in (self.path / "checkpoints").glob(".damaged-*"):
            if path.name.removeprefix(".damaged-").rpartition("-")[0] == stage:
                remove_any(path)

    def drop_checkpoints(self, stage: str, keep: Collection[int] = ()) -> None:
        """Removes a stage's checkpoints but those of the steps named."""
        for step, path in self.checkpoints(stage).items():
            if step not in keep:
                remove_directory(path)

    def read(self) -> dict[str, Any]:
        """Reads run.json; empty where the run has not begun. Raises UserError where no run wrote it."""
        if not self.record.exists():
            return {}
        try:
            found = json.loads(self.record.read_text(encoding="utf-8")) if self.record.is_file() else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UserError(f"{self.record}: holds no run's record; bring it back, or choose another directory")
        return found

    def lasting_record(self) -> dict[str, Any]:
        """Returns run.json without what a clock says of this run: the same for every run that comes to the same."""
        return {name: value for name, value in self.read().items() if name not in TIMED}

    @property
    def finished(self) -> bool:
        """Says whether every stage has left its model, and all that follows is done."""
        record = self.read()
        left = all(self.model(stage["name"]).exists() for stage in record.get("stages", ()))
        return record.get("seconds") is not None and left

    @contextmanager
    def claim(self, recipe: dict[str, Any], fresh: bool) -> Iterator[Changes]:
        """Holds the directory for this process and this recipe, and says what of it has changed since the run began.

        ``fresh`` removes what an earlier run wrote first, and ``kept`` names what else is there. Raises UserError where
        another process is at work here, where the directory belongs to another recipe, and where it holds something
        that is no run. A new run that ends with a UserError before its first step, or first samples, leaves nothing.
        """
        self._refuse_foreign()
        if not fresh:
            self._refuse_damaged()
        absent = [path for path in (self.path, *self.path.parents) if not path.exists()]
        with self._opened() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is running here; wait for it or choose another --out"
                ) from None
            if fresh or CLEARING in self.read():
                self._clear(lock)
            for parent in (self.path / "models", self.path / "checkpoints"):
                put_right(parent)
            changes = self._changes(recipe)
            self._take(changes, recipe)
            is_new = not self.record.exists()
            try:
                yield changes
            except UserError:
                if is_new and not self._has_results():
                    self._undo(recipe, absent)
                raise

    def _opened(self) -> TextIO:
        """The file that says that a process is at work here. Raises UserError where none can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = "it is a link" if error.errno == errno.ELOOP else error.strerror
            raise UserError(f"{self.path}: can't be written ({why}: {error.filename}); choose another --out") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UserError(f"{self.lock}: is no file; remove it, or choose another --out")
        return os.fdopen(descriptor, "r+")

    def write_record(self, values: dict[str, Any]) -> None:
        """Adds values to run.json, at once or not at all; those of the same names are replaced."""
        write_json(self.record, self.read() | dict(self.command) | values)

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; expected a directory for the run")
        if not self.path.is_dir():
            return
        link = next((name for name in (RECORD, *FILES) if (self.path / name).is_symlink()), None)
        if link:
            raise UserError(f"{self.path / link}: is a link, and no run writes through one; remove it")
        other = next(
            (path for name in (RECORD, *FILES) if (path := self.path / name).exists() and not path.is_file()), None
        )
        if other:
            raise UserError(f"{other}: is no file, and a run writes one there; remove it, or choose another --out")
        record = self.read()
        if self.record.exists() and not is_record(record):
            raise UserError(f"{self.record}: no run wrote it (it names no recipe); choose another --out")
        if not record and not self._is_marked():
            foreign = [path.name for path in self.path.iterdir() if path.name not in (LOCK, HALF_RECORD)]
            if foreign:
                raise UserError(
                    f"{self.path}: holds {foreign[0]} but no run.json, so it is no run's; choose another --out"
                )

    def _refuse_damaged(self) -> None:
        """Raises UserError where the record of a run holds something else than a run writes there."""
        wrong = damaged_parts(self.read())
        if wrong:
            raise UserError(
                f"{self.record}: what it says of {' and '.join(wrong)} is not what a run writes; bring the file back, "
                "or start over with --fresh"
            )

    def _is_marked(self) -> bool:
        """Says whether a run was here and left what it did not write."""
        try:
            return not self.lock.is_symlink() and self.lock.is_file() and self.lock.read_bytes()[:99] == MARK.encode()
        except OSError:
            return False

    def begun(self, stage: str) -> bool:
        """Says whether anything of a stage is there: a step, a checkpoint, offline samples, its model."""
        kept = self.model(stage).exists() or bool(self.checkpoints(stage)) or (self.ledger / stage).exists()
        gathered = [path for path in self.gathered.glob("*") if path.name in (f"{stage}.jsonl", f".parts-{stage}")]
        return kept or bool(gathered) or any(row["stage"] == stage for row in read_rows(self.metrics))

    def _changes(self, recipe: dict[str, Any]) -> Changes:
        """Returns what is otherwise than recorded. Raises UserError where that is another run."""
        record = self.read()
        if not record:
            return Changes()
        for place, kind in unknowns(recipe):
            raise UserError(
                f"{self.path}: {place} holds a {kind}, which cannot be compared with the one that the run began with, "
                "so the run cannot be continued; keep plain values there and make the object when it is called, or "
                "start over with --fresh"
            )
        return accepted(self, recipe, record["recipe"])

    def _take(self, changes: Changes, recipe: dict[str, Any]) -> None:
        """Makes room for them, and records them last: killed in between, the same is found and done again."""
        if not changes.words:
            return
        if changes.lengthened:
            remove_directory(self.model(changes.lengthened))
        if self.evaluation.exists() and changes.evaluates_anew:
            self.evaluation.unlink()
        elif self.evaluation.exists() and changes.lengthened:
            write_json(self.evaluation, _without(read_json(self.evaluation, dict) or {}, changes.lengthened))
        record = self.read()
        stages = [{"name": stage["name"], "steps": stage["steps"]} for stage in recipe.get("stages", ())]
        again = {"seconds": None} if changes.lengthened or changes.evaluates_anew else {}
        history = [*record.get("changes", ()), {"time": round(time.time()), "options": list(changes.words)}]
        kept = {"recipe": recipe, "recipe_sha256": recipe_hash(recipe), "stages": stages, "changes": history}
        self.write_record(kept | again)

    def _has_results(self) -> bool:
        """A step, or samples that were gathered for one."""
        return self.gathered.exists() or (self.metrics.exists() and self.metrics.stat().st_size > 0)

    def _clear(self, lock: TextIO) -> None:
        """Removes what the run that is here wrote, and keeps the rest. Raises UserError, and removes nothing, where
        something that it did not write lies among what a run reads as a whole.

        run.json says first that it is being cleared and goes last: cut short, the next command clears on. A mark in the
        lock says that what is left then has had a run beside it.
        """
        record = self.read()
        if not record:
            return
        found = run_contents(self.path, stages_of(record))
        if found.inside:
            more = f" and {len(found.inside) - 1} more" if len(found.inside) > 1 else ""
            raise UserError(
                f"{self.path / found.inside[0]}{more}: the run did not write it, and it lies in a directory that "
                "--fresh removes; nothing was removed; move it elsewhere, or choose another --out"
            )
        self.write_record({"seconds": None, CLEARING: True})
        self.kept = found.others
        if found.others:
            _mark(lock)
        remove(self.path, found)

    def _undo(self, recipe: dict[str, Any], absent: list[Path]) -> None:
        """Leaves the directory as it was before a new run began in it."""
        found = run_contents(self.path, stages_of(self.read() or recipe))
        remove(self.path, found)
        if not (found.inside or found.others):
            self.lock.unlink()
        for path in absent:
            with suppress(OSError):  # someone has put a file there
                path.rmdir()


def _mark(lock: TextIO) -> None:
    """Writes the mark into a file that is ours alone and empty: one that lies elsewhere, too, is not written."""
    about = os.fstat(lock.fileno())
    if about.st_size == 0 and about.st_nlink == 1:
        lock.write(MARK)
        lock.flush()


def _without(evaluations: dict[str, Any], stage: str) -> dict[str, Any]:
    """Returns what evaluation.json holds of the other stages; a comparison is made again."""
    kinds = [kind for kind in ("models", "scorers", "texts") if kind in evaluations]
    others = {kind: [one for one in evaluations[kind] or () if one["stage"] != stage] for kind in kinds}
    return evaluations | others | {"comparison": None}
