"""Draws made ahead, on the disk: in a checkpoint, whose next steps will learn from them.

The weights that drew them are gone when a run continues, so that they cannot be drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.sources import offline_files
from groupwise.sources.draw import DrawContext, Position, RolloutBatch, prompts_taken
from groupwise.sources.rows import row_stream, rows_of


def write_pending(directory: Path, context: DrawContext, position: Position, draws: Sequence[RolloutBatch]) -> None:
    """Writes each draw to a file of its own, ``pending-000001.jsonl`` and on; the first begins at ``position``."""
    for number, draw in enumerate(draws, start=1):
        ids = {group.prompt.example.id for group in draw.groups}
        rows = _row_numbers(context, position, ids)
        head = {
            "position": dict(draw.position),
            "metrics": draw.metrics,
            "seconds": draw.seconds,
            "sampled_tokens": draw.sampled_tokens,
        }
        offline_files.write_lines(_path(directory, number), head, draw.groups, rows)
        position = draw.position


def read_pending(directory: Path, context: DrawContext, count: int) -> list[RolloutBatch]:
    """The inverse of ``write_pending`` on the same rows. Raises UserError where a file is missing or damaged, or was
    made of other rows."""
    draws = []
    for number in range(1, count + 1):
        path = _path(directory, number)
        if not path.exists():
            raise UserError(f"{path}: draw {number} of {count} that were made ahead is missing; bring the file back")
        head, groups = offline_files.read_lines(path, rows_of(context))
        draws.append(
            RolloutBatch(list(groups), head["position"], head["metrics"], head["seconds"], head["sampled_tokens"])
        )
    return draws


def restore_pending(source: Source, context: DrawContext, position: Position, directory: Path, count: int) -> None:
    """Gives a source the draws that it had made ahead when the checkpoint in ``directory`` was written at ``position``.

    Raises UserError where it has no use for them, and for what ``read_pending`` raises.
    """
    draws = read_pending(directory, context, count)
    if not source.restore(context, position, draws):
        raise UserError(
            f"{context.name}: {directory} holds {count} draws that were made ahead, and the source "
            f"{type(source).__name__} does not take them up; expected the source that made them"
        )


def _path(directory: Path, number: int) -> Path:
    return directory / f"pending-{number:06d}.jsonl"


def _row_numbers(context: DrawContext, position: Position, ids: set[str]) -> dict[str, int]:
    """The numbers of rows by their ids. Those that come next in the stream are looked at first."""
    rows, found = rows_of(context), dict[str, int]()
    coming = (row for _, row in row_stream(context, prompts_taken(position)))
    for row in chain(coming, range(len(rows))):
        if found.keys() == ids:
            break
        if (id := rows[row].id) in ids:
            found[id] = row
    if missing := ids - found.keys():
        raise UserError(f"{context.name}: a draw has a prompt of no row: {min(missing)}; expected the task's own rows")
    return found
