"""Every number of the worked example (two prompts with three completions each), through the Python interface."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.algorithm import (
    GAE,
    KL,
    Accepted,
    Advantage,
    Aggregation,
    Algorithm,
    ClippedGeometricMean,
    ClippedRatio,
    ClippedSequenceRatio,
    ClippedWeight,
    Constant,
    ConstantLength,
    Critic,
    GroupRelative,
    GroupTokenMean,
    LogLikelihood,
    NormalisedRewards,
    Objective,
    OffPolicySequenceMask,
    Outputs,
    Preference,
    PreferenceMargin,
    ProcessRelative,
    RegularisedRatio,
    RewardToGo,
    SequenceMean,
    SequenceSum,
    Signals,
    SoftGate,
    TokenMean,
    Whitening,
    gradient_coefficient,
)
from groupwise.sources import OnPolicy

EXAMPLE = json.loads((Path(__file__).parent / "worked_example.json").read_text())
FIXTURE, CORE, ADVANTAGES = EXAMPLE["fixture"], EXAMPLE["core"], EXAMPLE["advantages"]
RESPONSES = [response for group in FIXTURE["groups"] for response in group]
NO_KL = KL(0.0)
RAGGED = list[list[float]]


def padded(rows: Sequence[Sequence[float]]) -> Tensor:
    """NaN where masked: nothing may read it."""
    return torch.tensor([[*row, *[torch.nan] * (3 - len(row))] for row in rows], dtype=torch.float64)


def column(name: str) -> Tensor:
    return padded([response[name] for response in RESPONSES])


@pytest.fixture
def signals(worked: Any) -> Signals:
    greedy = torch.tensor([FIXTURE["greedy"][number] for number in worked.signals.group], dtype=torch.float64)
    return replace(worked.signals, old_values=column("values"), greedy_rewards=greedy)


@pytest.fixture
def steps(signals: Signals) -> Signals:
    """The same rollouts with the scores of their steps in place of the outcome."""
    rewards, rewarded = torch.zeros_like(signals.rewards), torch.zeros_like(signals.rewarded)
    for row, response in enumerate(RESPONSES):
        for end, score in zip(response["step_ends"], response["step_rewards"], strict=True):
            rewards[row, end], rewarded[row, end] = score, True
    return replace(signals, rewards=rewards, rewarded=rewarded)


def algorithm(
    objective: Objective,
    advantage: Advantage | None = None,
    kl: KL = NO_KL,
    aggregation: Aggregation | None = None,
    **slots: Any,
) -> Algorithm:
    return Algorithm(OnPolicy(), advantage or GroupRelative(), objective, kl, aggregation or SequenceMean(), **slots)


def loss_and_gradient(method: Algorithm, signals: Signals, logprobs: Tensor | None = None) -> tuple[float, RAGGED]:
    """-J and -∂J/∂logprobs, every normaliser in it."""
    prepared = method.prepare(signals)
    assert prepared.counts is not None
    found = gradient_coefficient(method, prepared, Outputs(column("logp") if logprobs is None else logprobs))
    total = prepared.counts.sum()
    return -float(found.objective / total), ragged(-found.cotangent.logprobs / total, signals)


def ragged(tensor: Tensor, signals: Signals) -> RAGGED:
    return [row[mask].tolist() for row, mask in zip(tensor, signals.mask, strict=True)]


def same(found: RAGGED, expected: Sequence[Sequence[float]]) -> bool:
    return [len(row) for row in found] == [len(row) for row in expected] and all(
        a == pytest.approx(b, abs=1e-9) for a, b in zip(found, expected, strict=True)
    )


def per_token(per_row: Sequence[Sequence[float]], signals: Signals) -> RAGGED:
    """The example gives one number a completion, group by group."""
    flat = [value for group in per_row for value in group]
    return [[value] * int(length) for value, length in zip(flat, signals.mask.sum(dim=1), strict=True)]


@pytest.mark.parametrize(
    ("name", "advantage", "whitening"),
    [
        ("outcome_ddof0_eps0", GroupRelative(ddof=0), None),
        ("outcome_ddof1_eps0", GroupRelative(), None),
        ("outcome_ddof1_eps1e-4_trl", GroupRelative(epsilon=1e-4), None),
        ("outcome_ddof1_eps1e-6_verl", GroupRelative(epsilon=1e-6), None),
        ("outcome_ddof1_eps1e-8_oat", GroupRelative(epsilon=1e-8), None),
        ("mean_only", GroupRelative("none"), None),
        ("rloo", GroupRelative("none", baseline="others"), None),
        ("remax", RewardToGo(baseline="greedy"), None),
        ("group_mean_batch_raw_std_ddof0", GroupRelative("batch", ddof=0), None),
        ("group_mean_batch_raw_std_ddof1", GroupRelative("batch"), None),
        ("reinforcepp_baseline_seq_ddof0", GroupRelative("none"), Whitening("sequences", 0, 0.0)),
        ("reinforcepp_baseline_seq_ddof1", GroupRelative("none"), Whitening("sequences", 1, 0.0)),
        ("reinforcepp_baseline_token_ddof1", GroupRelative("none"), Whitening("tokens", 1, 0.0)),
        ("whole_batch_zscore_ddof0_not_grpo", RewardToGo(), Whitening("sequences", 0, 0.0)),
    ],
)
def test_outcome_advantages(signals: Signals, name: str, advantage: Advantage, whitening: Whitening | None) -> None:
    method = algorithm(ClippedRatio(), advantage, whitening=whitening or Whitening())
    found = method.prepare(signals).advantages
    assert found is not None
    assert same(ragged(found, signals), per_token(ADVANTAGES[name], signals))


@pytest.mark.parametrize("ddof", [0, 1])
def test_process_advantages(steps: Signals, ddof: int) -> None:
    found = ragged(ProcessRelative(ddof=ddof).advantages(steps), steps)
    assert same(found, [row for group in ADVANTAGES[f"process_ddof{ddof}_eps0"] for row in group])


def test_two_rewards(signals: Signals) -> None:
    first, second = signals.outcome, torch.tensor(FIXTURE["rewards2"], dtype=torch.float64).flatten()
    parts = torch.stack([first, second], dim=1)
    both = replace(signals, parts=parts, part_weights=torch.tensor([FIXTURE["reward_w"]] * 6))
    expected = ADVANTAGES["two_rewards"]
    found = ragged(NormalisedRewards().advantages(both), signals)
    assert same(found, per_token(expected["gdpo_normalize_then_sum_ddof1_eps1e-4"], signals))
    last = signals.rewarded
    summed = replace(signals, rewards=torch.where(last, (first + second)[:, None], 0.0))
    found = ragged(GroupRelative(epsilon=1e-4).advantages(summed), signals)
    assert same(found, per_token(expected["sum_then_normalize_ddof1_eps1e-4"], signals))


PPO_KL = KL(FIXTURE["ppo_beta"], "k1", place="reward")


@pytest.mark.parametrize("lam", [0.95, 1.0, 0.0])
def test_gae_returns_and_whitening(signals: Signals, lam: float) -> None:
    expected = EXAMPLE["ppo"][f"gamma1.0_lam{lam}"]
    method = algorithm(ClippedRatio(), GAE(1.0, lam), PPO_KL, TokenMean(), critic=Critic("head"))
    prepared = method.prepare(signals)
    assert prepared.advantages is not None
    assert prepared.returns is not None
    assert same(ragged(prepared.advantages, signals), expected["advantages"])
    assert same(ragged(prepared.returns, signals), expected["returns"])
    for ddof in (0, 1):
        for shift, suffix in ((True, ""), (False, "_shift_mean_false")):
            white = replace(method, whitening=Whitening("tokens", ddof, shift=shift)).prepare(signals).advantages
            assert white is not None
            assert same(ragged(white, signals), expected[f"whitened{suffix}_ddof{ddof}"])


def test_token_rewards_with_the_penalty_in_them(signals: Signals) -> None:
    """Reward to go without a baseline is a plain sum, so differences of it are the token rewards."""
    to_go = algorithm(LogLikelihood(), RewardToGo(), PPO_KL).prepare(signals).advantages
    assert to_go is not None
    rewards = to_go - torch.cat([to_go[:, 1:], torch.zeros(6, 1)], dim=1)
    assert same(ragged(rewards, signals), EXAMPLE["ppo"]["token_rewards"])


@pytest.mark.parametrize(("clip", "name"), [(0.2, "clipped"), (0.0, "unclipped")])
def test_value_loss(signals: Signals, clip: float, name: str) -> None:
    """Coefficient 1 and no advantage: what is left of J is the critic's."""
    critic = Critic("own", 1.0, clip)
    method = algorithm(ClippedRatio(), GAE(1.0, 0.95), PPO_KL, TokenMean(), critic=critic)
    prepared = method.prepare(signals)
    assert prepared.counts is not None
    assert prepared.advantages is not None
    silent = replace(prepared, advantages=torch.zeros_like(prepared.advantages))
    values = column("values_new")
    found = gradient_coefficient(method, silent, Outputs(column("logp"), values=values))
    expected = EXAMPLE["ppo"]["gamma1.0_lam0.95"]["value_loss"][f"{name}_token_mean_half"]
    assert -float(found.objective / prepared.counts.sum()) == pytest.approx(expected, abs=1e-9)
    cotangent = found.cotangent.values
    assert cotangent is not None
    assert prepared.returns is not None
    by_hand = torch.where(signals.mask, prepared.returns - values, 0.0)  # -∂/∂V of half the squared error
    if clip:
        by_hand[0, 1] = 0.0  # 0.4 to 0.7: held at 0.6, where the loss is larger, and flat
    assert same(ragged(cotangent, signals), ragged(by_hand, signals))


