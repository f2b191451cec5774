"""This module makes scores of what a user's own reward object returns: scores, or plain numbers in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from groupwise.errors import UserError
from groupwise.rewards.calls import shortened
from groupwise.rewards.notes import finite
from groupwise.types import Rollout, Score


def as_scores(name: str, returned: Any, rollouts: Sequence[Rollout]) -> list[Score]:
    """Returns one score for each rollout, with plain finite floats in it.

    A number, a bool or None stands for a score of it, numpy's and torch's too. What is none of these, and a step that
    ends outside the completion, has failed, with the reason. Raises UserError where there is not one for each rollout.
    """
    if hasattr(returned, "tolist"):
        returned = returned.tolist()
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | dict):
        raise UserError(
            f"reward '{name}' returned {shortened(returned)} ({type(returned).__name__}) for {len(rollouts)} "
            "completions; expected a list with a Score, a number or None for each"
        )
    values = list(returned)
    if len(values) != len(rollouts):
        raise UserError(f"reward '{name}' returned {len(values)} scores for {len(rollouts)} completions")
    return [_as_score(value, rollout) for value, rollout in zip(values, rollouts, strict=True)]


def _as_score(value: Any, rollout: Rollout) -> Score:
    if value is None:
        return Score(None, "not_applicable")
    if not isinstance(value, Score):
        number = finite(value)
        return _failed(f"{_shown(value)} is no score") if number is None else Score(number)
    if value.value is None and not value.steps and not value.logged:
        return value
    number = None if value.value is None else finite(value.value)
    if value.value is not None and number is None:
        return _failed("a value is not finite" if _is_infinite(value.value) else f"{_shown(value.value)} is no number")
    steps = {index: finite(step) for index, step in value.steps.items()}
    wrong = next((index for index in steps if not _is_place(index, rollout)), None)
    if wrong is not None:
        return _failed(f"a step ends at {wrong!r}; expected an index below {len(rollout.tokens)}, the tokens there are")
    numbers = {int(index): step for index, step in steps.items() if step is not None}
    if len(numbers) < len(steps):
        return _failed("a step's value is not finite")
    logged = {key: known for key, said in value.logged.items() if (known := finite(said)) is not None}
    said = (value.value, *value.steps, *value.steps.values(), *value.logged.values())
    if len(logged) == len(value.logged) and all(type(one) in (float, int, type(None)) for one in said):
        return value
    return replace(value, value=number, steps=numbers, logged=logged)


def _is_place(index: Any, rollout: Rollout) -> bool:
    try:
        return not isinstance(index, str | bool) and int(index) == index and 0 <= index < len(rollout.tokens)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_infinite(value: Any) -> bool:
    try:
        return not math.isfinite(value)
    except (TypeError, ValueError):
        return False
    except OverflowError:
        return True


def _failed(reason: str) -> Score:
    return Score(None, "failed", reason=reason)


def _shown(value: Any) -> str:
    return f"{shortened(value)} ({type(value).__name__})"
