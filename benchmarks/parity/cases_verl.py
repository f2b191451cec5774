"""verl's rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from case import Case, alone, from_sampler, on_policy
from explained import k3_with_gradient_of_k2, lengths_with_more, raw_where_alone, whitened_by_counts
from their_verl import verl_

from groupwise import recipes
from groupwise.algorithm import (
    GAE,
    KL,
    Algorithm,
    ClippedRatio,
    ConstantLength,
    DivergenceMask,
    Entropy,
    GroupRelative,
    SequenceMean,
    SequenceSum,
    TruncateMismatch,
)
from groupwise.recipes import verl_0_9, verl_0_9_ppo

ACTOR, CORRECT = "actor_rollout_ref.actor", "algorithm.rollout_correction"
GROUPS = ("algorithm.adv_estimator=grpo",)
USUAL = Case("verl", "", verl_, verl_0_9)
WHITE = replace(USUAL, formula=whitened_by_counts)


def _case(name: str, algorithm: Algorithm, *overrides: str, usual: Case = USUAL) -> Case:
    theirs = partial(verl_, overrides=overrides, updates=usual.updates)
    return replace(usual, name=name, theirs=theirs, algorithm=algorithm)


def verl_cases(longest: int) -> list[Case]:
    return [*_critics(), *_groups(longest), *_divergences(longest), *_penalties(), *_corrections()]


def _critics() -> list[Case]:
    in_reward = replace(verl_0_9_ppo, kl=KL(0.001, "k1", place="reward"))
    return [
        _case("defaults (gae)", verl_0_9_ppo, usual=replace(WHITE, preset="verl_0_9_ppo")),
        _case("gae, two updates a draw", verl_0_9_ppo, usual=replace(WHITE, updates=2)),
        _case("gae, use_kl_in_reward", in_reward, "algorithm.use_kl_in_reward=true", usual=WHITE),
        _case("gae, gamma=0.99, lam=0.95", replace(verl_0_9_ppo, advantage=GAE(0.99, 0.95)), "algorithm.gamma=0.99",
              "algorithm.lam=0.95", usual=WHITE),
    ]  # fmt: skip


def _groups(longest: int) -> list[Case]:
    mode = f"{ACTOR}.loss_agg_mode"
    sequences, sums = replace(verl_0_9, aggregation=SequenceMean()), replace(verl_0_9, aggregation=SequenceSum())
    constant = replace(verl_0_9, aggregation=ConstantLength(longest))
    higher = replace(verl_0_9, objective=ClippedRatio(0.2, 0.28, dual=10.0))
    more, raw = replace(USUAL, formula=lengths_with_more), replace(USUAL, formula=raw_where_alone, changed=alone)
    return [
        _case("grpo", verl_0_9, *GROUPS, usual=replace(USUAL, preset="verl_0_9")),
        _case("grpo, on-policy", verl_0_9, *GROUPS, usual=replace(USUAL, changed=on_policy)),
        _case("grpo, two updates a draw", verl_0_9, *GROUPS, usual=replace(USUAL, updates=2)),
        _case("grpo, seq-mean-token-mean", sequences, *GROUPS, f"{mode}=seq-mean-token-mean", usual=more),
        _case("grpo, seq-mean-token-sum", sums, *GROUPS, f"{mode}=seq-mean-token-sum"),
        _case("grpo, seq-mean-token-sum-norm", constant, *GROUPS, f"{mode}=seq-mean-token-sum-norm"),
        _case("grpo, norm_adv_by_std_in_grpo=false", replace(verl_0_9, advantage=GroupRelative("none")), *GROUPS,
              "algorithm.norm_adv_by_std_in_grpo=false"),
        _case("grpo, clip_ratio_high=0.28, clip_ratio_c=10", higher, *GROUPS, f"{ACTOR}.clip_ratio_high=0.28",
              f"{ACTOR}.clip_ratio_c=10"),
        _case("grpo, n=1", verl_0_9, *GROUPS, usual=raw),
    ]  # fmt: skip


def _divergences(longest: int) -> list[Case]:
    """From what the sampler reported, as with rollout_correction.bypass_mode; the last two are the authors' script."""
    loss, bypass = f"{ACTOR}.policy_loss.loss_mode", replace(USUAL, changed=from_sampler)
    ours = replace(verl_0_9, objective=DivergenceMask(low=0.2, high=0.2, cap=3.0))
    theirs = (*GROUPS, f"{ACTOR}.loss_agg_mode=seq-mean-token-sum-norm", f"{ACTOR}.clip_ratio_c=10000",
              "algorithm.norm_adv_by_std_in_grpo=false")  # fmt: skip

    def delta(value: float) -> list[str]:
        return [f"{ACTOR}.{name}={value}" for name in ("clip_ratio", "clip_ratio_low", "clip_ratio_high")]

    authors = replace(verl_0_9, advantage=GroupRelative("none"), aggregation=ConstantLength(longest))
    total, nats = (replace(authors, objective=recipe.objective) for recipe in (recipes.dppo, recipes.dppo_kl))
    return [
        _case("grpo, loss_mode=dppo_tv", ours, *GROUPS, f"{loss}=dppo_tv", usual=bypass),
        _case("grpo, loss_mode=dppo_kl", replace(ours, objective=DivergenceMask("kl", 0.2, 0.2, 3.0)), *GROUPS,
              f"{loss}=dppo_kl", usual=bypass),
        _case("grpo, loss_mode=dppo_tv, delta 0.15", total, *theirs, f"{loss}=dppo_tv", *delta(0.15), usual=bypass),
        _case("grpo, loss_mode=dppo_kl, delta 0.05", nats, *theirs, f"{loss}=dppo_kl", *delta(0.05), usual=bypass),
    ]  # fmt: skip


def _penalties() -> list[Case]:
    in_loss = f"{ACTOR}.use_kl_loss=true"
    bounded = replace(verl_0_9, kl=replace(verl_0_9.kl, coefficient=0.001))
    straight = replace(USUAL, formula=k3_with_gradient_of_k2)
    return [
        _case("grpo, use_kl_loss", bounded, *GROUPS, in_loss),
        _case("grpo, use_kl_loss, two updates a draw", bounded, *GROUPS, in_loss, usual=replace(USUAL, updates=2)),
        _case("grpo, use_kl_loss, k2", replace(verl_0_9, kl=KL(0.001, "k2")), *GROUPS, in_loss,
              f"{ACTOR}.kl_loss_type=k2"),
        _case("grpo, use_kl_loss, k3+", bounded, *GROUPS, in_loss, f"{ACTOR}.kl_loss_type=k3+", usual=straight),
        _case("grpo, use_kl_in_reward", replace(verl_0_9, kl=KL(0.001, "k1", place="reward")), *GROUPS,
              "algorithm.use_kl_in_reward=true"),
        _case("grpo, entropy_coeff=0.01", replace(verl_0_9, entropy=Entropy(0.01)), *GROUPS,
              f"{ACTOR}.entropy_coeff=0.01"),
    ]  # fmt: skip


def _corrections() -> list[Case]:
    return [
        _case("grpo, rollout_is=token", replace(verl_0_9, correction=TruncateMismatch(2.0)), *GROUPS,
              f"{CORRECT}.rollout_is=token"),
        _case("grpo, rollout_is=sequence", replace(verl_0_9, correction=TruncateMismatch(2.0, "sequence")), *GROUPS,
              f"{CORRECT}.rollout_is=sequence"),
    ]  # fmt: skip