def test_whitened_reward_to_go(signals: Signals) -> None:
    """REINFORCE++ without a baseline, the penalty in its token rewards."""
    expected = EXAMPLE["ppo"]["reinforcepp"]
    method = algorithm(LogLikelihood(), RewardToGo(), PPO_KL)
    plain, white = (
        replace(method, whitening=whitening).prepare(signals).advantages
        for whitening in (Whitening(), Whitening("tokens", 1, 0.0))
    )
    assert plain is not None
    assert white is not None
    assert same(ragged(plain, signals), expected["return_to_go"])
    assert same(ragged(white, signals), expected["token_whitened_ddof1_eps0"])


def test_leave_one_out_with_the_penalty_in_the_reward(signals: Signals) -> None:
    method = algorithm(LogLikelihood(), GroupRelative("none", baseline="others"), PPO_KL)
    found = method.prepare(signals).advantages
    assert found is not None
    assert same(ragged(found, signals), per_token(EXAMPLE["ppo"]["rloo_with_kl_in_reward"]["advantages"], signals))


def test_adaptive_coefficient() -> None:
    plan = FIXTURE["adaptive"]
    kl, found = KL(plan["init"], "k1", place="reward", target=plan["target"], horizon=plan["horizon"]), []
    for nats in plan["current"]:
        kl = replace(kl, coefficient=kl.adapted(nats, plan["n"]))
        found.append(kl.coefficient)
    assert found == pytest.approx(EXAMPLE["ppo"]["adaptive_kl"]["beta_after_each"], abs=1e-12)


