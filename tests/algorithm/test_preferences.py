"""Objectives of scorers: numbers worked out by hand, and what never changes them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import (
    Algorithm,
    BradleyTerry,
    GroupRelative,
    Outputs,
    Ranking,
    SequenceSum,
    Signals,
    StepCrossEntropy,
    TokenMean,
    gradient_coefficient,
)
from groupwise.algorithm.preferences import last_scores

EXAMPLE = json.loads((Path(__file__).parent / "worked_example.json").read_text())["preference"]
PAIRS, STEPS = EXAMPLE["bradley_terry"], EXAMPLE["prm"]
NAN = math.nan


def signals(rows: list[list[float]], group: list[int], labels: list[dict[int, float]] | None = None) -> Signals:
    """``rows`` as long as their completions; nothing but the mask is known of them, and ``labels``."""
    width = max(map(len, rows))
    mask = torch.tensor([[place < len(row) for place in range(width)] for row in rows])
    rewards, rewarded = torch.zeros(mask.shape).double(), torch.zeros_like(mask)
    for row, places in enumerate(labels or []):
        for place, label in places.items():
            rewards[row, place], rewarded[row, place] = label, True
    finished = torch.ones(len(rows), dtype=torch.bool)
    return Signals(mask=mask, group=torch.tensor(group), rewards=rewards, rewarded=rewarded, finished=finished)


def padded(rows: list[list[float]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[NAN] * (width - len(row))] for row in rows], dtype=torch.float64)


def learn(algorithm: Algorithm, given: Signals, scores: Tensor) -> tuple[float, Tensor]:
    """-J and ∂J/∂scores, every normaliser in it."""
    prepared = algorithm.prepare(given)
    found = gradient_coefficient(algorithm, prepared, Outputs(scores))
    assert prepared.counts is not None
    total = prepared.counts.sum()
    return -float(found.objective / total), found.cotangent.logprobs / total


def method(objective: BradleyTerry, **slots: Any) -> Algorithm:
    return replace(recipes.reward_model, objective=objective, **slots)


@pytest.mark.parametrize("number", [0, 1])
def test_a_pair_of_the_worked_example(number: int) -> None:
    """Only the last token's score counts, and no length does."""
    chosen, rejected, margin = PAIRS["pairs_chosen_rejected_margin"][number]
    rows = [[7.0, -3.0, chosen], [rejected]]
    given, scores = signals(rows, [0, 0]), padded(rows)
    plain, gradient = learn(method(BradleyTerry()), given, scores)
    assert plain == pytest.approx(PAIRS["loss"][number], abs=1e-12)
    share = 1 / (1 + math.exp(chosen - rejected))
    torch.testing.assert_close(gradient, torch.tensor([[0, 0, share], [-share, 0, 0]], dtype=torch.float64))
    assert learn(method(BradleyTerry(margin)), given, scores)[0] == pytest.approx(PAIRS["loss_margin"][number])
    centred = learn(method(BradleyTerry(centring=PAIRS["eta"])), given, scores)[0]
    assert centred == pytest.approx(PAIRS["loss_centered"][number], abs=1e-12)


def test_the_loss_of_several_pairs_is_their_mean() -> None:
    rows = [[1.0], [0.0, 0.0], [5.0, 0.0], [1.0]]
    assert learn(method(BradleyTerry()), signals(rows, [0, 0, 4, 4]), padded(rows))[0] == pytest.approx(
        PAIRS["mean_loss"], abs=1e-12
    )


def test_a_ranking_is_the_mean_over_all_its_pairs() -> None:
    """Best first: 2 above 0.5 above -1; and beside them a pair, which weighs as much as the ranking."""
    scores = [2.0, 0.5, -1.0]
    rows = [[score] for score in [*scores, 0.3, 0.1]]
    three = -sum(math.log(1 / (1 + math.exp(b - a))) for a, b in combinations(scores, 2)) / 3
    two = -math.log(1 / (1 + math.exp(-0.2)))
    ranked = method(BradleyTerry(), advantage=Ranking())
    assert learn(ranked, signals(rows, [3, 3, 3, 1, 1]), padded(rows))[0] == pytest.approx((three + two) / 2)
    assert Ranking().advantages(signals(rows, [3, 3, 3, 1, 1]))[:, 0].tolist() == [2, 1, 0, 1, 0]


def test_rewards_order_a_group_and_equals_make_no_pair() -> None:
    rows = [[0.4], [0.1], [0.9]]
    given = signals(rows, [0, 0, 0], [{0: 1.0}, {0: 0.0}, {0: 1.0}])
    found, gradient = learn(method(BradleyTerry(), advantage=GroupRelative("none")), given, padded(rows))
    pairs = [(0.4, 0.1), (0.9, 0.1)]
    assert found == pytest.approx(-sum(math.log(1 / (1 + math.exp(b - a))) for a, b in pairs) / 2)
    assert gradient[:, 0].sum() == pytest.approx(0.0, abs=1e-12)
    alike = signals(rows, [0, 0, 0], [{0: 1.0}] * 3)
    assert learn(method(BradleyTerry(), advantage=GroupRelative("none")), alike, padded(rows))[0] == 0.0


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-50, 50))
def test_only_differences_matter(scores: list[float], shift: float) -> None:
    rows, moved = [[score] for score in scores], [[score + shift] for score in scores]
    given, ranked = signals(rows, [0, 0, 0, 0]), method(BradleyTerry(), advantage=Ranking())
    before, after = (learn(ranked, given, padded(each)) for each in (rows, moved))
    assert before[0] == pytest.approx(after[0], abs=1e-9)
    torch.testing.assert_close(before[1], after[1], atol=1e-9, rtol=0)


