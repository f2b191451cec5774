"""A task: what may be given as its rewards."""

from __future__ import annotations

from typing import Any

import pytest

import groupwise as gw
from groupwise.errors import UserError
from groupwise.tasks import Task

ROWS = [{"prompt": "2 + 2 = ?", "answer": "4"}]


def short(completion: str) -> float:
    return 1.0 / (1 + len(completion))


def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@pytest.mark.parametrize("tools", [(), [add]])
@pytest.mark.parametrize(
    ("given", "names"),
    [
        (short, ["short"]),
        ((short, "math"), ["short", "math"]),
        ([gw.as_reward(short, name="brief")], ["brief"]),
        ("math", ["math"]),
    ],
)
def test_plain_functions_and_names_are_rewards(given: Any, names: list[str], tools: Any) -> None:
    """With tools, too, whose own counts stand behind them."""
    task = Task("sums", ROWS, rewards=given, referee=("answer",), tools=tools)
    assert [reward.name for reward in task.rewards] == [*names, *(["tools"] if tools else [])]
    assert [reward.name for reward in task.referee] == ["answer"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, r"^task sums: rewards: a reward must be a function, not 3; accepted are TRL's"),
        ((short, None), r"^task sums: rewards: a reward must be a function, not None"),
        ("maths", r"^task sums: rewards: .*maths"),
        (lambda: 1.0, r"^task sums: rewards: reward 'lambda\(\)' fits no known form"),
    ],
)
def test_what_is_no_reward_is_said_with_its_task(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Task("sums", ROWS, rewards=given)
