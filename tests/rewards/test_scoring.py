from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy
import pytest
import torch

from groupwise.errors import UserError
from groupwise.rewards import FinalAnswer, as_reward, score_rollouts
from groupwise.types import Rollout, Score, ScoreStatus

Make = Callable[..., Rollout]


@dataclass(frozen=True)
class Says:
    """A reward that says what it is told to."""

    scores: Sequence[Score]
    name: str = "says"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return list(self.scores)


def test_the_weighted_sum_sits_on_the_last_sampled_token(rollout: Make) -> None:
    row = replace(rollout("#### 4", tokens=5), mask=(True, True, True, False, False))
    length = as_reward(lambda completion: len(completion), name="length", weight=-0.5)
    (scored,), metrics = score_rollouts([row], [FinalAnswer(weight=2.0), length])
    assert scored.rewards == {2: 2.0 - 3.0}
    assert scored.reward == -1.0
    assert scored.scores == {"answer": Score(1.0), "length": Score(6.0)}
    assert row.rewards == {}
    assert metrics["rewards/answer/mean"] == 1.0


def test_step_scores_sit_on_their_own_tokens_and_add_up_with_the_outcome(rollout: Make) -> None:
    steps: Mapping[int, float] = {0: 0.25, 3: 0.5}
    process = Says([Score(0.75, steps=steps)], "process", 2.0)
    (scored,), _ = score_rollouts([rollout(tokens=4)], [process, Says([Score(1.0)], "outcome")])
    assert scored.rewards == {0: 0.5, 3: 2.0}


@pytest.mark.parametrize("status", ["timeout", "failed"])
def test_a_row_that_could_not_be_scored_wholly_has_no_reward_but_keeps_its_scores(
    status: ScoreStatus, rollout: Make
) -> None:
    stuck = Says([Score(None, status), Score(1.0)], "stuck")
    rows, metrics = score_rollouts([rollout(), rollout()], [stuck, Says([Score(1.0)] * 2, "other")])
    assert [row.reward for row in rows] == [None, 2.0]
    assert rows[0].scores == {"stuck": Score(None, status), "other": Score(1.0)}
    assert metrics[f"rewards/stuck/{status}"] == 0.5
    assert metrics["rewards/stuck/mean"] == 1.0


def test_a_reward_that_does_not_apply_adds_nothing_and_counts_nowhere(rollout: Make) -> None:
    rows, metrics = score_rollouts(
        [rollout(), rollout()],
        [Says([Score(None, "not_applicable"), Score(3.0)], "some"), Says([Score(1.0)] * 2, "all")],
    )
    assert [row.reward for row in rows] == [1.0, 4.0]
    assert (metrics["rewards/some/mean"], metrics["rewards/some/std"]) == (3.0, 0.0)


def test_a_row_no_reward_applies_to_is_an_error_that_names_it(rollout: Make) -> None:
    nothing = as_reward(lambda completion: None, name="code")
    with pytest.raises(UserError, match=r"row:1: no reward applies.*code"):
        score_rollouts([rollout()], [nothing])
    with pytest.raises(UserError, match=r"row:1: no reward applies.*there are no rewards"):
        score_rollouts([rollout()], [])


def test_metrics_are_hand_made_numbers(rollout: Make) -> None:
    scores = [Score(0.0), Score(1.0), Score(2.0), Score(0.0, "unparseable"), Score(None, "timeout")]
    _, metrics = score_rollouts([rollout()] * 5, [Says(scores)])
    assert metrics.pop("rewards/says/seconds") >= 0.0
    assert metrics == {
        "rewards/says/mean": pytest.approx(0.75),
        "rewards/says/std": pytest.approx((2.75 / 3) ** 0.5),  # squares .5625 + .0625 + 1.5625 + .5625, Bessel's 3
        "rewards/says/unparseable": 0.2,
        "rewards/says/timeout": 0.2,
        "rewards/says/failed": 0.0,
    }


def test_two_rewards_of_one_name_are_refused(rollout: Make) -> None:
    with pytest.raises(UserError, match="2 rewards are named 'answer'"):
        score_rollouts([rollout()], [FinalAnswer(), FinalAnswer(weight=2.0)])


def test_a_reward_with_too_few_scores_is_refused(rollout: Make) -> None:
    with pytest.raises(UserError, match="'says' returned 1 scores for 2 completions"):
        score_rollouts([rollout(), rollout()], [Says([Score(1.0)])])


