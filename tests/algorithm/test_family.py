"""What is promised of every recipe: split, order, padding and permutation change nothing; nor do shift and scale of the
rewards, where the method says so; and each row's coefficient is the one written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import Algorithm, Coefficients, Outputs, Signals, gradient_coefficient

NAMES = recipes.__all__
LENGTHS = st.lists(st.integers(1, 5), min_size=6, max_size=6)
GROUP = torch.tensor([0, 0, 1, 1, 2, 2])  # pairs, so that objectives on pairs have their say


def draw(lengths: list[int], seed: int) -> tuple[Signals, Outputs]:
    """Six completions of three prompts with everything that any method asks for; NaN where masked."""
    random = torch.Generator().manual_seed(seed)
    width = max(lengths) + 1  # one place that is masked in every row
    mask = torch.tensor([[place < length for place in range(width)] for length in lengths])

    def numbers(low: float, high: float) -> Tensor:
        drawn = low + (high - low) * torch.rand(6, width, generator=random, dtype=torch.float64)
        return torch.where(mask, drawn, torch.nan)

    rewarded = torch.zeros_like(mask)
    for row, length in enumerate(lengths):
        rewarded[row, length - 1] = rewarded[row, 0] = True
    old = numbers(-3.0, -0.5)
    signals = Signals(
        mask=mask,
        group=GROUP,
        rewards=torch.where(rewarded, torch.rand(6, width, generator=random, dtype=torch.float64), 0.0),
        rewarded=rewarded,
        finished=torch.tensor([True, True, False, True, True, True]),
        correct=torch.tensor([1.0, 0.0, 1.0, torch.nan, 0.0, 0.0], dtype=torch.float64),
        parts=torch.rand(6, 2, generator=random, dtype=torch.float64),
        part_weights=torch.tensor([[1.0, 0.5]], dtype=torch.float64).expand(6, 2),
        greedy_rewards=torch.rand(3, generator=random, dtype=torch.float64)[GROUP],
        behavior_logprobs=old + 0.1 * numbers(-1.0, 1.0),
        old_logprobs=old,
        reference_logprobs=numbers(-3.0, -0.5),
        old_values=numbers(-1.0, 1.0),
    )
    logprobs = torch.minimum(old + numbers(-0.5, 0.5), torch.tensor(-1e-3).double())
    return signals, Outputs(logprobs, entropy=numbers(0.0, 2.0), values=numbers(-1.0, 1.0))


def coefficients(algorithm: Algorithm, signals: Signals, outputs: Outputs) -> Coefficients:
    return gradient_coefficient(algorithm, algorithm.prepare(signals), outputs)


def only(outputs: Outputs, index: Tensor, width: int) -> Outputs:
    return outputs.map(lambda tensor: tensor[index, :width])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12)
@given(lengths=LENGTHS, order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)), seed=st.integers(0, 99))
def test_micro_batches_order_and_padding_change_nothing(
    name: str, lengths: list[int], order: list[int], cuts: set[int], seed: int
) -> None:
    """Any split of any order, each part only as wide as it must be; pairs stay together where the method says so."""
    algorithm: Algorithm = vars(recipes)[name]
    signals, outputs = draw(lengths, seed)
    prepared, whole = algorithm.prepare(signals), coefficients(algorithm, signals, outputs)
    if algorithm.objective.joins_group():
        order, cuts = (
            [row for pair in dict.fromkeys(row // 2 for row in order) for row in (2 * pair, 2 * pair + 1)],
            {2, 4},
        )
    total, found = torch.zeros(()).double(), torch.zeros_like(signals.rewards)
    values = torch.zeros_like(found)
    for start, end in pairwise([0, *sorted(cuts), 6]):
        index = torch.tensor(order[start:end])
        width = max(lengths[row] for row in order[start:end])
        part = gradient_coefficient(algorithm, prepared.rows(index, width), only(outputs, index, width))
        total += part.objective
        found[index, :width] = part.cotangent.logprobs
        if part.cotangent.values is not None:
            values[index, :width] = part.cotangent.values
    torch.testing.assert_close(total, whole.objective, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, whole.cotangent.logprobs, atol=1e-12, rtol=1e-12)
    if whole.cotangent.values is not None:
        torch.testing.assert_close(values, whole.cotangent.values, atol=1e-12, rtol=1e-12)


BY_TURN = {"turn_to_go", "gigpo"}
"""To these it matters where a turn ends: tests/algorithm/test_turns.py."""


def spaced(tensor: Tensor, places: Tensor, width: int, blank: float) -> Tensor:
    """Each row's first tokens at its ``places`` of a wider table."""
    wide = torch.full((len(tensor), width), blank, dtype=torch.float64).to(tensor.dtype)
    return wide.scatter(1, places, tensor[:, : places.shape[1]])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_TURN])
