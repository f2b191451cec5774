"""This module reads from one step's file of the ledger the numbers that rollouts are found by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Array = npt.NDArray[Any]

PLAIN = ("group", "example", "finished", "reward", "stop", "correct", "parts", "statuses")
LISTS = {
    "push": "Σ ∂J/∂log π of its tokens",
    "kl": "mean log π − log π_ref of its tokens",
    "surprise": "mean −log π of its tokens",
    "gap": "largest |log π of the sampler − log π of the learner|",
    "entropy": "mean nats of the next-token distribution",
}
"""Numbers of a rollout that are made of its tokens'."""
_IDS, _SINGLES, _DOUBLES = pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.float64())
FORM: dict[str, pa.DataType] = {
    **dict.fromkeys(("group", "version"), pa.int64()),
    **dict.fromkeys(("example", "prompt", "answer", "text", "stop", "messages", "extras", "reads"), pa.string()),
    **dict.fromkeys(("finished", "correct"), pa.bool_()),
    "reward": pa.float64(),
    "mask": pa.list_(pa.bool_()),
    **dict.fromkeys(("tokens", "turns", "reward_tokens"), _IDS),
    **dict.fromkeys(("reward_values", "advantages"), _DOUBLES),
    **dict.fromkeys(("coefficients", "logprobs", "behavior_logprobs", "old_logprobs"), _SINGLES),
    **dict.fromkeys(("reference_logprobs", "values", "entropy"), _SINGLES),
    "versions": pa.list_(pa.struct({"version": pa.int64(), "end": pa.int32()})),
    "parts": pa.map_(pa.string(), pa.float64()),
    "statuses": pa.map_(pa.string(), pa.string()),
}
"""The columns that are shown, as ``ledger.columns.schema`` has them, which would load torch."""
NEEDED = ("group", "reward", "tokens", "mask")
"""Columns without which a file is none of a ledger."""
_COLUMNS = ("mask", "coefficients", "logprobs", "behavior_logprobs", "reference_logprobs", "entropy")


def read(path: Path, columns: tuple[str, ...]) -> pa.Table | None:
    """Reads columns of a file as a ledger of today has them: one that an older file lacks, or has in another form, is
    nothing in every row. None where the file is gone, or none of a ledger."""
    try:
        with pq.ParquetFile(path) as file:
            kinds = {field.name: field.type for field in file.schema_arrow}
            there = [name for name in {*columns, *NEEDED} if name in kinds and _fits(kinds[name], FORM[name])]
            if not set(NEEDED) <= set(there):
                return None
            there = [name for name in columns if name in there]
            table, count = file.read(columns=there, use_threads=False), file.metadata.num_rows
    except (OSError, pa.ArrowException):
        return None
    given = [table[name] if name in there else pa.chunked_array([pa.nulls(count, FORM[name])]) for name in columns]
    return pa.Table.from_arrays(given, names=list(columns))


