"""Some completions without a reward cost a count and one note; too many stop the run and show why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from groupwise.errors import UserError
from groupwise.rewards import as_reward, score_rollouts
from groupwise.rewards.failures import Failures, reasons, unscored
from groupwise.types import Rollout

Make = Callable[..., Rollout]


def picky(completion: str) -> float:
    return {"good": 1.0, "bad": 0.0}[completion]


def scored(*rows: Rollout) -> list[Rollout]:
    return score_rollouts(rows, [as_reward(picky)])[0]


def test_a_failure_costs_its_own_completion_and_is_told_once(rollout: Make) -> None:
    notes: list[str] = []
    failures = Failures("grpo", 0.5, set(), notes.append, expected=8)
    rows = scored(*(rollout(text, id=f"row:{n}") for n, text in enumerate(("good", "odd", "bad", "odd"))))
    failures.add(rows)
    assert [row.reward for row in rows] == [1.0, None, 0.0, None]
    assert list(map(unscored, rows)) == [False, True, False, True]
    assert failures.count == 2
    (note,) = notes
    assert note.startswith("grpo: row:1: reward 'picky' failed: raised KeyError: 'odd' at ")
    assert note.endswith("the completion gets no reward, and further ones are counted")
    failures.add(scored(rollout("odd"), rollout("odd")))  # the half is allowed
    assert (failures.count, len(notes)) == (4, 1)


def test_more_than_the_share_stops_with_rows_and_reasons(rollout: Make) -> None:
    failures = Failures("grpo", 0.25, set(), lambda text: None, expected=8)
    failures.add(scored(rollout("odd", id="a"), rollout("good"), rollout("odd", id="b")))
    expected = (
        r"^grpo: 3 of a step's 8 completions have no reward, more than the 25% that most_unscored allows: "
        r"a: reward 'picky' failed: raised KeyError: 'odd' at .*test_failures\.py:\d+; b: .*; c: .*; "
        r"mend the reward, or raise most_unscored$"
    )
    with pytest.raises(UserError, match=expected):
        failures.add(scored(rollout("odd", id="c")))


def test_every_completion_may_be_lost_where_that_is_allowed(rollout: Make) -> None:
    failures = Failures("grpo", 1.0, set(), lambda text: None, expected=2)
    failures.add(scored(rollout("odd"), replace(rollout("odd"), finished=False)))
    assert failures.count == 2


def test_the_first_reasons_are_told_each_once_with_a_row(rollout: Make) -> None:
    """As an evaluation shows them, whose answers without a score count as wrong."""
    rows = scored(*(rollout(text, id=f"row:{n}") for n, text in enumerate(("good", "odd", "odd", "even", "x", "y"))))
    assert [said.partition(" at ")[0] for said in reasons(rows)] == [
        "row:1: reward 'picky' failed: raised KeyError: 'odd'",
        "row:3: reward 'picky' failed: raised KeyError: 'even'",
        "row:4: reward 'picky' failed: raised KeyError: 'x'",
    ]
    assert reasons(rows[:1]) == ()
