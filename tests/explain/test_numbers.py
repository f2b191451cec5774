"""The numbers of a case: by definition, by hand, and where there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise import recipes
from groupwise.algorithm import KL, Algorithm, Entropy, RejectMismatch, TruncateMismatch
from groupwise.errors import UserError
from groupwise.explain import Case, Response, compute, contrast, totals, worked_case

METHODS = {name: vars(recipes)[name] for name in recipes.__all__}


def nudged(case: Case, row: int, place: int, by: float, name: str = "logprobs") -> Case:
    """The case with one number moved."""
    groups = [list(group) for group in case.groups]
    response = groups[0][row]
    values = list(response.logprobs if name == "logprobs" else response.lists[name])
    values[place] += by
    moved = {"logprobs": values} if name == "logprobs" else {"lists": {**response.lists, name: values}}
    groups[0][row] = replace(response, **moved)
    return replace(case, groups=groups)


SURROGATES = [name for name in METHODS if name not in ("cispo", "gspo_token", "vespo", "dppo", "dppo_kl")]
"""Their J is a function whose derivative the coefficients are; the others stop gradients on purpose."""


@pytest.mark.parametrize("name", SURROGATES)
def test_coefficients_are_the_derivative_of_the_objective(name: str) -> None:
    """∂J/∂logprobs by central differences, every normaliser in it."""
    algorithm = METHODS[name]
    case = worked_case(algorithm.objective.joins_group())
    coefficients = compute(algorithm, case).responses()[1].coefficients
    step = 1e-6
    for place, coefficient in enumerate(coefficients):
        up, down = (compute(algorithm, nudged(case, 1, place, sign * step)).objective for sign in (1, -1))
        assert (up - down) / 2 / step == pytest.approx(coefficient, abs=1e-8)


def test_other_outputs_have_coefficients_of_their_own() -> None:
    """∂J/∂H is α w, ∂J/∂KL is -β w, in their own lists; the critic's is a derivative too."""
    algorithm = replace(recipes.grpo, kl=KL(0.5, "exact"), entropy=Entropy(0.25))
    tokens = compute(algorithm, worked_case()).responses()[1]
    assert tokens.others["entropy"] == pytest.approx([0.25 * weight for weight in tokens.weights])
    assert tokens.others["exact_kl"] == pytest.approx([-0.5 * weight for weight in tokens.weights])
    case = worked_case()
    fixed = nudged(case, 0, 0, 0.0, "values")
    groups = [[replace(r, lists={**r.lists, "old_values": [0.25] * len(r.logprobs)}) for r in fixed.groups[0]]]
    case = replace(case, groups=groups)
    found = compute(recipes.ppo, case).responses()[0].others["values"][0]
    up, down = (compute(recipes.ppo, nudged(case, 0, 0, by, "values")).objective for by in (1e-6, -1e-6))
    assert (up - down) / 2e-6 == pytest.approx(found, abs=1e-8)


def test_corrections_stand_between_sampler_and_learner() -> None:
    """ρ = exp(old - behaviour) = e^0.05 for every token of the small example."""
    found = compute(replace(recipes.grpo, correction=TruncateMismatch(1.02)), worked_case()).responses()
    assert all(value == 1.02 for tokens in found for value in tokens.corrections)
    plain = compute(replace(recipes.grpo, kl=KL(0.0)), worked_case()).responses()
    rejected = replace(recipes.grpo, kl=KL(0.0), correction=RejectMismatch(0.5, 1.02))
    assert any(value for tokens in plain for value in tokens.coefficients)
    assert not any(value for tokens in compute(rejected, worked_case()).responses() for value in tokens.coefficients)


def test_nothing_to_learn_is_zero_and_no_error() -> None:
    case = worked_case()
    case = replace(case, groups=[[replace(response, truncated=True) for response in case.groups[0]]])
    found = compute(recipes.dapo, case)
    assert found.objective == 0
    assert all(value == 0 for tokens in found.responses() for value in (*tokens.coefficients, *tokens.weights))


def test_what_has_no_number_is_refused() -> None:
    far = Response([-0.1], {"old_logprobs": [-900.0]}, reward=0.0)
    near = Response([-0.1], {"old_logprobs": [-0.1]}, reward=1.0)
    with pytest.raises(UserError, match="group 0, response 0, token 0: the coefficient is"):
        compute(recipes.dapo, Case([[far, near]]))
    with pytest.raises(UserError, match="these options: the exact KL comes from the network"):
        compute(replace(recipes.rloo, kl=KL(0.1, "exact", place="reward")), worked_case())
    with pytest.raises(UserError, match="group 0 has 4 responses; it takes pairs"):
        compute(recipes.dpo, worked_case(), "it")
    with pytest.raises(UserError, match="has no greedy_rewards"):
        compute(recipes.remax, replace(worked_case(), greedy_rewards=None))


finite = st.floats(-5, 5, allow_nan=False)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=9))
def test_a_contrast_is_even_handed(pairs: list[tuple[float, float]]) -> None:
    first, second = (list(values) for values in zip(*pairs, strict=True))
    there, back = contrast(first, second), contrast(second, first)
    assert there.alone == back.alone[::-1]
    assert there.opposed == back.opposed
    assert there.cosine == pytest.approx(back.cosine) if there.cosine is not None else back.cosine is None
    assert there.cosine is None or -1 - 1e-9 <= there.cosine <= 1 + 1e-9


def test_totals_by_hand() -> None:
    case = worked_case()
    found = totals(case, compute(METHODS["online_rft"], case))
    assert (found.responses, found.tokens, found.pushed, found.clipped) == (4, 8, 3 / 8, 0.0)
    assert found.right == pytest.approx((0.125 + 0.125 + 0.25) / 3)
    assert found.wrong == 0


@pytest.mark.parametrize("algorithm", METHODS.values(), ids=METHODS)
def test_everything_is_a_number_a_token(algorithm: Algorithm) -> None:
    case = worked_case(algorithm.objective.joins_group())
    for (_, response), tokens in zip(case.rows(), compute(algorithm, case).responses(), strict=True):
        assert {len(values) for values in tokens.record().values()} == {len(response.logprobs)}
