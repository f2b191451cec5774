"""Explaining what trains a scorer: its scores stand where log-probabilities stand, and are never taken for them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise import recipes
from groupwise.algorithm import Ranking
from groupwise.cli import main
from groupwise.errors import UserError
from groupwise.explain import case_from, compute, definitions, objective, table_row

PAIR = {"groups": [[{"logprobs": [2.0, 1.0]}, {"logprobs": [0.0]}]]}
STEPS = {"groups": [[{"logprobs": [0.0, 5.0, 1.0], "step_rewards": [[0, 1], [2, 1]]}]]}


def test_numbers_of_a_pair_and_of_steps() -> None:
    pair = compute(recipes.reward_model, case_from(PAIR, scores=True))
    assert pair.objective == pytest.approx(-math.log(1 + math.exp(-1)))
    share = 1 / (1 + math.exp(1))
    assert [tokens.coefficients for tokens in pair.responses()] == [pytest.approx([0, share]), pytest.approx([-share])]
    steps = compute(recipes.process_reward_model, case_from(STEPS, scores=True))
    assert steps.objective == pytest.approx(-1.006408868, abs=1e-8)
    assert steps.responses()[0].coefficients == pytest.approx([0.5, 0, share])


def test_three_stand_best_first_where_the_advantage_ranks() -> None:
    three = {"groups": [[{"logprobs": [score]} for score in (2.0, 1.0, 0.0)]]}
    ranked = replace(recipes.reward_model, advantage=Ranking())
    assert compute(ranked, case_from(three, scores=True)).objective < 0
    with pytest.raises(UserError, match="takes pairs"):
        compute(recipes.reward_model, case_from(three, scores=True))


def test_a_score_of_any_sign_is_no_probability_above_one() -> None:
    with pytest.raises(UserError, match="a probability above 1"):
        case_from(PAIR)


def test_formula_and_row_speak_of_scores_and_labels() -> None:
    margin = replace(recipes.reward_model, objective=replace(recipes.reward_model.objective, margin=1.0, centring=0.01))
    assert "log σ( s_i - s_j - 1 ) - 0.01 (s_i + s_j)²" in " ".join(objective(margin))
    assert "- 0.02 (s_i + s_j) on both" in table_row(margin)[2]
    automatic = recipes.process_reward_model_automatic
    assert not any(line.startswith("A") for line in definitions(automatic))
    assert table_row(automatic)[1] == "a label at the end of each step, from a rule"
    assert "y_t - σ(z_t)" in table_row(automatic)[2]


@pytest.mark.parametrize("name", [name for name in recipes.__all__ if vars(recipes)[name].trains_scorer])
def test_the_page_reads_scores(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    page = capsys.readouterr().out
    assert "∂J/∂score" in page
    assert "log π" not in page.partition("A worked example")[2]
    case = tmp_path / "case.json"
    case.write_text(json.dumps(STEPS if "process" in name else PAIR))
    assert main(["explain", name, "--case", str(case), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > 0


def test_two_kinds_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "reward_model", "--against", "grpo"]) == 2
    assert "learns from scores and grpo from log-probabilities" in capsys.readouterr().err