def test_a_reward_of_ones_own_class_that_raises_or_says_nan_has_failed(rollout: Make) -> None:
    @dataclass(frozen=True)
    class Breaks:
        name: str = "breaks"
        weight: float = 1.0

        def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
            raise ZeroDivisionError("by me")

    rows, metrics = score_rollouts([rollout(), rollout()], [Breaks()])
    assert [row.scores["breaks"].status for row in rows] == ["failed", "failed"]
    assert rows[0].scores["breaks"].reason.startswith("raised ZeroDivisionError: by me at ")
    assert metrics["rewards/breaks/failed"] == 1.0
    nan, infinite, steps, well = (float("nan"), float("inf"), Score(1.0, steps={0: float("nan")}), Score(1.0))
    rows, metrics = score_rollouts([rollout()] * 4, [Says([Score(nan), Score(infinite), steps, well])])
    assert [row.reward for row in rows] == [None, None, None, 1.0]
    assert metrics["rewards/says/mean"] == 1.0


def test_no_rollouts_give_no_rows() -> None:
    rows, metrics = score_rollouts([], [FinalAnswer()])
    assert rows == []
    assert "rewards/answer/mean" not in metrics


@dataclass(frozen=True)
class Returns:
    """A reward object of the user's own, which returns what it likes."""

    returned: Callable[[], object]
    name: str = "own"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return self.returned()  # type: ignore[return-value]


def _exit() -> object:
    raise SystemExit(3)


def test_a_reward_object_may_return_numbers_and_a_wrong_value_costs_its_row_alone(rollout: Make) -> None:
    rows = [rollout(tokens=2), rollout(tokens=2)]
    plain: list[Callable[[], object]] = [
        lambda: [1.0, 0.0],
        lambda: (1, False),
        lambda: (Score(each) for each in (1.0, 0.0)),
        lambda: numpy.array([1.0, 0.0]),
        lambda: [Score(numpy.float32(1)), Score(numpy.float64(0))],
        lambda: torch.tensor([1.0, 0.0]),
        lambda: [Score(torch.tensor(1.0)), Score(True - 1)],  # type: ignore[arg-type]
    ]
    for returned in plain:
        scored, metrics = score_rollouts(rows, [Returns(returned)])
        assert [row.reward for row in scored] == [1.0, 0.0]
        assert [type(row.scores["own"].value) for row in scored] in ([float, float], [float, int])
        assert metrics["rewards/own/mean"] == 0.5
    wrong: list[object] = ["1", {"score": 1}, 1j, float("nan"), 10**400, Score("1"), Score(float("inf"))]  # type: ignore[arg-type]
    wrong += [Decimal("sNaN"), Decimal("1e400"), numpy.array([1.0, 2.0])]
    wrong += [Score(None, steps={7: 1.0}), Score(None, steps={-1: 1.0}), Score(None, steps={0: float("nan")})]
    wrong += [Score(None, steps={"0": 1.0}), Score(None, steps={True: 1.0})]  # type: ignore[dict-item]
    for value in wrong:
        scored, metrics = score_rollouts(rows, [Returns(lambda value=value: [value, 1.0])])  # type: ignore[misc]
        assert [row.reward for row in scored] == [None, 1.0], value
        assert scored[0].scores["own"].reason
        assert metrics["rewards/own/failed"] == 0.5
    scored, _ = score_rollouts(
        rows, [Returns(lambda: [Score(1.0, logged={"a": float("nan"), "b": 2}), None]), Says([Score(1.0)] * 2)]
    )
    assert [row.reward for row in scored] == [2.0, 1.0]
    assert scored[0].scores["own"].logged == {"b": 2.0}
    for number in (Decimal("0.5"), torch.tensor(0.5, requires_grad=True), numpy.float32(0.5)):  # also at a step
        own = Score(number, steps={0: number}, logged={"a": number})  # type: ignore[arg-type, dict-item]
        scored, _ = score_rollouts(rows, [Returns(lambda own=own: [own, own])])  # type: ignore[misc]
        assert scored[0].rewards == {0: 0.5}
        assert scored[0].scores["own"] == Score(0.5, steps={0: 0.5}, logged={"a": 0.5})
        assert {type(value) for value in scored[0].scores["own"].steps.values()} == {float}
    assert [row.reward for row in score_rollouts(rows, [Returns(_exit)])[0]] == [None, None]
    for returned in (lambda: None, lambda: 1.0, lambda: "no", lambda: {}, lambda: [1.0]):
        with pytest.raises(UserError, match="reward 'own' returned"):
            score_rollouts(rows, [Returns(returned)])
