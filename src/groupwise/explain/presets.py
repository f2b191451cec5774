"""The methods that ship, beside a stage: which one it is, and which others its options make it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from groupwise.algorithm import Algorithm
from groupwise.training.stage import Stage

MOST_NAMED = 3


def presets() -> dict[str, Algorithm]:
    """Every recipe's algorithm by its name."""
    from groupwise import recipes

    return {name: vars(recipes)[name] for name in recipes.__all__}


def run_defaults(name: str) -> Mapping[str, object]:
    """The numbers of a recipe's paper, scaled to a laptop: fields of Stage and Local by name."""
    found: Mapping[str, object] = vars(importlib.import_module(f"groupwise.recipes.{name}")).get("run_defaults", {})
    return found


def coincidence(stage: Stage) -> str:
    """Says in a sentence which other methods have the gradient that this stage's options leave of its own; "" where
    none has. A method of one update a draw is what it is: of it nothing is said."""
    from groupwise.explain import coincidences

    updates, known = stage.minibatches * stage.epochs, presets()
    own = _preset(stage, known)
    if own is None or stage.algorithm.source.lag() or (updates == 1 and _updates(own) == 1):
        return ""
    found = coincidences(stage.algorithm, updates, {name: each for name, each in known.items() if name != own})
    if not found:
        return ""
    plain = [name for name in known if _updates(name) == 1]  # what is left of others with one update
    nearest = sorted(found, key=lambda each: (each.but_truncated, each.name not in plain))
    named = [
        each.name + " without its KL penalty" * each.without_kl + " (truncated completions apart)" * each.but_truncated
        for each in nearest[:MOST_NAMED]
    ]
    if updates > 1:
        return f"on these options {own} has the gradient of {_listed(named)}"
    return (
        f"with one update a draw every ratio is 1, and {own} has the gradient of {_listed(named)}; it becomes itself "
        f"with several: {_updates(own)} by its own settings (minibatches, epochs)"
    )


def _preset(stage: Stage, known: Mapping[str, Algorithm]) -> str | None:
    """The recipe that a stage's algorithm is, sampling and penalty apart; or the one whose name the stage has."""
    from groupwise.explain import itself

    found = next((name for name, each in known.items() if itself(each, stage.algorithm)), None)
    return stage.name if stage.name in known else found


def _updates(name: str) -> int:
    wished = run_defaults(name)
    return int(str(wished.get("minibatches", 1))) * int(str(wished.get("epochs", 1)))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