@settings(max_examples=10)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_what_a_tool_said_between_two_tokens_changes_nothing(name: str, lengths: list[int], seed: int) -> None:
    """A mask with holes, NaN in them: loss, coefficients of log-probabilities, entropy and values, and counts."""
    algorithm: Algorithm = vars(recipes)[name]
    signals, outputs = draw(lengths, seed)
    longest = max(lengths)
    width = 2 * longest + 3
    random = torch.Generator().manual_seed(seed + 1)
    places = torch.stack([torch.randperm(width, generator=random)[:longest].sort().values for _ in lengths])
    by_token = {key: value for key, value in vars(signals).items() if value is not None and value.dim() == 2}
    per_row = {"parts", "part_weights"}
    holes = {
        key: spaced(value, places, width, 0.0 if value.dtype == torch.bool or key == "rewards" else torch.nan)
        for key, value in by_token.items()
        if key not in per_row
    }
    wide = replace(signals, **holes)
    shown = outputs.map(lambda tensor: spaced(tensor, places, width, torch.nan))
    assert wide.mask.sum() == signals.mask.sum()
    found, expected = coefficients(algorithm, wide, shown), coefficients(algorithm, signals, outputs)
    torch.testing.assert_close(found.objective, expected.objective, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(algorithm.prepare(wide).counts, algorithm.prepare(signals).counts)
    for key, tensor in vars(expected.cotangent).items():
        if tensor is not None:
            there = spaced(torch.where(signals.mask, tensor, 0.0), places, width, 0.0)
            torch.testing.assert_close(vars(found.cotangent)[key], there, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if not vars(recipes)[name].objective.joins_group()])
@settings(max_examples=8)
@given(lengths=LENGTHS, seed=st.integers(0, 99), order=st.permutations(range(6)))
def test_a_permuted_draw_has_the_permuted_gradient(name: str, lengths: list[int], seed: int, order: list[int]) -> None:
    """Responses of a prompt in any order, and prompts in any order (a pair's order has a meaning)."""
    algorithm: Algorithm = vars(recipes)[name]
    signals, outputs = draw(lengths, seed)
    index = torch.tensor(order)
    width = signals.mask.shape[1]
    found = coefficients(algorithm, signals.rows(index), only(outputs, index, width)).cotangent.logprobs
    expected = coefficients(algorithm, signals, outputs).cotangent.logprobs[index]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


SHIFT_FREE = [
    "grpo", "gspo", "dr_grpo", "dapo", "cispo", "gmpo", "sapo", "rloo", "lite_ppo", "gdpo", "trl_1_16", "verl_0_9",
    "reinforce_plus_plus_baseline", "deepseek_r1", "deepseek_v3_2", "rpg_urkl", "turn_to_go", "gigpo",
    "luspo", "vespo", "dppo", "dppo_kl",
]  # fmt: skip
SCALE_FREE = ["grpo", "gspo", "dapo", "cispo", "gmpo", "sapo", "lite_ppo", "deepseek_r1", "maxrl", "gigpo", "luspo"]


def changed(signals: Signals, change: Callable[[Tensor], Tensor]) -> Signals:
    """Every outcome changed, on its last token."""
    outcome = signals.outcome
    last = torch.zeros_like(signals.rewarded)
    last[torch.arange(6), signals.mask.sum(dim=1) - 1] = True
    assert signals.parts is not None
    return replace(
        signals, rewards=torch.where(last, change(outcome)[:, None], 0.0), rewarded=last, parts=change(signals.parts)
    )


