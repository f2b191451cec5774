"""Every rollout is kept: texts, ids, log-probabilities, rewards, advantages, coefficients. One parquet file a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.deadlines import Helper, result
from groupwise.learning.record import StepRecord
from groupwise.ledger.columns import extras, parts_of, table_of
from groupwise.storage.atomic import open_new

__all__ = ["Ledger", "LedgerWriter", "extras", "parts_of", "whole_table"]


class Ledger:
    """Writes and reads ``directory/<stage>/<step>.parquet``; a step written again replaces itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, stage: str, step: int) -> Path:
        """Returns where the rollouts of a step lie."""
        return self.directory / stage / f"{step:06d}.parquet"

    def write(self, stage: str, record: StepRecord, weights: Mapping[str, float] | None = None) -> Path:
        """Writes all rollouts of one step, a row each. Lists are as long as the completion; ``weights`` are the
        rewards'."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(stage, record.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_suffix(".partial")
        table = table_of(stage, record, weights or {})
        strings = [field.name for field in table.schema if field.type == pa.string()]
        numbers = (pa.list_(pa.float32()), pa.list_(pa.float64()))
        floats = [field.name for field in table.schema if field.type in numbers]
        with open_new(partial_file) as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                compression_level=1,
                use_dictionary=strings,
                use_byte_stream_split=[f"{name}.list.element" for name in floats],
            )
        os.replace(partial_file, path)
        return path

    def read(self, stage: str, step: int) -> list[dict[str, Any]]:
        """Returns the rows of one step, whatever version wrote them. Raises FileNotFoundError for a step that is not
        there, and UserError for a file that is damaged."""
        import pyarrow as pa

        table = whole_table(self.path(stage, step))
        maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            row.update({name: None if row[name] is None else dict(row[name]) for name in maps})
        return rows

    def steps(self, stage: str) -> list[int]:
        """Returns the steps on disk, in order."""
        return sorted(int(path.stem) for path in (self.directory / stage).glob("*.parquet"))


def whole_table(path: Path) -> Any:
    """Returns a step's table of pyarrow. Raises FileNotFoundError where there is none, and UserError where it is
    damaged: a full disk or a copy that was cut leaves such."""
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UserError(f"{path}: is damaged, so this step cannot be read; choose others ({words})") from None


class LedgerWriter:
    """Writes steps to a ledger in a thread of its own, one after the other: who hands over the next waits for the last.

    What goes wrong in the thread is raised by the next call, ``drain`` included.
    """

    def __init__(self, ledger: Ledger, on_note: Callable[[str], None]) -> None:
        self.ledger, self.on_note = ledger, on_note
        self._helper = Helper("ledger")
        self._under_way: Future[Path] | None = None
        self._written: list[Path] = []

    def write(self, stage: str, record: StepRecord, weights: Mapping[str, float]) -> None:
        """Begins to write a step."""
        self._wait()
        self._under_way = self._helper.submit(partial(self.ledger.write, stage, record, weights))

    def drain(self) -> list[Path]:
        """Waits until everything is written: the files since the last call."""
        self._wait()
        written, self._written = self._written, []
        return written

    def close(self) -> None:
        """Waits for what is under way and ends the thread."""
        try:
            self._wait()
        finally:
            self._helper.close()

    def _wait(self) -> None:
        """For the write under way, which is over even where it failed."""
        under_way, self._under_way = self._under_way, None
        if under_way:
            self._written.append(result(under_way, "the run", "the ledger's file of a step", self.on_note))
