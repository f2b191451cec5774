"""Drawing one token: which distribution, which log-probability, which random stream."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groupwise.engines.sampler import draw, ids_of, narrows, random_stream, support
from groupwise.types import Sampling

PROBABILITIES = torch.tensor([[0.4, 0.3, 0.2, 0.1]])


def options(**changes: float) -> Sampling:
    return Sampling(max_tokens=1, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (options(top_k=2), [0, 1]),
        (options(top_k=99), [0, 1, 2, 3]),
        (options(top_p=0.65), [0, 1]),
        (options(top_p=0.71), [0, 1, 2]),  # the token that crosses the bound belongs to the support
        (options(top_p=1e-9), [0]),
        (options(min_p=0.45), [0, 1, 2]),  # 0.2 >= 0.45 · 0.4
        (options(min_p=0.55), [0, 1]),
        (options(top_k=3, top_p=0.65, min_p=0.9), [0]),
    ],
    ids=str,
)
def test_support_and_renormalised_logprobs(sampling: Sampling, kept: list[int]) -> None:
    assert support(PROBABILITIES.log(), sampling).nonzero()[:, 1].tolist() == kept
    uniforms = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    tokens, logprobs, _ = draw(PROBABILITIES.log().expand(1000, 4), uniforms, sampling)
    assert sorted(set(tokens.tolist())) == kept
    expected = PROBABILITIES[0, tokens] / PROBABILITIES[0, kept].sum()
    torch.testing.assert_close(logprobs.exp(), expected, atol=1e-6, rtol=1e-6)


def test_the_draw_tells_what_it_was_narrowed_to() -> None:
    logits = torch.stack([PROBABILITIES[0], PROBABILITIES[0].flip(0)]).log()
    kept = draw(logits, torch.tensor([0.5, 0.5]), options(top_p=0.65)).kept
    assert kept is not None
    assert ids_of(kept) == [(0, 1), (2, 3)]


@pytest.mark.parametrize("sampling", [options(), options(temperature=0.6), options(temperature=0.0, top_k=2)], ids=str)
def test_a_choice_from_the_whole_vocabulary_has_no_support(sampling: Sampling) -> None:
    """Greedy decoding too: it takes the likeliest token, whatever else is left out."""
    assert not narrows(sampling)
    assert draw(PROBABILITIES.log(), torch.tensor([0.5]), sampling).kept is None


def test_each_token_gets_its_share_of_the_unit_interval() -> None:
    uniforms = torch.tensor([0.0, 0.39, 0.41, 0.69, 0.71, 0.89, 0.91, 1 - 2**-53], dtype=torch.float64)
    tokens, _, _ = draw(PROBABILITIES.log().expand(8, 4), uniforms, options())
    assert tokens.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    tokens, logprobs, _ = draw(logits.expand(3, 5), uniforms, options())
    assert tokens.tolist() == [1, 3, 3]
    assert logprobs.tolist() == pytest.approx([-0.6931472] * 3)


def test_temperature_divides_the_logits() -> None:
    tokens, logprobs, _ = draw(PROBABILITIES.log(), torch.tensor([0.0]), options(temperature=0.5))
    assert tokens.tolist() == [0]
    assert float(logprobs.exp()) == pytest.approx(0.16 / (0.16 + 0.09 + 0.04 + 0.01), abs=1e-6)


def test_greedy_reports_the_probability_at_temperature_one() -> None:
    tokens, logprobs, _ = draw(PROBABILITIES.log(), torch.tensor([0.99]), options(temperature=0.0))
    assert tokens.tolist() == [0]
    assert float(logprobs.exp()) == pytest.approx(0.4, abs=1e-6)


@given(seed=st.integers(0, 2**63 - 1), length=st.integers(1, 40))
def test_a_stream_is_a_function_of_its_seed(seed: int, length: int) -> None:
    stream = random_stream(seed, 40)
    assert torch.equal(stream[:length], random_stream(seed, length))
    assert ((stream >= 0) & (stream < 1)).all()
    assert not torch.equal(stream, random_stream(seed ^ 1, 40))


def test_streams_are_uniform() -> None:
    values = torch.stack([random_stream(seed, 20) for seed in range(500)]).flatten()
    counts = torch.histc(values.float(), bins=20, min=0, max=1)
    assert float(((counts - 500) ** 2 / 500).sum()) < 43.8  # chi-square, 19 degrees of freedom, 0.1 %
