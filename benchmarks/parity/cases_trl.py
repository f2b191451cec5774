"""TRL's rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from case import Case, on_policy, taught
from explained import average_count, bonus_by_tokens, means_of_halves, sequence_weighted
from their_trl import sdft, trl

from groupwise import recipes
from groupwise.algorithm import (
    Algorithm,
    ClippedRatio,
    ClippedSequenceRatio,
    ClippedWeight,
    ConstantLength,
    Entropy,
    GammaWeight,
    GroupRelative,
    LogLikelihood,
    RejectMismatch,
    SequenceMean,
    SequenceSum,
    SoftGate,
    TeacherGap,
    TruncateMismatch,
)
from groupwise.recipes import trl_1_16

USUAL = Case("TRL", "", trl, trl_1_16)
TWICE = replace(USUAL, updates=2)
SEQUENCES = replace(trl_1_16, aggregation=SequenceMean())
SEQUENCE_RATIO = replace(trl_1_16, objective=ClippedSequenceRatio(3e-4, 4e-4))


def _case(name: str, algorithm: Algorithm, usual: Case = USUAL, **options: object) -> Case:
    theirs = partial(trl, updates=usual.updates, **options)  # type: ignore[arg-type]
    return replace(usual, name=name, theirs=theirs, algorithm=algorithm)


def trl_cases() -> list[Case]:
    return [*_defaults(), *_losses(), *_penalties(), *_others()]


def _defaults() -> list[Case]:
    mask = replace(trl_1_16, correction=RejectMismatch(0.0, 3.0, "sequence"))
    return [
        _case("GRPOConfig()", trl_1_16, replace(USUAL, changed=on_policy, preset="trl_1_16"), num_iterations=1),
        _case("num_iterations=2", trl_1_16, replace(USUAL, preset="trl_1_16")),
        _case("two micro-batches", trl_1_16, accumulation=2),
        _case("two updates a draw", trl_1_16, replace(TWICE, formula=average_count)),
        _case("two updates a draw, loss_type=grpo", SEQUENCES, TWICE, loss_type="grpo"),
        _case("use_vllm", mask, sampler=True),
        _case("use_vllm, sequence_truncate", replace(trl_1_16, correction=TruncateMismatch(3.0, "sequence")),
              sampler=True, vllm_importance_sampling_mode="sequence_truncate"),
        _case("use_vllm, token_truncate", replace(trl_1_16, correction=TruncateMismatch(3.0)),
              sampler=True, vllm_importance_sampling_mode="token_truncate"),
        _case("use_vllm, token_mask", replace(trl_1_16, correction=RejectMismatch(0.0, 3.0)),
              sampler=True, vllm_importance_sampling_mode="token_mask"),
    ]  # fmt: skip


def _losses() -> list[Case]:
    gate = replace(trl_1_16, objective=SoftGate(), aggregation=SequenceMean())
    constant = replace(trl_1_16, aggregation=ConstantLength(512))
    weight = replace(trl_1_16, objective=ClippedWeight(high=4.0))
    sums = replace(SEQUENCE_RATIO, aggregation=SequenceSum())
    halves = replace(USUAL, formula=means_of_halves)
    return [
        _case("loss_type=grpo", SEQUENCES, loss_type="grpo"),
        _case("loss_type=dr_grpo", constant, loss_type="dr_grpo"),
        _case("loss_type=bnpo", trl_1_16, loss_type="bnpo"),
        _case("loss_type=bnpo, two micro-batches", trl_1_16, halves, loss_type="bnpo", accumulation=2),
        _case("loss_type=cispo, epsilon_high=5", weight, loss_type="cispo", epsilon_high=5.0),
        _case("loss_type=sapo", gate, loss_type="sapo"),
        _case("loss_type=luspo, sequence level", sums, loss_type="luspo", importance_sampling_level="sequence",
              epsilon=3e-4, epsilon_high=4e-4),
        _case("loss_type=luspo, sequence level, epsilon=2e-3, epsilon_high=2.5e-3",
              replace(sums, objective=recipes.luspo.objective), loss_type="luspo",
              importance_sampling_level="sequence", epsilon=2e-3, epsilon_high=2.5e-3),
        _case("loss_type=vespo", replace(trl_1_16, objective=GammaWeight()), loss_type="vespo"),
        _case("loss_type=vespo, scale_rewards=none", replace(trl_1_16, advantage=recipes.vespo.advantage,
              objective=recipes.vespo.objective), loss_type="vespo", scale_rewards="none"),
        _case("loss_type=vespo, two updates a draw", replace(trl_1_16, objective=GammaWeight(1.5, 2.0, 2.5, 1.0)),
              replace(TWICE, formula=average_count), loss_type="vespo", vespo_k_pos=1.5, vespo_lambda_pos=2.0,
              vespo_k_neg=2.5, vespo_lambda_neg=1.0),
        _case("loss_type=grpo, sequence level", replace(SEQUENCE_RATIO, aggregation=SequenceMean()), loss_type="grpo",
              importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4),
        _case("delta=1.5, epsilon_high=0.28", replace(trl_1_16, objective=ClippedRatio(0.2, 0.28, ceiling=1.5)),
              delta=1.5, epsilon_high=0.28),
    ]  # fmt: skip


def _penalties() -> list[Case]:
    live = replace(trl_1_16, kl=replace(trl_1_16.kl, coefficient=0.04))
    plain = replace(live, kl=replace(live.kl, weight="none"))
    by_sequence = replace(USUAL, formula=sequence_weighted)
    bonus = replace(trl_1_16, entropy=Entropy(0.01))
    return [
        _case("beta=0.04", live, beta=0.04),
        _case("beta=0.04, two micro-batches", live, beta=0.04, accumulation=2),
        _case("beta=0.04, use_bias_correction_kl=False", plain, beta=0.04, use_bias_correction_kl=False),
        _case("beta=0.04, sequence level", replace(live, objective=SEQUENCE_RATIO.objective), by_sequence, beta=0.04,
              importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4),
        _case("entropy_coef=0.01", bonus, entropy_coef=0.01),
        _case("entropy_coef=0.01, loss_type=grpo", replace(bonus, aggregation=SequenceMean()),
              replace(USUAL, formula=bonus_by_tokens), entropy_coef=0.01, loss_type="grpo"),
    ]  # fmt: skip


def _others() -> list[Case]:
    filtered = replace(trl_1_16, truncated="mask")
    teacher = replace(SEQUENCES, advantage=TeacherGap(), objective=LogLikelihood())
    return [
        Case("TRL", "SDFTConfig(distillation_mode=sampled_token)", sdft, teacher, changed=taught),
        _case("mask_truncated_completions", filtered, mask_truncated_completions=True),
        _case("mask_truncated_completions, loss_type=grpo", replace(filtered, aggregation=SequenceMean()),
              mask_truncated_completions=True, loss_type="grpo"),
        _case("scale_rewards=none", replace(trl_1_16, advantage=GroupRelative("none")), scale_rewards="none"),
        _case("scale_rewards=batch", replace(trl_1_16, advantage=GroupRelative("batch", epsilon=1e-4)),
              scale_rewards="batch"),
    ]  # fmt: skip
