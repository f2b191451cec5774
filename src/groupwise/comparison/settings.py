"""This module sorts runs into settings: runs whose recipes differ in nothing but seed and name are seeds of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.storage.clearing import RECORD
from groupwise.view.recipes import differing_parts
from groupwise.view.run_files import RunFiles, open_runs

Json = Mapping[str, Any]
LONGEST_VALUE = 60
NO_SETTING = ("seed", "name")
"""What seeds of one setting may differ in."""


@dataclass(frozen=True)
class Setting:
    """A setting is one recipe, and the runs of it with different seeds."""

    name: str
    runs: tuple[RunFiles, ...]

    @property
    def seeds(self) -> tuple[Any, ...]:
        """Returns the seed of each run."""
        return tuple(recipe_of(run).get("seed") for run in self.runs)

    @property
    def title(self) -> str:
        """Returns its name and how many seeds it has, where there are several."""
        return f"{self.name}, {len(self.runs)} seeds" if len(self.runs) > 1 else self.name


def settings_of(directories: Sequence[str | Path]) -> list[Setting]:
    """Returns the settings in the order in which their first runs were named. A second run with the same seed is no
    other seed, so it begins a setting of its own.

    Raises UserError for fewer than two runs, one that is named twice, and a directory that is no run's.
    """
    runs = open_runs(directories)
    if len(runs) < 2:
        raise UserError("one run is nothing to compare; expected at least two directories of runs")
    places = [run.directory.resolve() for run in runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice:
        raise UserError(f"{twice} is named twice; expected different runs")
    alike: list[list[RunFiles]] = []
    for run in runs:
        _refuse_unreadable(run)
        group = next((group for group in alike if _is_another_seed(group, run)), None)
        if group is None:
            alike.append([run])
        else:
            group.append(run)
    names = short_names([group[0].directory for group in alike])
    return [Setting(name, tuple(group)) for name, group in zip(names, alike, strict=True)]


def recipe_of(run: RunFiles) -> dict[str, Any]:
    """Returns the resolved recipe of a run; empty where its record has none."""
    found = run.record().get("recipe")
    return found if isinstance(found, dict) else {}


def recipe_differences(first: Setting, other: Setting) -> list[tuple[str, str, str]]:
    """Returns every place where two settings' recipes differ, and what each has there. Stages stand beside each other
    by place where there are equally many, and by name otherwise."""
    found = differing_parts(recipe_of(first.runs[0]), recipe_of(other.runs[0]), NO_SETTING)
    return [(place, _short(here), _short(there)) for place, here, there in found]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Returns the shortest endings of the paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _refuse_unreadable(run: RunFiles) -> None:
    """Raises UserError where a run's record says nothing: it has not begun, or the file is not whole."""
    if recipe_of(run):
        return
    if (run.directory / RECORD).exists():
        raise UserError(
            f"{run.directory / RECORD}: holds no recipe that can be read, so nothing can be compared with it; expected "
            "the file that groupwise run writes"
        )
    raise UserError(f"{run.directory}: the run has not begun, so there is nothing to compare yet")


def _is_another_seed(group: Sequence[RunFiles], run: RunFiles) -> bool:
    """Says whether a run is of the recipe of a group, with a seed that the group has not."""
    recipe, first = recipe_of(run), recipe_of(group[0])
    if any(recipe_of(each).get("seed") == recipe.get("seed") for each in group):
        return False
    return next(differing_parts(first, recipe, NO_SETTING), None) is None


def _short(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
