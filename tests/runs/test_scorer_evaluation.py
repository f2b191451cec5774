"""Held-out numbers of scorers, against hand-made ones; and that guessing is not praised."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groupwise import Stage, recipes
from groupwise.evaluation.statistics import clustered_auc, clustered_share, mean_interval, wilson_interval
from groupwise.runs.scorer_evaluation import (
    ScorerEvaluation,
    calibration_error,
    evaluate_scorer,
    pair_evaluation,
    step_evaluation,
)
from groupwise.tasks.task import Task
from groupwise.types import DEMONSTRATED, Example, Group, Prompt, Rollout


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def test_pairs_by_hand() -> None:
    """Four pairs of two: three won by 1, 2 and 3, one lost by 1."""
    found = pair_evaluation("toy", [[(1.0, True)], [(2.0, False)], [(3.0, None)], [(-1.0, True)]])
    interval = wilson_interval(3, 4)
    accuracy = found.measures["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (0.75, interval.low, interval.high)
    assert found.counts == {"pairs": 4, "groups": 4, "ties": 0}
    assert found.numbers["margin"] == 1.25
    loss = sum(math.log(1 + math.exp(-margin)) for margin in (1, 2, 3, -1)) / 4
    assert found.numbers["log_loss"] == pytest.approx(loss)
    assert found.baselines["longer"] == {"accuracy": 2.5 / 4}
    assert found.baselines["random"]["log_loss"] == math.log(2)


def test_a_constant_score_is_worth_nothing() -> None:
    pairs = pair_evaluation("toy", [[(0.0, None)]] * 50)
    assert pairs.counts["ties"] == 50
    assert pairs.measures["accuracy"].value == 0.5
    assert pairs.numbers["calibration_error"] == 0
    steps = step_evaluation("toy", [[(1.0, 2.0), (0.0, 2.0)]] * 50)
    assert steps.measures["auc"].value == 0.5
    assert not any(won for held in (pairs.beaten(), steps.beaten()) for row in held.values() for won in row.values())


def test_a_group_counts_once_however_many_pairs_it_has() -> None:
    ranking = [(1.0, None), (1.0, None), (-1.0, None)]
    found = pair_evaluation("toy", [ranking, [(1.0, None)]])
    assert found.measures["accuracy"].value == pytest.approx((2 / 3 + 1) / 2)


class Scores:
    """A learner that scores a completion by its last token."""

    def logprobs(self, rollouts: list[Rollout], temperature: float) -> torch.Tensor:
        return torch.tensor([[float(token) for token in rollout.tokens] for rollout in rollouts])


def test_pairs_of_one_prompt_are_no_separate_evidence() -> None:
    """Two pairs of one question, won and lost, and one of another, won."""

    def pair(name: str, prompt: tuple[int, ...], better: int, worse: int) -> Group:
        asked = Prompt(Example(name, ""), prompt)
        made = [
            Rollout(asked, (token,), (True,), (0.0,), "", True, DEMONSTRATED, rewards={0: reward})
            for token, reward in ((better, 1.0), (worse, 0.0))
        ]
        return Group(asked, made)

    pairs = [pair("a", (1, 2), 9, 4), pair("b", (1, 2), 3, 5), pair("c", (7,), 8, 2)]
    stage = Stage("pairs", recipes.reward_model, Task("toy", ()), steps=1)
    found = evaluate_scorer(stage, Scores(), pairs)  # type: ignore[arg-type]
    assert found.counts == {"pairs": 3, "groups": 2, "ties": 0}
    assert found.measures["accuracy"] == mean_interval([0.5, 1.0])


def test_steps_by_hand() -> None:
    """Two solutions: the first goes wrong at its second step, which the scorer finds; the second is right throughout,
    and the scorer doubts its last step."""
    found = step_evaluation("toy", [[(1.0, 2.0), (0.0, -1.0), (0.0, -2.0)], [(1.0, 3.0), (1.0, -1.5)]])
    assert found.counts == {"steps": 5, "solutions": 2, "faulty": 1}
    assert found.measures["accuracy"].value == pytest.approx(4 / 5)
    assert found.measures["first_error"].value == 1 / 2
    assert found.measures["auc"].value == pytest.approx((2 + 2 + 1) / 6)
    assert found.baselines["majority"]["accuracy"] == 3 / 5
    assert found.baselines["majority"]["first_error"] == 1 / 2
    assert found.baselines["majority"]["log_loss"] == pytest.approx(-0.6 * math.log(0.6) - 0.4 * math.log(0.4))
    wanted = [(1, 2.0), (0, -1.0), (0, -2.0), (1, 3.0), (1, -1.5)]
    loss = sum(math.log(1 + math.exp(-score if label else score)) for label, score in wanted) / 5
    assert found.numbers["log_loss"] == pytest.approx(loss)


def test_one_class_has_no_area() -> None:
    found = step_evaluation("toy", [[(1.0, 0.3), (1.0, -0.2)]] * 3)
    assert "auc" not in found.measures
    assert found.baselines["majority"] == {"accuracy": 1.0, "first_error": 1.0, "log_loss": 0.0}


def test_one_label_a_solution_has_no_first_error() -> None:
    assert set(step_evaluation("toy", [[(1.0, 1.0)], [(0.0, -1.0)]]).measures) == {"auc", "accuracy"}


def test_calibration_error_is_how_far_chances_are_from_shares() -> None:
    """Ten predictions of 0.75 of which five come true, and ten of 0.25 of which two do."""
    chances = [0.75] * 10 + [0.25] * 10
    came = [1.0] * 5 + [0.0] * 5 + [1.0] * 2 + [0.0] * 8
    assert calibration_error(chances, came) == pytest.approx((0.25 + 0.05) / 2)
    found = step_evaluation("toy", [[(label, logit(chance))] for label, chance in zip(came, chances, strict=True)])
    assert [(row.count, round(row.predicted, 9), row.observed) for row in found.reliability] == [
        (10, 0.25, 0.2),
        (10, 0.75, 0.5),
    ]


def test_an_evaluation_survives_its_file() -> None:
    for found in (
        pair_evaluation("toy", [[(1.0, True)], [(-2.0, None)]]),
        step_evaluation("toy", [[(1.0, 2.0), (0.25, -1.0)], [(0.0, 1.0)]]),
    ):
        assert ScorerEvaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert "does not beat" in found.headline()


LABELLED = st.lists(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=4), min_size=2)


@given(LABELLED)
def test_the_area_is_the_share_of_pairs_in_order(clusters: list[list[tuple[float, bool]]]) -> None:
    positive = [score for cluster in clusters for score, kind in cluster if kind]
    negative = [score for cluster in clusters for score, kind in cluster if not kind]
    if not positive or not negative:
        with pytest.raises(ValueError, match="both classes"):
            clustered_auc(clusters)
        return
    pairs = [(a > b) + (a == b) / 2 for a in positive for b in negative]
    found = clustered_auc(clusters)
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_members_that_hang_together_tell_less() -> None:
    """The same hits: in fifty clusters of their own, and four copies of each in one cluster."""
    alone = clustered_share([[float(n % 5 > 0)] for n in range(50)])
    copied = clustered_share([[float(n % 5 > 0)] * 4 for n in range(50)])
    assert alone.value == copied.value == 0.8
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.05)
    area = clustered_auc([[(n % 7, n % 2 == 0)] for n in range(60)])
    areas = clustered_auc([[(n % 7, n % 2 == 0)] * 4 for n in range(60)])
    assert areas.high - areas.low == pytest.approx(area.high - area.low, rel=0.05)