@pytest.mark.parametrize("name", SHIFT_FREE)
@settings(max_examples=8)
@given(lengths=LENGTHS, seed=st.integers(0, 99), shift=st.integers(-8, 8))
def test_a_shift_of_all_rewards_changes_nothing(name: str, lengths: list[int], seed: int, shift: int) -> None:
    assert_alike(vars(recipes)[name], lengths, seed, lambda rewards: rewards + shift)


@pytest.mark.parametrize("name", SCALE_FREE)
@settings(max_examples=8)
@given(lengths=LENGTHS, seed=st.integers(0, 99), scale=st.sampled_from([0.125, 0.5, 3.0, 64.0]))
def test_a_scale_of_all_rewards_changes_nothing(name: str, lengths: list[int], seed: int, scale: float) -> None:
    assert_alike(vars(recipes)[name], lengths, seed, lambda rewards: rewards * scale)


def assert_alike(algorithm: Algorithm, lengths: list[int], seed: int, change: Callable[[Tensor], Tensor]) -> None:
    signals, outputs = draw(lengths, seed)
    plain = coefficients(algorithm, changed(signals, lambda rewards: rewards), outputs).cotangent.logprobs
    found = coefficients(algorithm, changed(signals, change), outputs).cotangent.logprobs
    torch.testing.assert_close(found, plain, atol=1e-8, rtol=1e-8)


def rows_of_the_table() -> dict[str, Callable[[Any], Tensor]]:
    """GC of each row, off-policy and with the clip, without the weight of the aggregation. ``x`` has A, r, s, ..."""
    return {
        "sft": lambda x: torch.ones_like(x.A),
        "rft": lambda x: (x.correct == 1).double() * torch.ones_like(x.A),
        "online_rft": lambda x: (x.correct == 1).double() * torch.ones_like(x.A),
        "ppo": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "grpo": lambda x: x.free(0.2, 0.2) * x.r * x.A + 0.04 * (x.x - 1),
        "grpo_process": lambda x: x.free(0.2, 0.2) * x.r * x.A + 0.04 * (x.x - 1),
        "dr_grpo": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "turn_to_go": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "gigpo": lambda x: x.free(0.2, 0.2) * x.r * x.A + 0.01 * (x.x - 1),
        "dapo": lambda x: x.free(0.2, 0.28) * x.r * x.A,
        "lite_ppo": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "gspo": lambda x: x.free(3e-4, 4e-4, x.s) * x.s * x.A,
        "gspo_token": lambda x: x.free(3e-4, 4e-4, x.s) * x.s * x.A,
        "cispo": lambda x: x.r.clamp(max=1.28) * x.A,
        "luspo": lambda x: x.free(2e-3, 2.5e-3, x.s) * x.s * x.A,
        "vespo": lambda x: x.W ** x.either(2, 3) * torch.exp(x.either(3, 2) * (1 - x.W)) * x.A,
        "dppo": lambda x: x.near(0.15, (x.q - x.p).abs()) * x.q / x.p * x.A,
        "dppo_kl": lambda x: x.near(0.05, x.p * (x.p / x.q).log() + (1 - x.p) * ((1 - x.p) / (1 - x.q)).log())
        * x.q / x.p * x.A,
        "sapo": lambda x: x.r * x.A / torch.cosh(torch.where(x.A > 0, x.r * 0 + 1.0, 1.05) * (x.r - 1) / 2).square(),
        "rloo": lambda x: x.A,
        "remax": lambda x: x.A,
        "maxrl": lambda x: x.A,
        "reinforce_plus_plus": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "reinforce_plus_plus_baseline": lambda x: x.free(0.2, 0.2) * x.r * x.A + 0.01 * x.x.log(),
        "deepseek_r1": lambda x: x.free(10, 10) * x.r * x.A + 0.001 * (x.x - 1),
        "deepseek_v3_2": lambda x: x.kept(0.5) * x.free(0.2, 0.2) * x.r * x.A + 0.001 * x.r * x.x.log(),
        "rpg_ufkl": lambda x: x.r * x.A - 1e-4 * (x.r - 1),
        "rpg_urkl": lambda x: x.r * (x.A - 1e-4 * x.r.log()),
        "rpg_fkl": lambda x: x.r * x.A + 1e-4,
        "rpg_rkl": lambda x: x.r * (x.A - 1e-4 * (x.r.log() + 1)),
        "on_policy_distillation": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "opsd": lambda x: x.free(0.2, 0.2) * x.r * x.A,
        "sdft": lambda x: x.free(0.2, 0.2) * x.r * x.A,
    }  # fmt: skip


