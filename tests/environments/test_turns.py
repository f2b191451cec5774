"""Budgets of episodes: which there may be, and what is said of others."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise import Task
from groupwise.environments import Turns
from groupwise.errors import UserError


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("most", 0, "a whole number, at least 1"),
        ("most", -3, "a whole number, at least 1"),
        ("most", 2.5, "a whole number, at least 1"),
        ("most", True, "a whole number, at least 1"),
        ("most", "6", "a whole number, at least 1"),
        ("processes", 0, "a whole number, at least 1"),
        ("turn_tokens", -1, "a whole number, at least 0"),
        ("context_tokens", None, "a whole number, at least 0"),
        ("observation_tokens", float("nan"), "a whole number, at least 0"),
        ("reply_seconds", 0, "a number, more than 0"),
        ("reply_seconds", float("nan"), "a number, more than 0"),
        ("episode_seconds", float("inf"), "a number, more than 0"),
        ("rewritten", "x", "one of refuse, keep, branch"),
    ],
)
def test_what_is_no_budget_is_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(UserError) as error:
        Turns(**{name: value})
    assert str(error.value) == f"Turns.{name} is {value!r}; expected {expected}"


@pytest.mark.parametrize("turns", [0, -1, "6", True, 6.0, None, [3]])
def test_a_task_has_a_number_of_turns(turns: Any) -> None:
    def speaks(row: Any, random: Any) -> Any:
        yield "x"

    with pytest.raises(UserError, match=r"task talk: turns is .*; expected a whole number, at least 1, or Turns"):
        Task("talk", [{"n": 1}], environment=speaks, turns=turns)
    with pytest.raises(UserError, match="task talk: tools is int; expected a list of functions"):
        Task("talk", [{"n": 1}], environment=speaks, tools=3)  # type: ignore[arg-type]
    assert Task("talk", [{"n": 1}], environment=speaks, turns=3).budget == Turns(most=3)
