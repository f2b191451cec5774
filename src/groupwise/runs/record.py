"""This module tells a run's record from another file of that name, and from one that is damaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from groupwise.values.finite import is_finite

SHA256_LETTERS = 64


def _are_stages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and is_finite(one.get("steps")) for one in value
    )


def _is_recipe(value: Any) -> bool:
    stages = value.get("stages", []) if isinstance(value, dict) else None
    return isinstance(stages, list) and all(isinstance(one, dict) for one in stages)


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "recipe": _is_recipe,
    "stages": _are_stages,
    "started": is_finite,
    "seconds": lambda value: value is None or is_finite(value),
    "threads": lambda value: is_finite(value) and isinstance(value, int) and value >= 0,
    **dict.fromkeys(("changes", "continued", "resumed"), lambda value: isinstance(value, list)),
    **dict.fromkeys(("reward_scales", "command", "evaluation_seconds"), lambda value: isinstance(value, dict)),
}
"""What of a record is read again when a run goes on, and what it must be."""
ALWAYS = ("recipe", "stages", "started")
"""What every record has of these."""


def damaged_parts(record: Mapping[str, Any]) -> list[str]:
    """Names what of a run's record is something else than a run writes there; nothing of no record at all."""
    read = [name for name in KINDS if name in record or name in ALWAYS] if record else []
    return [name for name in read if not KINDS[name](record.get(name))]


def is_record(record: Mapping[str, Any]) -> bool:
    """Says whether a record is a run's: a file of that name may be anyone's."""
    sha256 = record.get("recipe_sha256")
    return isinstance(record.get("recipe"), dict) and isinstance(sha256, str) and len(sha256) == SHA256_LETTERS


def stages_of(record: Mapping[str, Any]) -> list[str]:
    """Returns the names of a run's stages; what is told twice in a record may be damaged once."""
    recipe = record.get("recipe")
    told = [record.get("stages"), recipe.get("stages") if isinstance(recipe, dict) else None]
    stages = [stage for one in told if isinstance(one, list) for stage in one if isinstance(stage, dict)]
    return list(dict.fromkeys(str(stage["name"]) for stage in stages if "name" in stage))
