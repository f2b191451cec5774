"""This module says where two recipes differ, stage beside stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from groupwise.config.describe import parts_that_differ

Json = Mapping[str, Any]
HASH = ".sha256"
"""This ends the place of a hash of a function's source, or of rows."""
HASHED = ("function", "is", "rows")
"""What stands beside a hash; where that differs, the hash says no more."""


def differing_parts(first: Json, other: Json, without: Collection[str] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Yields every place where two recipes differ, and what each has, but for the fields ``without``. Stages stand
    beside each other by place where there are equally many, and by name otherwise."""
    ours, theirs = first.get("stages") or (), other.get("stages") or ()
    names = [str(stage.get("name", at)) for at, stage in enumerate(ours)]
    keys = names if len(ours) == len(theirs) else [str(stage.get("name", at)) for at, stage in enumerate(theirs)]
    arranged = _arranged(first, names, without), _arranged(other, keys, without)
    found = list(parts_that_differ(*arranged))
    places = {place for place, _, _ in found}
    for place, here, there in found:
        base = place.removesuffix(HASH)
        if base == place:
            yield place, here, there
        elif not places & {f"{base}.{name}" for name in HASHED}:
            yield f"{base} (content)", here, there


def _arranged(recipe: Json, keys: Sequence[str], without: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in recipe.items() if name != "stages" and name not in without}
    return kept | dict(zip(keys, recipe.get("stages") or (), strict=True))
