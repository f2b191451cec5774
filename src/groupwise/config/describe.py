"""A recipe as plain data: what is written beside every checkpoint, compared on resume, and shown in the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from groupwise.config.identity import identity, is_named_alone, ours, source_hash
from groupwise.output.masking import MASK, masked, names_secret
from groupwise.values.said import SAID_WHERE_SET

SHOWN_ROWS = 3  # of a task's examples that are hashed at each end


class Description(dict[str, Any]):
    """This is the description of a value of a class of ours, which knows the options that have their default."""

    def __init__(self, parts: Mapping[str, Any], at_default: Collection[str]) -> None:
        super().__init__(parts)
        self.at_default = frozenset(at_default)


def describe(value: Any) -> Any:
    """Returns nested dicts, lists and scalars. Two recipes that behave alike describe alike, in every process.

    A dataclass is its type and fields (and its source, where a user wrote it); a function or an object what
    ``identity`` says of it, so that an edited reward is another recipe; a sequence of rows its length and a hash of its
    ends.
    """
    return _described(value, ())


def _described(value: Any, inside: tuple[int, ...]) -> Any:
    """``inside``: the ids of what it is a part of."""
    if isinstance(value, str):
        return masked(str(value))
    if value is None or type(value) in (bool, int, float):
        return value
    if id(value) in inside:
        return {"itself": len(inside) - inside.index(id(value))}

    def below(part: Any) -> Any:
        return _described(part, (*inside, id(value)))

    if isinstance(value, Path):
        return masked(str(value))
    if is_dataclass(value) and not isinstance(value, type):
        said = [field for field in fields(value) if not _is_silent(field, getattr(value, field.name))]
        parts = {field.name: _part(field.name, getattr(value, field.name), below) for field in said}
        named = {"is": type(value).__name__}
        if not ours(type(value)):
            return {**named, "sha256": source_hash(type(value)), **parts}
        return Description(named | parts, [field.name for field in said if _has_default(field, value)])
    if isinstance(value, Mapping):
        return {str(key): _part(str(key), item, below) for key, item in value.items()}
    if isinstance(value, list | tuple) and (len(value) <= 2 * SHOWN_ROWS or not is_dataclass(value[0])):
        return [below(item) for item in value]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview | range):
        return {"rows": len(value), "sha256": _rows_hash(value)}
    return identity(value, below)


def _is_silent(field: Field[Any], value: Any) -> bool:
    """Says whether it says nothing."""
    return SAID_WHERE_SET.items() <= field.metadata.items() and value == field.default


def _has_default(field: Field[Any], value: Any) -> bool:
    made = field.default if field.default_factory is MISSING else field.default_factory()
    return made is not MISSING and bool(getattr(value, field.name) == made)


def _part(name: str, value: Any, below: Callable[[Any], Any]) -> Any:
    """A secret is no part of a recipe: it is read from the environment, and one that is written down is masked."""
    return MASK if isinstance(value, str) and value and names_secret(name) else below(value)


def as_described_now(theirs: Any, ours: Any) -> Any:
    """Returns ``theirs``, a description that an earlier version made, as this version would have made it: options that
    came since have their default, which is what there was without them, and code of ours is its name alone."""
    if isinstance(theirs, Mapping):
        now = ours if isinstance(ours, Mapping) else {}
        kept = {key: as_described_now(part, now.get(key)) for key, part in theirs.items()}
        if is_named_alone(theirs):
            kept.pop("sha256", None)
        alike = isinstance(ours, Description) and ours["is"] == theirs.get("is")
        came = [key for key in ours.at_default if key not in theirs] if alike else []
        return kept | {key: ours[key] for key in came}
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [as_described_now(part, now) for part, now in zip(theirs, ours, strict=True)]
    return theirs


def differences(ours: Any, theirs: Any) -> Iterator[str]:
    """Yields what differs as ``path: ours (there: theirs)``, for every place where two descriptions do."""
    for path, here, there in parts_that_differ(ours, theirs):
        yield f"{path}: {_short(here)} (there: {_short(there)})"


def parts_that_differ(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields ``(path, ours, theirs)`` of every place where two descriptions differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            yield from parts_that_differ(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from parts_that_differ(a, b, f"{path}.{index}")
    elif ours != theirs:
        yield path, ours, theirs


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _rows_hash(rows: Sequence[Any]) -> str:
    shown = [rows[index] for index in sorted({*range(min(SHOWN_ROWS, len(rows)))} | {*range(len(rows))[-SHOWN_ROWS:]})]
    return hashlib.sha256(repr(shown).encode("utf-8", "surrogatepass")).hexdigest()[:16]