def test_what_a_pair_is_measured_by() -> None:
    rows = [[1.0], [0.0], [0.5], [0.5], [0.0], [2.0]]
    algorithm = method(BradleyTerry())
    prepared = algorithm.prepare(signals(rows, [0, 0, 1, 1, 2, 2]))
    found = {name: float(a / b) for name, (a, b) in algorithm.objective.measures(padded(rows), prepared).items()}
    assert found == pytest.approx({"score_accuracy": 0.5, "score_margin": -1 / 3, "score": 4 / 6})


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_labelled_steps_of_the_worked_example(kind: str) -> None:
    """Two steps that end at tokens 1 and 3; the paper's sum over a solution's steps, and the mean over all of them."""
    rows, labels = [[9.0, STEPS["logits"][0], -9.0, STEPS["logits"][1]]], STEPS[f"{kind}_labels"]
    given, scores = signals(rows, [0], [{1: labels[0], 3: labels[1]}]), padded(rows)
    found, gradient = learn(recipes.process_reward_model, given, scores)
    assert found == pytest.approx(STEPS[f"bce_sum_{kind}"], abs=1e-9)
    slopes = [label - chance for label, chance in zip(labels, STEPS["step_scores"], strict=True)]
    expected = torch.tensor([[0.0, slopes[0], 0.0, slopes[1]]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=0)
    mean = replace(recipes.process_reward_model, aggregation=TokenMean())
    assert learn(mean, given, scores)[0] == pytest.approx(STEPS[f"bce_mean_{kind}"], abs=1e-9)


def test_one_label_on_the_last_token_is_the_outcome_model() -> None:
    """BCE of the whole solution, the mean over solutions; one without a label adds nothing and still counts."""
    rows = [[3.0, 0.8], [-0.4], [2.0]]
    given = signals(rows, [0, 0, 0], [{1: 1.0}, {0: 0.0}, {}])
    found, _ = learn(recipes.process_reward_model, given, padded(rows))
    bce = [math.log(1 + math.exp(-0.8)), math.log(1 + math.exp(-0.4))]
    assert found == pytest.approx(sum(bce) / 3)


def test_what_steps_are_measured_by() -> None:
    rows = [[1.0, -1.0, 2.0], [-3.0]]
    given = signals(rows, [0, 1], [{0: 1.0, 1: 1.0, 2: 0.75}, {0: 0.0}])
    measured = StepCrossEntropy().measures(padded(rows), given)
    assert {name: float(a / b) for name, (a, b) in measured.items()} == {"score_accuracy": 0.75, "score": -0.25}


def test_huge_scores_stay_finite() -> None:
    rows = [[800.0], [-800.0]]
    for algorithm, rollouts in (
        (method(BradleyTerry()), signals(rows, [0, 0])),
        (recipes.process_reward_model, signals(rows, [0, 1], [{0: 0.0}, {0: 1.0}])),
    ):
        loss, gradient = learn(algorithm, rollouts, padded(rows))
        assert math.isfinite(loss)
        assert gradient.isfinite().all()


def test_the_last_score_is_that_of_the_last_sampled_token() -> None:
    mask = torch.tensor([[True, False, True, False], [True, False, False, False]])
    assert last_scores(torch.arange(8.0).reshape(2, 4), mask).tolist() == [2.0, 4.0]


def test_scorers_are_known_by_what_they_read() -> None:
    kinds = {name for name in recipes.__all__ if vars(recipes)[name].trains_scorer}
    assert kinds == {
        "reward_model",
        "reward_model_samples",
        "process_reward_model",
        "process_reward_model_automatic",
    }
    assert isinstance(recipes.process_reward_model.aggregation, SequenceSum)


def test_implicit_rewards_of_pairs_by_hand() -> None:
    """β ½; log-ratios 0.4 and -0.2 chosen, 0.1 and 0.3 rejected: rewards 0.2, -0.1 and 0.05, 0.15; one pair right."""
    from groupwise.algorithm import PreferenceMargin, Signals

    mask = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    reference = torch.full((4, 2), -1.0, dtype=torch.float64)
    ratios = torch.tensor([[0.3, 0.1], [0.1, 9.0], [-0.2, 0.0], [0.3, 9.0]], dtype=torch.float64)
    signals = Signals(
        mask=mask,
        group=torch.tensor([0, 0, 1, 1]),
        rewards=torch.zeros(4, 2, dtype=torch.float64),
        rewarded=torch.zeros_like(mask),
        finished=torch.ones(4, dtype=torch.bool),
        reference_logprobs=reference,
        advantages=torch.tensor([[1.0, 1.0], [-1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]], dtype=torch.float64),
    )
    found = PreferenceMargin(0.5).measures(reference + ratios, signals)
    means = {name: float(total) / float(count) for name, (total, count) in found.items()}
    assert means == pytest.approx(
        {
            "implicit_reward/chosen": (0.2 - 0.1) / 2,
            "implicit_reward/rejected": (0.05 + 0.15) / 2,
            "implicit_reward/margin": (0.15 - 0.25) / 2,
            "implicit_reward/accuracy": 0.5,
        }
    )
    mean = PreferenceMargin(0.5, length_normalised=True).measures(reference + ratios, signals)
    assert float(mean["implicit_reward/chosen"][0]) == pytest.approx(0.1 - 0.05)
