"""This module says where two recipes differ, stage beside stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from groupwise.config.describe import parts_that_differ
from groupwise.config.identity import is_named_alone

Json = Mapping[str, Any]
HASH = ".sha256"
"""This ends the place of a hash of a function's source, or of rows."""
HASHED = ("function", "is", "rows")
"""What stands beside a hash; where that differs, the hash says no more."""


def differing_parts(first: Json, other: Json, without: Collection[str] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Yields every place where two recipes differ, and what each has, but for the fields ``without``. Stages stand
    beside each other by place where there are equally many, and by name otherwise. An option that one of them does not
    know, since its version had none, and that asks for nothing in the other, is no difference."""
    ours, theirs = first.get("stages") or (), other.get("stages") or ()
    names = [str(stage.get("name", at)) for at, stage in enumerate(ours)]
    keys = names if len(ours) == len(theirs) else [str(stage.get("name", at)) for at, stage in enumerate(theirs)]
    arranged = _arranged(first, names, without), _arranged(other, keys, without)
    found = list(parts_that_differ(*_of_one_version(*arranged)))
    places = {place for place, _, _ in found}
    for place, here, there in found:
        base = place.removesuffix(HASH)
        if base == place:
            yield place, here, there
        elif not places & {f"{base}.{name}" for name in HASHED}:
            yield f"{base} (content)", here, there


def _of_one_version(first: Any, other: Any) -> tuple[Any, Any]:
    """Returns both without options that only one of them has and that ask for nothing there, and without hashes of code
    of ours, which later versions do not record."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        pairs = {key: _of_one_version(first[key], other[key]) for key in first if key in other}
        return _beside(first, other, {key: pair[0] for key, pair in pairs.items()}), _beside(
            other, first, {key: pair[1] for key, pair in pairs.items()}
        )
    if isinstance(first, list) and isinstance(other, list) and len(first) == len(other):
        both = [_of_one_version(*pair) for pair in zip(first, other, strict=True)]
        return [one for one, _ in both], [one for _, one in both]
    return first, other


def _beside(one: Json, other: Json, shared: Json) -> dict[str, Any]:
    versions = one.get("is") == other.get("is")
    silent = {
        key
        for key in one.keys() - other.keys()
        if (versions and not one[key]) or (key == HASH[1:] and is_named_alone(one))
    }
    return {key: shared.get(key, value) for key, value in one.items() if key not in silent}


def _arranged(recipe: Json, keys: Sequence[str], without: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in recipe.items() if name != "stages" and name not in without}
    return kept | dict(zip(keys, recipe.get("stages") or (), strict=True))