AGGREGATIONS: dict[str, Aggregation] = {
    "seq_mean_token_mean": SequenceMean(),
    "token_mean_batch": TokenMean(),
    "token_mean_per_group": GroupTokenMean(),
    "const_L": ConstantLength(FIXTURE["L"]),
    "seq_mean_token_sum": SequenceSum(),
    "token_sum_over_L": ConstantLength(FIXTURE["L"] / 6),  # the sum is not divided by B = 6: as a length of L / B
}
VARIANTS = {
    "surrogate_only": (ClippedRatio(), NO_KL),
    "surrogate_minus_beta_k3": (ClippedRatio(), KL(0.04)),
    "surrogate_minus_beta_weighted_k3": (ClippedRatio(), KL(0.04, weight="live")),
    "clip_higher_no_kl": (ClippedRatio(0.2, 0.28), NO_KL),
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses(signals: Signals, aggregation: str, variant: str) -> None:
    objective, kl = VARIANTS[variant]
    loss, _ = loss_and_gradient(algorithm(objective, kl=kl, aggregation=AGGREGATIONS[aggregation]), signals)
    assert loss == pytest.approx(CORE["loss"][aggregation][variant], abs=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_mean_penalty(signals: Signals, aggregation: str) -> None:
    method = algorithm(ClippedRatio(), GroupRelative("none"), KL(1.0), AGGREGATIONS[aggregation])
    level = replace(signals, rewards=torch.zeros_like(signals.rewards))
    assert loss_and_gradient(method, level)[0] == pytest.approx(CORE["loss"][aggregation]["mean_k3"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("grpo_seq_mean_k3", algorithm(ClippedRatio(), kl=KL(0.04))),
        ("grpo_seq_mean_weighted_k3", algorithm(ClippedRatio(), kl=KL(0.04, weight="live"))),
        ("dapo_token_mean_no_kl", algorithm(ClippedRatio(0.2, 0.28), aggregation=TokenMean())),
        ("const_L_no_kl", algorithm(ClippedRatio(), aggregation=ConstantLength(FIXTURE["L"]))),
    ],
)
def test_gradients(signals: Signals, name: str, method: Algorithm) -> None:
    assert same(loss_and_gradient(method, signals)[1], CORE["dloss_dlogp"][name])


def test_named_losses(signals: Signals, steps: Signals) -> None:
    dr_grpo = algorithm(ClippedRatio(), GroupRelative("none"), aggregation=ConstantLength(FIXTURE["L"]))
    assert loss_and_gradient(dr_grpo, signals)[0] == pytest.approx(CORE["dr_grpo_loss"], abs=1e-9)
    process = algorithm(ClippedRatio(), ProcessRelative(), KL(0.04))
    assert loss_and_gradient(process, steps)[0] == pytest.approx(CORE["process_grpo_loss_seq_mean"], abs=1e-9)


def test_clipping_variants(signals: Signals) -> None:
    for name, objective in {
        "ppo_clip": ClippedRatio(),
        "clip_higher": ClippedRatio(0.2, 0.28),
        "dual_clip": ClippedRatio(dual=FIXTURE["dual_c"]),
        "two_sided_delta": ClippedRatio(ceiling=FIXTURE["two_sided_delta"]),
    }.items():
        prepared = algorithm(objective).prepare(signals)
        old = torch.where(signals.mask, column("old"), 0.0)
        found = objective.surrogate(torch.where(signals.mask, column("logp"), 0.0), replace(prepared, old_logprobs=old))
        assert same(ragged(found.terms, signals), CORE["surrogate_terms"][name]), name


@pytest.mark.parametrize(("low", "high"), FIXTURE["gspo"])
def test_sequence_ratios(signals: Signals, steps: Signals, low: float, high: float) -> None:
    expected = CORE["gspo"][f"eps({low},{high})"]
    loss, gradient = loss_and_gradient(algorithm(ClippedSequenceRatio(low, high)), signals)
    assert loss == pytest.approx(expected["loss"], abs=1e-9)
    assert same(gradient, expected["dloss_dlogp"])
    token = algorithm(ClippedSequenceRatio(low, high, "token"), ProcessRelative())
    loss, gradient = loss_and_gradient(token, steps)
    assert loss == pytest.approx(expected["gspo_token_loss_process_ddof1"], abs=1e-9)
    assert same(gradient, expected["gspo_token_dloss_dlogp"])
    prepared = algorithm(ClippedSequenceRatio(low, high)).prepare(signals)
    assert prepared.counts is not None
    found = gradient_coefficient(algorithm(ClippedSequenceRatio(low, high)), prepared, Outputs(column("logp")))
    assert found.ratio[:, 0].tolist() == pytest.approx(CORE["gspo"]["s"], abs=1e-9)
    assert (found.clipped[:, 0] != 0).tolist() == expected["clipped"]


@pytest.mark.parametrize(
    ("method", "loss", "gradient"),
    [
        (algorithm(ClippedGeometricMean(0.4)), CORE["gmpo"]["loss"], CORE["gmpo_dloss_dlogp"]),
        (algorithm(SoftGate(1.0, 1.05)), CORE["sapo"]["loss_seq_mean"], CORE["sapo"]["dloss_dlogp"]),
        (
            algorithm(ClippedWeight(high=0.28), aggregation=TokenMean()),
            CORE["cispo"]["loss_token_mean"],
            CORE["cispo"]["dloss_dlogp"],
        ),
        (
            algorithm(LogLikelihood(), Constant()),
            CORE["unified_paradigm"]["sft_gc_1"]["loss"],
            CORE["unified_paradigm"]["sft_gc_1"]["dloss_dlogp"],
        ),
        (
            algorithm(LogLikelihood(), Accepted()),
            CORE["unified_paradigm"]["rft_gc_indicator_reward>=1"]["loss"],
            CORE["unified_paradigm"]["rft_gc_indicator_reward>=1"]["dloss_dlogp"],
        ),
    ],
    ids=["gmpo", "sapo", "cispo", "sft", "rft"],
)
def test_other_surrogates(signals: Signals, method: Algorithm, loss: float, gradient: RAGGED) -> None:
    found = loss_and_gradient(method, signals)
    assert found[0] == pytest.approx(loss, abs=1e-9)
    assert same(found[1], gradient)


def test_truncated_completions_are_masked(signals: Signals) -> None:
    """The third completion did not finish: six numbers of what may be done about it."""
    expected = CORE["mask_one_response"]
    finished = torch.tensor([row != expected["masked_index"] for row in range(6)])
    cut = replace(signals, finished=finished)
    for name, aggregation in {
        "seq_mean_over_remaining": SequenceMean(count_empty=False),
        "seq_mean_denominator_keeps_B": SequenceMean(),
        "token_mean": TokenMean(),
        "const_L_denominator_keeps_B": ConstantLength(FIXTURE["L"]),
    }.items():
        method = algorithm(ClippedRatio(), aggregation=aggregation, truncated="mask")
        assert loss_and_gradient(method, cut)[0] == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize("delta", FIXTURE["opsm"])
def test_off_policy_sequence_mask(signals: Signals, delta: float) -> None:
    prepared = algorithm(ClippedRatio()).prepare(signals)
    logprobs = torch.where(signals.mask, column("logp"), 0.0)
    weights = OffPolicySequenceMask(delta).weights(logprobs, prepared)
    assert weights[:, 0].tolist() == CORE["opsm"]["mask"][str(delta)]


@pytest.mark.parametrize(
    ("name", "divergence"),
    [
        ("UFKL", "unnormalised-forward"),
        ("URKL", "unnormalised-reverse"),
        ("FKL", "forward"),
        ("RKL", "reverse"),
    ],
)
def test_regularised_policy_gradients(name: str, divergence: Any) -> None:
    """Two samples of one token each, their plain rewards as advantages."""
    given = EXAMPLE["rpg"]["inputs"]
    here = torch.ones(2, 1, dtype=torch.bool)
    signals = Signals(
        mask=here,
        group=torch.tensor([0, 1]),
        rewards=torch.tensor(given["reward"], dtype=torch.float64)[:, None],
        rewarded=here,
        finished=here[:, 0],
        old_logprobs=torch.tensor(given["old"], dtype=torch.float64)[:, None],
    )
    logprobs = torch.tensor(given["logp"], dtype=torch.float64)[:, None]
    method = algorithm(RegularisedRatio(divergence, given["beta"]), RewardToGo())
    loss, gradient = loss_and_gradient(method, signals, logprobs)
    assert loss == pytest.approx(EXAMPLE["rpg"][name]["loss"], abs=1e-9)
    assert [row[0] for row in gradient] == pytest.approx(EXAMPLE["rpg"][name]["dloss_dlogp"], abs=1e-9)
    wide = algorithm(RegularisedRatio(divergence, given["beta"], 0.9, 9.0), RewardToGo())
    assert same(loss_and_gradient(wide, signals, logprobs)[1], gradient), "an idle clip changes no gradient"


@pytest.mark.parametrize("normalised", [False, True])
def test_preference_pair(worked: Any, normalised: bool) -> None:
    """The first completion of the first prompt chosen, its third rejected."""
    expected = EXAMPLE["preference"]["dpo_length_normalised" if normalised else "dpo"]
    pair = worked.signals.rows(torch.tensor([0, 2]))
    method = algorithm(PreferenceMargin(0.1, normalised), Preference(), aggregation=GroupTokenMean())
    loss, gradient = loss_and_gradient(method, pair, column("logp")[[0, 2]])
    assert loss == pytest.approx(expected["loss"], abs=1e-9)
    if not normalised:
        assert gradient[0] == pytest.approx([expected["dloss_d_sumlogp_chosen"]] * 2, abs=1e-9)
        assert gradient[1] == pytest.approx([expected["dloss_d_sumlogp_rejected"]] * 3, abs=1e-9)
