"""This module knows values of other systems' options that choose a formula, and what each is here: slots of an
algorithm, as Python."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, in_order, section, value

GSPO = "objective=ClippedSequenceRatio(3e-4, 4e-4)"

TRL_VALUES = section(
    "TRL",
    "Values",
    value("loss_type", "dapo", "aggregation=TokenMean()", "the default; with several updates a draw TRL divides each by the draw's mean", "GRPO"),
    value("loss_type", "bnpo", "aggregation=TokenMean()", "TRL averages the means of micro-batches; here their split has no influence", "GRPO"),
    value("loss_type", "grpo", "aggregation=SequenceMean()", "", "GRPO"),
    value("loss_type", "dr_grpo", "aggregation=ConstantLength(512)", "the constant is max_completion_length", "GRPO"),
    value("loss_type", "cispo", "objective=ClippedWeight(low=1.0, high=4.0), aggregation=TokenMean()", "high is epsilon_high - 1", "GRPO"),
    value("loss_type", "sapo", "objective=SoftGate(1.0, 1.05), aggregation=SequenceMean()", "", "GRPO"),
    value("loss_type", "luspo", "objective=ClippedSequenceRatio(3e-4, 4e-4), aggregation=SequenceSum()", "with importance_sampling_level=sequence", "GRPO"),
    value("loss_type", "vespo", "objective=GammaWeight(2.0, 3.0, 3.0, 2.0), aggregation=TokenMean()", "with vLLM TRL weighs the kernel's ratio by the sampler's too; here that is the correction's", "GRPO"),
    value("loss_type", "sigmoid", "objective=PreferenceMargin(0.1)", "", "DPO"),
    value("loss_type", "sigmoid_norm", "objective=PreferenceMargin(0.1, length_normalised=True)", "", "DPO"),
    value("loss_type", "ipo", "", "of DPO's losses there are sigmoid and sigmoid_norm", "DPO"),
    value("loss_type", "hinge", "", "of DPO's losses there are sigmoid and sigmoid_norm", "DPO"),
    value("loss_type", "nll", "objective=LogLikelihood(), aggregation=TokenMean()", "", "SFT"),
    value("importance_sampling_level", "token", "objective=ClippedRatio(0.2, 0.2)", "the default"),
    value("importance_sampling_level", "sequence", GSPO, "with epsilon 3e-4 and epsilon_high 4e-4 as the paper has them"),
    value("scale_rewards", "group", "advantage=GroupRelative(epsilon=1e-4)", "the default"),
    value("scale_rewards", "batch", "advantage=GroupRelative('batch', epsilon=1e-4)"),
    value("scale_rewards", "none", "advantage=GroupRelative('none')"),
    value("multi_objective_aggregation", "normalize_then_sum", "advantage=NormalisedRewards()"),
    value("vllm_importance_sampling_mode", "sequence_mask", "correction=RejectMismatch(0.0, 3.0, 'sequence')"),
    value("vllm_importance_sampling_mode", "token_mask", "correction=RejectMismatch(0.0, 3.0, 'token')"),
    value("vllm_importance_sampling_mode", "sequence_truncate", "correction=TruncateMismatch(3.0, 'sequence')"),
    value("vllm_importance_sampling_mode", "token_truncate", "correction=TruncateMismatch(3.0, 'token')"),
)  # fmt: skip

ESTIMATOR = "algorithm.adv_estimator"
MODE = "actor_rollout_ref.actor.policy_loss.loss_mode"
MEAN = "actor_rollout_ref.actor.loss_agg_mode"
KL_TYPE = "actor_rollout_ref.actor.kl_loss_type"
WHITE = "whitening=Whitening('tokens', ddof=1, epsilon=1e-8)"

VERL_VALUES = section(
    "verl",
    "Values",
    value(ESTIMATOR, "grpo", "advantage=GroupRelative(epsilon=1e-6)", "the method verl_0_9"),
    value(ESTIMATOR, "gae", "advantage=GAE(gamma=1.0, lam=1.0), critic=Critic('own', 1.0, 0.5), " + WHITE, "the method verl_0_9_ppo, and the default"),
    value(ESTIMATOR, "rloo", "advantage=GroupRelative('none', baseline='others')"),
    value(ESTIMATOR, "reinforce_plus_plus", "advantage=RewardToGo(), " + WHITE),
    value(ESTIMATOR, "reinforce_plus_plus_baseline", "advantage=GroupRelative('none'), " + WHITE),
    value(ESTIMATOR, "remax", "advantage=RewardToGo(baseline='greedy'), source=OnPolicy(group_size=1, greedy_baseline=True)"),
    value(ESTIMATOR, "gdpo", "advantage=NormalisedRewards()", "the method gdpo"),
    value(ESTIMATOR, "opo", "", "a baseline weighted by length isn't among the advantages"),
    value(ESTIMATOR, "grpo_passk", "", "an advantage for the best completion alone isn't among the advantages"),
    value(ESTIMATOR, "gpg", "", "GPG's scale of groups isn't among the advantages"),
    value(ESTIMATOR, "optimal_token_baseline", "", "a baseline by squared probabilities isn't among the advantages"),
    value(MODE, "vanilla", "objective=ClippedRatio(0.2, 0.2, dual=3.0)", "the default"),
    value(MODE, "gspo", "objective=ClippedSequenceRatio(3e-4, 4e-4, gradient='token')"),
    value(MODE, "sapo", "objective=SoftGate(1.0, 1.05), aggregation=SequenceMean()"),
    value(MODE, "cispo", "objective=ClippedWeight(low=0.2, high=0.2)"),
    value(MODE, "geo_mean", "objective=ClippedGeometricMean(0.4), aggregation=SequenceMean()", "its one bound is clip_ratio_low, which must equal clip_ratio_high"),
    value(MODE, "gpg", "objective=LogLikelihood()"),
    value(MODE, "clip_cov", "", "a clip by covariance isn't among the objectives"),
    value(MODE, "kl_cov", "", "a penalty by covariance isn't among the objectives"),
    value(MODE, "dppo_tv", "objective=DivergenceMask('tv', 0.2, 0.2, cap=3.0)", "from what the sampler reported, as with bypass_mode"),
    value(MODE, "dppo_kl", "objective=DivergenceMask('kl', 0.2, 0.2, cap=3.0)", "from what the sampler reported, as with bypass_mode"),
    value(MODE, "dro", "", "DRO isn't among the objectives"),
    value(MEAN, "token-mean", "aggregation=TokenMean()", "the default"),
    value(MEAN, "seq-mean-token-mean", "aggregation=SequenceMean()"),
    value(MEAN, "seq-mean-token-sum", "aggregation=SequenceSum()"),
    value(MEAN, "seq-mean-token-sum-norm", "aggregation=ConstantLength(512)", "the constant is loss_scale_factor, or else max_response_length"),
    value(KL_TYPE, "low_var_kl", "kl=KL(0.001, 'k3', bound=10.0)", "the default, also called k3"),
    value(KL_TYPE, "k3", "kl=KL(0.001, 'k3', bound=10.0)"),
    value(KL_TYPE, "k3+", "kl=KL(0.001, 'k2')", "the gradient is that of k2, the value shown is another"),
    value(KL_TYPE, "mse", "kl=KL(0.001, 'k2')", "also called k2"),
    value(KL_TYPE, "k2", "kl=KL(0.001, 'k2')"),
    value(KL_TYPE, "full", "kl=KL(0.001, 'exact')"),
    value(KL_TYPE, "kl", "", "k1 as a loss has no gradient in expectation"),
    value(KL_TYPE, "k1", "", "k1 as a loss has no gradient in expectation"),
    value(KL_TYPE, "abs", "", "|log ratio| isn't among the estimators"),
    value("algorithm.rollout_correction.rollout_is", "token", "correction=TruncateMismatch(2.0)"),
    value("algorithm.rollout_correction.rollout_is", "sequence", "correction=TruncateMismatch(2.0, 'sequence')"),
)  # fmt: skip

ADVANTAGE = "algo.advantage.estimator advantage_estimator"
DDOF_0 = "whitening=Whitening('tokens', ddof=0, epsilon=0.0)"

OPENRLHF_VALUES = section(
    "OpenRLHF",
    "Values",
    value(ADVANTAGE, "gae", "advantage=GAE(gamma=1.0, lam=1.0), critic=Critic('own', 1.0, 0.5), " + DDOF_0, "the method openrlhf_0_11_ppo, and the default"),
    value(ADVANTAGE, "group_norm", "advantage=GroupRelative(epsilon=1e-9)", "the method openrlhf_0_11"),
    value(ADVANTAGE, "dr_grpo", "advantage=GroupRelative('none')"),
    value(ADVANTAGE, "rloo", "advantage=GroupRelative('none', baseline='others')"),
    value(ADVANTAGE, "reinforce_baseline", "advantage=GroupRelative('none'), " + DDOF_0),
    value(ADVANTAGE, "reinforce", "advantage=RewardToGo(), " + DDOF_0),
    value(ADVANTAGE, "flash_reinforce", "", "the mean of the whole draw as a baseline isn't among the advantages"),
    value("actor.policy_loss_type policy_loss_type", "ppo", "objective=ClippedRatio(0.2, 0.2)", "the default"),
    value("actor.policy_loss_type policy_loss_type", "gspo", GSPO + ", aggregation=SequenceMean()"),
    value("actor.loss_agg_mode", "token-mean", "aggregation=TokenMean()", "the default"),
    value("actor.loss_agg_mode", "seq-mean-token-mean", "aggregation=SequenceMean()"),
)  # fmt: skip

VALUES: tuple[Entry, ...] = in_order((TRL_VALUES, VERL_VALUES, OPENRLHF_VALUES))