def _fits(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Says whether values of one type can be read as those of another: of more or fewer digits, or the same."""
    if pa.types.is_list(kind) and pa.types.is_list(wanted):
        return _fits(kind.value_type, wanted.value_type)
    numbers = pa.types.is_integer, pa.types.is_floating
    return kind.equals(wanted) or any(is_one(kind) and is_one(wanted) for is_one in numbers)


def plain_numbers(path: Path) -> dict[str, Any] | None:
    """Returns one value a row: arrays of numbers, and lists of texts. ``part:NAME`` is what reward NAME added."""
    table = read(path, PLAIN)
    if table is None:
        return None
    count = table.num_rows
    found: dict[str, Any] = {
        "group": _numbers(table, "group", np.int32, -1),
        "reward": _numbers(table, "reward", np.float64, np.nan),
        "finished": _numbers(table, "finished", np.int8, -1),
        "correct": _numbers(table, "correct", np.int8, -1),
        "example": table["example"].to_pylist(),
        "stop": table["stop"].to_pylist(),
    }
    found["signal"] = _signal(found["group"], found["reward"])
    for name, values in _by_name(table, "parts", count).items():
        found[f"part:{name}"] = np.array([np.nan if value is None else value for value in values], np.float64)
    for name, values in _by_name(table, "statuses", count).items():
        found[f"status:{name}"] = values
    return found


def token_numbers(path: Path) -> dict[str, Array] | None:
    """Returns one value a row, made of the values of its tokens; what the file does not have is NaN."""
    table = read(path, _COLUMNS)
    if table is None:
        return None
    lists = {name: table[name].combine_chunks() for name in table.column_names}
    ends = _offsets(lists["mask"])
    mask = np.asarray(lists["mask"].flatten().to_numpy(zero_copy_only=False), bool)
    counts = _sums(mask.astype(np.float64), ends)
    given = {name: _flat(values, len(mask)) for name, values in lists.items() if name != "mask"}

    def mean(values: Array | None) -> Array:
        if values is None:
            return np.full(len(counts), np.nan, np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (_sums(np.where(mask, values, 0.0), ends) / counts).astype(np.float32)

    policy, reference, sampler = (given.get(name) for name in ("logprobs", "reference_logprobs", "behavior_logprobs"))
    return {
        "length": counts.astype(np.int32),
        "push": (mean(given.get("coefficients")) * np.maximum(counts, 1)).astype(np.float32),
        "kl": mean(None if policy is None or reference is None else policy - reference),
        "surprise": mean(None if policy is None else -policy),
        "gap": _largest(None if policy is None or sampler is None else np.where(mask, sampler - policy, 0.0), ends),
        "entropy": mean(given.get("entropy")),
    }


def _numbers(table: pa.Table, name: str, kind: Any, missing: float) -> Array:
    values = table[name].combine_chunks()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return np.asarray(pc.fill_null(values.cast(pa.float64()), missing).to_numpy(zero_copy_only=False)).astype(kind)


def _signal(group: Array, reward: Array) -> Array:
    """Says of each rollout whether the rewards of its group differ."""
    if not len(group):
        return np.zeros(0, np.int8)
    _, place = np.unique(group, return_inverse=True)
    known = np.nan_to_num(reward, nan=np.inf)
    low, high = np.full(place.max() + 1, np.inf), np.full(place.max() + 1, -np.inf)
    np.minimum.at(low, place, known)
    np.maximum.at(high, place, np.where(np.isinf(known), -np.inf, known))
    return (low < high)[place].astype(np.int8)


def _by_name(table: pa.Table, name: str, count: int) -> dict[str, list[Any]]:
    """The values of a map column, a list for each of its keys."""
    values = table[name].combine_chunks()
    ends, keys, items = _offsets(values), values.keys.to_pylist(), values.items.to_pylist()
    found: dict[str, list[Any]] = {}
    for row in range(count):
        for at in range(ends[row], ends[row + 1]):
            found.setdefault(keys[at], [None] * count)[row] = items[at]
    return found


def _offsets(values: Any) -> Array:
    """Returns where each list begins, and where the last one ends, among all values; a list that is missing is
    empty."""
    ends = np.asarray(values.offsets.to_numpy(zero_copy_only=False), np.int64)
    return ends - ends[0]


def _flat(values: Any, count: int) -> Array | None:
    """Returns all values one behind the other; None where the lists are missing or others are as long."""
    if pa.types.is_null(values.type) or values.null_count:
        return None
    flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False))
    return np.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0) if len(flat) == count else None


def _sums(values: Array, ends: Array) -> Array:
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[ends[1:]] - total[ends[:-1]]


def _largest(values: Array | None, ends: Array) -> Array:
    if values is None:
        return np.full(len(ends) - 1, np.nan, np.float32)
    found = np.zeros(len(ends) - 1, np.float32)
    filled = np.flatnonzero(ends[1:] > ends[:-1])
    if len(filled):
        found[filled] = np.maximum.reduceat(np.abs(values), ends[:-1][filled])
    return found
