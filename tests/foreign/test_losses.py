"""The loss of a converted script is its own system's: slot for slot what docs/parity.md compares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from groupwise import recipes
from groupwise.algorithm import (
    GAE,
    KL,
    Algorithm,
    BradleyTerry,
    ClippedGeometricMean,
    ClippedRatio,
    ClippedSequenceRatio,
    ClippedWeight,
    ConstantLength,
    DivergenceMask,
    Entropy,
    GammaWeight,
    GroupRelative,
    LogLikelihood,
    NormalisedRewards,
    OffPolicySequenceMask,
    PreferenceMargin,
    RewardToGo,
    SequenceMean,
    SequenceSum,
    SoftGate,
    TokenMean,
    TruncateMismatch,
    Whitening,
)
from groupwise.errors import UserError
from groupwise.foreign.reading import read

TRL = recipes.trl_1_16
SEQUENCE = ClippedSequenceRatio(3e-4, 4e-4)
LEVEL = "--importance_sampling_level sequence --epsilon 3e-4 --epsilon_high 4e-4"


def same(found: Algorithm, wanted: Algorithm) -> None:
    assert replace(found, source=wanted.source) == wanted


def test_nothing_set_is_the_preset_with_its_run_defaults(made) -> None:
    run, _ = made("trl", "grpo", "--reward_funcs", "accuracy_reward")
    same(run.stages[0].algorithm, TRL)
    assert run.stages[0].algorithm.source == TRL.source
    from groupwise.recipes.trl_1_16 import run_defaults

    numbers = {**vars(run.stages[0]), **vars(run.learner)}
    assert {name: numbers[name] for name in run_defaults} == run_defaults


@pytest.mark.parametrize(
    ("flags", "slots"),
    [
        ("--loss_type grpo", {"aggregation": SequenceMean()}),
        ("--loss_type bnpo", {}),
        ("--loss_type dr_grpo --max_completion_length 64", {"aggregation": ConstantLength(64)}),
        ("--loss_type cispo --epsilon_high 5.0", {"objective": ClippedWeight(high=4.0)}),
        ("--loss_type sapo", {"objective": SoftGate(), "aggregation": SequenceMean()}),
        (f"--loss_type luspo {LEVEL}", {"objective": SEQUENCE, "aggregation": SequenceSum()}),
        ("--loss_type vespo", {"objective": GammaWeight()}),
        (
            "--loss_type vespo --vespo_k_pos 1.5 --vespo_lambda_pos 2.5 --vespo_k_neg 4 --vespo_lambda_neg 0.5",
            {"objective": GammaWeight(1.5, 2.5, 4.0, 0.5)},
        ),
        (f"--loss_type grpo {LEVEL}", {"objective": SEQUENCE, "aggregation": SequenceMean()}),
        ("--delta 1.5 --epsilon_high 0.28", {"objective": ClippedRatio(0.2, 0.28, ceiling=1.5)}),
        ("--epsilon 0.1", {"objective": ClippedRatio(0.1, 0.1)}),
        ("--beta 0.04", {"kl": KL(0.04, weight="live")}),
        ("--beta 0.04 --use_bias_correction_kl false", {"kl": KL(0.04)}),
        ("--entropy_coef 0.01", {"entropy": Entropy(0.01)}),
        ("--use_adaptive_entropy true --entropy_target 0.3", {"entropy": Entropy(0.0, target=0.3, rate=0.005)}),
        ("--mask_truncated_completions true", {"truncated": "mask"}),
        ("--scale_rewards none", {"advantage": GroupRelative("none")}),
        ("--scale_rewards false", {"advantage": GroupRelative("none")}),
        ("--scale_rewards batch", {"advantage": GroupRelative("batch", epsilon=1e-4)}),
        ("--multi_objective_aggregation normalize_then_sum", {"advantage": NormalisedRewards(epsilon=1e-4)}),
        ("--off_policy_mask_threshold 0.5", {"correction": OffPolicySequenceMask(0.5)}),
    ],
)
def test_grpo_of_trl(made, flags: str, slots: dict) -> None:
    run, _ = made("trl", "grpo", "--reward_funcs", "accuracy_reward", *flags.split())
    same(run.stages[0].algorithm, replace(TRL, **slots))


@pytest.mark.parametrize(
    ("trainer", "flags", "wanted"),
    [
        ("rloo", "--beta 0.05", replace(recipes.rloo, objective=ClippedSequenceRatio(0.2, 0.2, length="sum"),
            aggregation=SequenceMean(), kl=KL(0.05, "k1", place="reward"))),
        ("dpo", "", recipes.dpo),
        ("dpo", "--beta 0.3 --loss_type sigmoid_norm", replace(recipes.dpo, objective=PreferenceMargin(0.3, True))),
        ("sft", "", replace(recipes.sft, aggregation=TokenMean())),
        ("reward", "", recipes.reward_model),
        ("reward", "--center_rewards_coefficient 0.01", replace(recipes.reward_model, objective=BradleyTerry(centring=0.01))),
    ],
)  # fmt: skip
def test_other_trainers_of_trl(made, trainer: str, flags: str, wanted: Algorithm) -> None:
    run, _ = made("trl", trainer, "--dataset_name", "x", *flags.split())
    same(run.stages[0].algorithm, wanted)


ACTOR = "actor_rollout_ref.actor"
PPO, VERL = recipes.verl_0_9_ppo, recipes.verl_0_9
WHITE = Whitening("tokens", ddof=1, epsilon=1e-8)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ("", PPO),
        ("algorithm.gamma=0.99 algorithm.lam=0.95", replace(PPO, advantage=GAE(0.99, 0.95))),
        ("algorithm.use_kl_in_reward=true", replace(PPO, kl=KL(0.001, "k1", place="reward"))),
        ("algorithm.adv_estimator=grpo", VERL),
        (f"algorithm.adv_estimator=grpo {ACTOR}.loss_agg_mode=seq-mean-token-mean", replace(VERL, aggregation=SequenceMean())),
        (f"algorithm.adv_estimator=grpo {ACTOR}.loss_agg_mode=seq-mean-token-sum", replace(VERL, aggregation=SequenceSum())),
        (f"algorithm.adv_estimator=grpo {ACTOR}.loss_agg_mode=seq-mean-token-sum-norm data.max_response_length=99",
            replace(VERL, aggregation=ConstantLength(99))),
        ("algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=false", replace(VERL, advantage=GroupRelative("none"))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.clip_ratio_high=0.28 {ACTOR}.clip_ratio_c=10",
            replace(VERL, objective=ClippedRatio(0.2, 0.28, dual=10.0))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.use_kl_loss=true", replace(VERL, kl=KL(0.001, bound=10.0))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.use_kl_loss=true {ACTOR}.kl_loss_type=k2", replace(VERL, kl=KL(0.001, "k2"))),
        ("algorithm.adv_estimator=grpo algorithm.use_kl_in_reward=true", replace(VERL, kl=KL(0.001, "k1", place="reward"))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.entropy_coeff=0.01", replace(VERL, entropy=Entropy(0.01))),
        ("algorithm.adv_estimator=grpo algorithm.rollout_correction.rollout_is=token", replace(VERL, correction=TruncateMismatch(2.0))),
        ("algorithm.adv_estimator=grpo algorithm.rollout_correction.rollout_is=sequence",
            replace(VERL, correction=TruncateMismatch(2.0, "sequence"))),
        ("algorithm.adv_estimator=rloo", replace(VERL, advantage=GroupRelative("none", baseline="others"))),
        ("algorithm.adv_estimator=reinforce_plus_plus", replace(VERL, advantage=RewardToGo(), whitening=WHITE)),
        ("algorithm.adv_estimator=reinforce_plus_plus_baseline", replace(VERL, advantage=GroupRelative("none"), whitening=WHITE)),
        ("algorithm.adv_estimator=remax", replace(VERL, advantage=RewardToGo(baseline="greedy"))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=gspo {ACTOR}.clip_ratio_low=3e-4 {ACTOR}.clip_ratio_high=4e-4",
            replace(VERL, objective=ClippedSequenceRatio(3e-4, 4e-4, gradient="token"))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=sapo", replace(VERL, objective=SoftGate(), aggregation=SequenceMean())),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=cispo", replace(VERL, objective=ClippedWeight(0.2, 0.2))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=geo_mean {ACTOR}.clip_ratio=0.4",
            replace(VERL, objective=ClippedGeometricMean(0.4), aggregation=SequenceMean())),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=gpg", replace(VERL, objective=LogLikelihood())),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=dppo_tv", replace(VERL, objective=DivergenceMask("tv", 0.2, 0.2, 3.0))),
        (f"algorithm.adv_estimator=grpo {ACTOR}.policy_loss.loss_mode=dppo_kl {ACTOR}.clip_ratio_low=0.05 {ACTOR}.clip_ratio_high=0.1 {ACTOR}.clip_ratio_c=20",
            replace(VERL, objective=DivergenceMask("kl", 0.05, 0.1, 20.0))),
    ],
)  # fmt: skip
def test_verl(made, overrides: str, wanted: Algorithm) -> None:
    run, _ = made("data.train_files=x.parquet", "actor_rollout_ref.rollout.n=4", *overrides.split())
    same(run.stages[0].algorithm, wanted)


GROUPS, HRLF_PPO = recipes.openrlhf_0_11, recipes.openrlhf_0_11_ppo
WITHOUT = replace(GROUPS, kl=KL(0.0))
DDOF_0 = Whitening("tokens", ddof=0, epsilon=0.0)
NORM = "--algo.advantage.estimator group_norm"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("", HRLF_PPO),
        (NORM, GROUPS),
        ("--advantage_estimator group_norm", GROUPS),
        ("--algo.advantage.estimator reinforce", replace(HRLF_PPO, advantage=RewardToGo(), critic=GROUPS.critic)),
        ("--algo.advantage.estimator reinforce_baseline", replace(GROUPS, advantage=GroupRelative("none"), whitening=DDOF_0)),
        ("--algo.advantage.estimator rloo", replace(GROUPS, advantage=GroupRelative("none", baseline="others"))),
        ("--algo.advantage.estimator dr_grpo", replace(GROUPS, advantage=GroupRelative("none"))),
        (f"{NORM} --algo.kl.init_coef 0", WITHOUT),
        (f"{NORM} --algo.kl.use_loss --algo.kl.estimator k3", replace(GROUPS, kl=KL(0.01, bound=10.0))),
        (f"{NORM} --algo.kl.use_loss --algo.kl.estimator k2", replace(GROUPS, kl=KL(0.01, "k2", bound=10.0))),
        (f"{NORM} --algo.kl.init_coef 0 --actor.dual_clip 3", replace(WITHOUT, objective=ClippedRatio(0.2, 0.2, dual=3.0))),
        (f"{NORM} --algo.kl.init_coef 0 --actor.loss_agg_mode seq-mean-token-mean", replace(WITHOUT, aggregation=SequenceMean())),
        (f"{NORM} --algo.kl.init_coef 0 --actor.entropy_coef 0.01", replace(WITHOUT, entropy=Entropy(0.01))),
        (f"{NORM} --actor.eps_clip_low_high 0.2 0.28", replace(GROUPS, objective=ClippedRatio(0.2, 0.28))),
    ],
)  # fmt: skip
def test_openrlhf(made, flags: str, wanted: Algorithm) -> None:
    run, _ = made(
        *[
            "python",
            "-m",
            "openrlhf.cli.train_ppo_ray",
            "--data.prompt_dataset",
            "x",
            "--rollout.n_samples_per_prompt",
            "8",
        ],
        *flags.split(),
    )
    same(run.stages[0].algorithm, wanted)


@pytest.mark.parametrize(
    "words",
    [
        "trl grpo --loss_type vespo --importance_sampling_level sequence",
        "trl grpo --loss_type cispo --importance_sampling_level sequence",
        "trl grpo --delta 2.0 --importance_sampling_level sequence",
        "trl grpo --top_entropy_quantile 0.2",
        "trl dpo --loss_type ipo",
        "trl dpo --loss_type sigmoid sft",
        "trl dpo --label_smoothing 0.1",
        "trl dpo --f_divergence_type js_divergence",
        "trl sft --loss_type dft",
        "data.train_files=x algorithm.adv_estimator=opo",
        "data.train_files=x actor_rollout_ref.actor.policy_loss.loss_mode=clip_cov",
        "data.train_files=x actor_rollout_ref.actor.use_kl_loss=true actor_rollout_ref.actor.kl_loss_type=abs",
        "data.train_files=x actor_rollout_ref.actor.use_kl_loss=true algorithm.use_kl_in_reward=true",
        "python -m openrlhf.cli.train_ppo_ray --algo.advantage.estimator flash_reinforce",
        "python -m openrlhf.cli.train_dpo --model.ipo_enable",
    ],
)
def test_another_loss_is_refused_and_never_replaced(words: str) -> None:
    from groupwise.foreign.convert import convert

    with pytest.raises(UserError, match="is a loss that there is no method for"):
        convert(read(words.split()), "recipe", "it")
