"""This module reads Arrow tables as rows of plain Python values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Convert = Callable[[Any], Any]


def python_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a ``pyarrow.Table``.

    A number that was kept in 32 or 16 bits is the shortest decimal that those bits stand for: 0.1, which arrow hands
    over as 0.10000000149011612. A map is an object.
    """
    rows: list[dict[str, Any]] = table.to_pylist()
    for field in table.schema:
        if (convert := _conversion(field.type)) is not None:
            for row in rows:
                row[field.name] = convert(row[field.name])
    return rows


def _conversion(kind: Any) -> Convert | None:
    """What a value of an arrow type needs, or None: nothing."""
    from pyarrow import types

    if types.is_float32(kind) or types.is_float16(kind):
        return _shortest("float32" if types.is_float32(kind) else "float16")
    if types.is_map(kind):
        inside = _conversion(kind.item_type) or (lambda value: value)
        return _of_something(lambda value: {key: inside(each) for key, each in value})
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = _conversion(kind.value_type)
        return item and _of_something(lambda value: [item(each) for each in value])
    if types.is_struct(kind):
        fields = {field.name: found for field in kind if (found := _conversion(field.type)) is not None}
        return _of_something(lambda value: value | {n: f(value[n]) for n, f in fields.items()}) if fields else None
    return None


def _shortest(bits: str) -> Convert:
    import numpy

    kind = getattr(numpy, bits)
    return _of_something(lambda value: float(str(kind(value))))


def _of_something(convert: Convert) -> Convert:
    """Returns a conversion that leaves null as it is, and does as ``convert`` with any other value."""
    return lambda value: None if value is None else convert(value)
