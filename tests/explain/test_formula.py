"""Formulas and words say what the numbers do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from groupwise import recipes
from groupwise.algorithm import KL, Algorithm, Entropy, OffPolicySequenceMask, Reference, SequenceMean
from groupwise.explain import Case, Response, compute, definitions, effects, objective, premises, table_row
from groupwise.explain.formula import coefficient

METHODS = {name: vars(recipes)[name] for name in recipes.__all__}


def test_an_objective_from_its_slots() -> None:
    everything = replace(
        METHODS["dapo"], kl=KL(0.04, weight="live"), entropy=Entropy(0.01), correction=OffPolicySequenceMask(0.5)
    )
    assert objective(METHODS["dapo"]) == ["J = (1/Σ_i|o_i|) Σ_i Σ_t { min( r A, clip(r, 0.8, 1.28) A ) }"]
    assert objective(everything) == [
        "J = (1/Σ_i|o_i|) Σ_i Σ_t { M · min( r A, clip(r, 0.8, 1.28) A )",
        "- 0.04 r k3(π_θ, π_ref)",
        "+ 0.01 H(π_θ) }",
    ]
    letters = "\n".join(definitions(everything))
    for part in ("r = π_θ", "M = ", "A_i = (r_i - mean(r)) / std(r)", "k3(π, π_ref) = x - log x - 1", "masked out"):
        assert part in letters


def test_letters_that_are_not_used_are_not_explained() -> None:
    letters = "\n".join(definitions(METHODS["sft"]))
    assert "r = π_θ" not in letters
    assert "π_ref" not in letters


def test_who_the_reference_is() -> None:
    follows = replace(METHODS["grpo"], reference=Reference(refresh_every=400))
    assert "π_ref = the policy as the stage began, replaced by the policy every 400 steps" in definitions(follows)
    taught = replace(METHODS["on_policy_distillation"], reference=Reference("a/teacher"))
    assert "π_ref = a/teacher" in definitions(taught)


def test_rows_of_the_table() -> None:
    source, reward, _ = table_row(METHODS["sft"])
    assert source.startswith("q, o ~ P_sft")
    assert reward == "none: people chose the completions"
    source, reward, _ = table_row(METHODS["dapo"])
    assert "group_size 16" in source
    assert "without_signal redraw" in source
    assert table_row(METHODS["grpo_process"])[1] == "a score at the end of each step"
    assert "greedy" in table_row(METHODS["remax"])[1]
    assert table_row(METHODS["dpo"])[1] != table_row(METHODS["online_dpo"])[1]


ON_POLICY = Response(
    [-1.0, -0.7],
    {"old_logprobs": [-1.0, -0.7], "reference_logprobs": [-0.6, -1.3], "behavior_logprobs": [-1.0, -0.7]},
    reward=1.0,
)
WRONG = replace(ON_POLICY, reward=0.0)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("weight", ["none", "live", "stopped"])
def test_a_coefficient_in_symbols_is_the_coefficient(estimator: str, weight: str) -> None:
    """Where π_old = π_θ, evaluated with A and the two probabilities of each token."""
    algorithm = replace(METHODS["grpo"], kl=KL(0.5, estimator, weight))  # type: ignore[arg-type]
    tokens = compute(algorithm, Case([[ON_POLICY, WRONG]])).responses()[0]
    for place in range(2):
        assert evaluated(coefficient(algorithm), ON_POLICY, place, tokens.advantages[place]) == pytest.approx(
            tokens.coefficients[place] / tokens.weights[place]
        )


@pytest.mark.parametrize(
    "name", ["rpg_urkl", "rpg_ufkl", "rpg_fkl", "rpg_rkl", "sapo", "cispo", "gspo", "gmpo", "maxrl", "sft"]
)
def test_a_surrogate_in_symbols_is_the_surrogate(name: str) -> None:
    algorithm: Algorithm = replace(METHODS[name], aggregation=SequenceMean())
    tokens = compute(algorithm, Case([[ON_POLICY, WRONG]])).responses()[0]
    for place in range(2):
        assert evaluated(coefficient(algorithm), ON_POLICY, place, tokens.advantages[place]) == pytest.approx(
            tokens.coefficients[place] / tokens.weights[place]
        )


def evaluated(symbols: str, response: Response, place: int, advantage: float) -> float:
    """Our own formula's text, as arithmetic."""
    gap = response.logprobs[place] - response.lists["reference_logprobs"][place]
    for said, value in (
        ("log π_θ/π_ref", f"({gap})"),
        ("π_ref/π_θ", f"({math.exp(-gap)})"),
        ("½ ", "0.5 * "),
        (")²", ")**2"),
        ("0.5 (", "0.5 * ("),
        ("A", f"({advantage})"),
    ):
        symbols = symbols.replace(said, value)
    return float(eval(symbols, {"__builtins__": {}}))


def test_words_are_computed() -> None:
    said = dict(effects(METHODS["grpo"]))
    assert said["a lone right answer"] == (
        "among three wrong ones: advantage +1.5; each of its 4 tokens is pushed up by 0.0938, 0.375 in all. "
        "The wrong ones are pushed down by 0.0312 a token."
    )
    assert said["all four alike"] == "all right, left alone; all wrong, left alone."
    long = dict(effects(METHODS["dr_grpo"]))["a long answer"]
    assert "+0.000488 a token (+0.000488 in the short one), +0.00391 in all (+0.000977)" in long
    assert "treated like one that ended" in said["a truncated answer"]
    assert "if right, left alone (had it ended: pushed up" in dict(effects(METHODS["dapo"]))["a truncated answer"]


def test_words_know_the_source() -> None:
    assert "the source redraws such a group, at most 10 times" in dict(effects(METHODS["dapo"]))["all four alike"]
    chosen = dict(effects(METHODS["rft"]))
    assert (
        "each of its 4 tokens is pushed up by 0.25, 1 in all. The wrong ones are left alone."
        in chosen["a lone right answer"]
    )
    assert "if right, left alone" in chosen["a truncated answer"]
    assert "learned like any other" in dict(effects(METHODS["sft"]))["a lone wrong answer"]
    assert "of several, the best and the worst" in dict(effects(METHODS["online_dpo"]))["a lone right answer"]
    assert "come with the data" in dict(effects(METHODS["dpo"]))["a lone right answer"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ppo", "The critic expects"),
        ("remax", "greedy completion"),
        ("grpo_process", "two steps"),
        ("on_policy_distillation", "The teacher finds"),
        ("grpo", "still the reference"),
        ("sft", "of a prompt each"),
        ("dpo", "A pair of answers"),
    ],
)
def test_premises_name_what_is_supposed(name: str, part: str) -> None:
    assert part in premises(METHODS[name])
