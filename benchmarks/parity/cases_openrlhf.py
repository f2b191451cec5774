"""OpenRLHF's rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from case import Case, equal_rewards, large_rewards, on_policy
from explained import (
    gated_by_sequence,
    k3_with_unbiased_gradient,
    lengths_with_more,
    penalty_by_tokens,
    rewards_within_ten,
    single_precision,
)
from their_openrlhf import openrlhf_

from groupwise.algorithm import (
    KL,
    Algorithm,
    ClippedRatio,
    Entropy,
    GroupRelative,
    RejectMismatch,
    RewardToGo,
    SequenceMean,
    Whitening,
)
from groupwise.recipes import openrlhf_0_11, openrlhf_0_11_ppo

USUAL = Case("OpenRLHF", "", openrlhf_, openrlhf_0_11)
TWICE = replace(USUAL, updates=2)
ESTIMATOR = "--algo.advantage.estimator"
GROUPS = (ESTIMATOR, "group_norm")
NO_KL = ("--algo.kl.init_coef", "0")
WITHOUT = replace(openrlhf_0_11, kl=KL(0.0))


def _case(name: str, algorithm: Algorithm, *flags: str, usual: Case = USUAL, single: bool = False) -> Case:
    theirs = partial(openrlhf_, flags=flags, updates=usual.updates, single=single)
    return replace(usual, name=name, theirs=theirs, algorithm=algorithm)


def openrlhf_cases() -> list[Case]:
    return [*_defaults(), *_estimators(), *_penalties(), *_others()]


def _defaults() -> list[Case]:
    clipped = replace(USUAL, formula=rewards_within_ten, changed=large_rewards)
    alike = replace(USUAL, formula=single_precision, changed=equal_rewards)
    return [
        _case("defaults (gae)", openrlhf_0_11_ppo, usual=replace(USUAL, preset="openrlhf_0_11_ppo")),
        _case("gae, two updates a draw", openrlhf_0_11_ppo, usual=TWICE),
        _case("gae, rewards up to 30", openrlhf_0_11_ppo, usual=clipped),
        _case("group_norm", openrlhf_0_11, *GROUPS, usual=replace(USUAL, preset="openrlhf_0_11")),
        _case("group_norm, on-policy", openrlhf_0_11, *GROUPS, usual=replace(USUAL, changed=on_policy)),
        _case("group_norm, two updates a draw", openrlhf_0_11, *GROUPS, usual=TWICE),
        _case("group_norm, equal rewards, float32", WITHOUT, *GROUPS, *NO_KL, usual=alike, single=True),
    ]


def _estimators() -> list[Case]:
    white = Whitening("tokens", ddof=0, epsilon=0.0)
    raw = replace(openrlhf_0_11, advantage=GroupRelative("none"))
    others = replace(openrlhf_0_11, advantage=GroupRelative("none", baseline="others"))
    return [
        _case("reinforce", replace(openrlhf_0_11_ppo, advantage=RewardToGo()), ESTIMATOR, "reinforce"),
        _case("reinforce_baseline", replace(raw, whitening=white), ESTIMATOR, "reinforce_baseline"),
        _case("rloo", others, ESTIMATOR, "rloo"),
        _case("dr_grpo", raw, ESTIMATOR, "dr_grpo"),
        _case("group_norm, no KL", WITHOUT, *GROUPS, *NO_KL),
    ]


def _penalties() -> list[Case]:
    in_loss = (*GROUPS, "--algo.kl.use_loss", "--algo.kl.estimator")
    bounded = replace(openrlhf_0_11, kl=KL(0.01, bound=10.0))
    averaged = replace(bounded, aggregation=SequenceMean())
    return [
        _case("group_norm, k3 as loss", bounded, *in_loss, "k3"),
        _case("group_norm, k3 as loss, two updates a draw", bounded, *in_loss, "k3", usual=TWICE),
        _case("group_norm, k2 as loss", replace(bounded, kl=KL(0.01, "k2", bound=10.0)), *in_loss, "k2"),
        _case("group_norm, k3 as loss, unbiased_gradient", bounded, *in_loss, "k3", "--algo.kl.unbiased_gradient",
              usual=replace(USUAL, formula=k3_with_unbiased_gradient)),
        _case("group_norm, k3 as loss, seq-mean-token-mean", averaged, *in_loss, "k3", "--actor.loss_agg_mode",
              "seq-mean-token-mean", usual=replace(USUAL, formula=penalty_by_tokens)),
    ]  # fmt: skip


def _others() -> list[Case]:
    base = (*GROUPS, *NO_KL)
    level = "--algo.advantage.is_correction_level"
    masked = replace(WITHOUT, correction=RejectMismatch(0.5, 5.0))
    return [
        _case("group_norm, seq-mean-token-mean", replace(WITHOUT, aggregation=SequenceMean()), *base,
              "--actor.loss_agg_mode", "seq-mean-token-mean", usual=replace(USUAL, formula=lengths_with_more)),
        _case("group_norm, dual_clip=3", replace(WITHOUT, objective=ClippedRatio(0.2, 0.2, dual=3.0)), *base,
              "--actor.dual_clip", "3"),
        _case("group_norm, entropy_coef=0.01", replace(WITHOUT, entropy=Entropy(0.01)), *base, "--actor.entropy_coef",
              "0.01"),
        _case("group_norm, is_correction_level=token", masked, *base, level, "token"),
        _case("group_norm, is_correction_level=seq", masked, *base, level, "seq",
              usual=replace(USUAL, formula=gated_by_sequence)),
    ]  # fmt: skip