class Numbers:
    """What the analytic coefficients are written with, from a prepared draw."""

    def __init__(self, prepared: Signals, logprobs: Tensor) -> None:
        assert prepared.advantages is not None
        assert prepared.old_logprobs is not None
        assert prepared.reference_logprobs is not None
        assert prepared.behavior_logprobs is not None
        self.A, self.mask = prepared.advantages, prepared.mask
        assert prepared.correct is not None
        self.correct = prepared.correct[:, None]
        self.r = (logprobs - prepared.old_logprobs).exp()
        self.x = (prepared.reference_logprobs - logprobs).exp()
        self.s = self.mean(logprobs - prepared.old_logprobs).exp().expand_as(self.r)
        self.gap = self.mean(prepared.behavior_logprobs - logprobs)
        self.W = (self.s.log() * self.mask.sum(dim=1, keepdim=True)).exp()
        self.p, self.q = prepared.behavior_logprobs.exp(), logprobs.exp()

    def mean(self, tensor: Tensor) -> Tensor:
        return torch.where(self.mask, tensor, 0.0).sum(dim=1, keepdim=True) / self.mask.sum(dim=1, keepdim=True)

    def free(self, low: float, high: float, ratio: Tensor | None = None) -> Tensor:
        """c of METHODS' full gradient: 0 where the trust region holds the token, else 1."""
        ratio = self.r if ratio is None else ratio
        return 1 - (((self.A > 0) & (ratio > 1 + high)) | ((self.A < 0) & (ratio < 1 - low))).double()

    def either(self, positive: float, negative: float) -> Tensor:
        return torch.where(self.A >= 0, positive, negative)

    def near(self, delta: float, apart: Tensor) -> Tensor:
        """0 where a push would take a probability further away than it may be."""
        return (
            1 - ((((self.A > 0) & (self.q > self.p)) | ((self.A < 0) & (self.q < self.p))) & (apart > delta)).double()
        )

    def kept(self, delta: float) -> Tensor:
        return 1 - ((self.A < 0) & (self.gap > delta)).double()


@pytest.mark.parametrize("name", rows_of_the_table())
@settings(max_examples=10)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_the_coefficient_is_the_analytic_one(name: str, lengths: list[int], seed: int) -> None:
    algorithm: Algorithm = vars(recipes)[name]
    signals, outputs = draw(lengths, seed)
    prepared = algorithm.prepare(signals)
    found = gradient_coefficient(algorithm, prepared, outputs).cotangent.logprobs
    assert prepared.weights is not None
    analytic = rows_of_the_table()[name](Numbers(prepared, outputs.logprobs))
    expected = torch.where(prepared.learned, prepared.weights * analytic, 0.0)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_the_coefficient_of_a_pair_is_the_analytic_one() -> None:
    """± β σ(-margin) on every token, in the sum; divided by each length in the normalised form."""
    signals, outputs = draw([2, 3, 1, 5, 4, 4], 3)
    for name, normalised in (("dpo", False), ("dpo_normalised", True), ("online_dpo", False)):
        found = coefficients(vars(recipes)[name], signals, outputs).cotangent.logprobs
        gap = torch.where(signals.mask, outputs.logprobs - signals.reference_logprobs, 0.0).sum(dim=1)
        lengths = signals.mask.sum(dim=1) if normalised else torch.ones(6)
        sign = torch.tensor([1.0, -1.0] * 3).double()
        margin = 0.1 * (sign * gap / lengths).reshape(3, 2).sum(dim=1).repeat_interleave(2)
        expected = (sign * 0.1 * torch.sigmoid(-margin) / lengths)[:, None] * signals.mask
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
