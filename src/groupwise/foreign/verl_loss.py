"""This module has verl's losses as slots of an algorithm. What cannot be said is refused: it would be another loss."""

from __future__ import annotations

from groupwise.errors import UserError
from groupwise.foreign.draft import Draft, shown
from groupwise.foreign.script import Script

A = "actor_rollout_ref.actor"
WHITE = "Whitening('tokens', ddof=1, epsilon=1e-8)"
CORRECTION = "algorithm.rollout_correction"
ESTIMATORS = {
    "grpo": {"advantage": "GroupRelative(epsilon=1e-6)"},
    "grpo_vectorized": {"advantage": "GroupRelative(epsilon=1e-6)"},
    "gae": {},
    "rloo": {"advantage": "GroupRelative('none', baseline='others')"},
    "rloo_vectorized": {"advantage": "GroupRelative('none', baseline='others')"},
    "reinforce_plus_plus": {"advantage": "RewardToGo({gamma})", "whitening": WHITE},
    "reinforce_plus_plus_baseline": {"advantage": "GroupRelative('none')", "whitening": WHITE},
    "remax": {"advantage": "RewardToGo(baseline='greedy')"},
    "gdpo": {"advantage": "NormalisedRewards(epsilon=1e-6)", "whitening": ""},
}
MODES = ("vanilla", "gspo", "sapo", "cispo", "geo_mean", "gpg", "dppo_tv", "dppo_kl")
MEANS = {
    "token-mean": "TokenMean()",
    "seq-mean-token-mean": "SequenceMean()",
    "seq-mean-token-sum": "SequenceSum()",
    "seq-mean-token-sum-norm": "ConstantLength({length})",
}
ESTIMATES = {"kl": "k1", "k1": "k1", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3", "full": "exact"}


def method_of(script: Script) -> str:
    """The preset that it begins with."""
    kinds = [str(each.value) for each in script.settings if each.name == "algorithm.adv_estimator"]
    return "verl_0_9_ppo" if (kinds or ["gae"])[-1] == "gae" else "verl_0_9"


def _refused(option: str, value: object, there_are: str) -> UserError:
    return UserError(f"{option}={value} is a loss that there is no method for; there are {there_are}")


def loss(draft: Draft) -> None:
    """Translates verl's options of the loss into the slots of an algorithm: advantage, objective, penalty, entropy,
    correction."""
    _advantage(draft)
    _objective(draft)
    _penalty(draft)
    entropy = draft.number(f"{A}.entropy_coeff")
    if entropy:
        draft.slots["entropy"] = f"Entropy({shown(entropy)})"
    kind = draft.take(f"{CORRECTION}.rollout_is")
    cap = draft.number(f"{CORRECTION}.rollout_is_threshold", default=2.0)
    if kind in ("token", "sequence"):
        draft.slots["correction"] = f"TruncateMismatch({shown(cap)}, '{kind}')"
    if draft.method == "verl_0_9_ppo":
        _critic(draft)


def _advantage(draft: Draft) -> None:
    kind = str(draft.take("algorithm.adv_estimator", default="gae"))
    gamma, lam = draft.number("algorithm.gamma", default=1.0), draft.number("algorithm.lam", default=1.0)
    if kind not in ESTIMATORS:
        raise _refused("algorithm.adv_estimator", kind, ", ".join(ESTIMATORS))
    if kind == "gae":
        draft.slots["advantage"] = f"GAE(gamma={shown(gamma)}, lam={shown(lam)})"
    for slot, text in ESTIMATORS[kind].items():
        if text:
            draft.slots[slot] = text.format(gamma=f"gamma={shown(gamma)}" if gamma != 1 else "")
    divided = draft.take("algorithm.norm_adv_by_std_in_grpo", default=True) is not False
    if kind.startswith("grpo") and not divided:
        draft.slots["advantage"] = "GroupRelative('none')"
    if kind == "remax":
        draft.options["algorithm.source.greedy_baseline"] = "True"
    if kind == "gdpo":
        draft.assume("The sum of normalised rewards is normalised once more over completions; verl counts tokens.")


def _objective(draft: Draft) -> None:
    mode = str(draft.take(f"{A}.policy_loss.loss_mode", default="vanilla"))
    usual = "seq-mean-token-mean" if draft.take(f"{A}.use_token_level_loss") is False else "token-mean"
    mean = str(draft.take(f"{A}.loss_agg_mode", default=usual))
    if mode not in MODES:
        raise _refused("policy_loss.loss_mode", mode, ", ".join(MODES))
    if mean not in MEANS:
        raise _refused("loss_agg_mode", mean, ", ".join(MEANS))
    both = draft.number(f"{A}.clip_ratio", default=0.2)
    low, high = draft.number(f"{A}.clip_ratio_low", default=both), draft.number(f"{A}.clip_ratio_high", default=both)
    dual = draft.number(f"{A}.clip_ratio_c", default=3.0)
    gates = draft.number(f"{A}.tau_pos", default=1.0), draft.number(f"{A}.tau_neg", default=1.05)
    if mode == "geo_mean" and low != high:
        raise _refused("clip_ratio_high", high, "of geo_mean those with clip_ratio_low equal to it")
    draft.slots["objective"] = {
        "vanilla": f"ClippedRatio({shown(low)}, {shown(high)}, dual={shown(dual)})",
        "gspo": f"ClippedSequenceRatio({shown(low)}, {shown(high)}, gradient='token')",
        "sapo": f"SoftGate({shown(gates[0])}, {shown(gates[1])})",
        "cispo": f"ClippedWeight(low={shown(low)}, high={shown(high)})",
        "geo_mean": f"ClippedGeometricMean({shown(low)})",
        "gpg": "LogLikelihood()",
        "dppo_tv": f"DivergenceMask('tv', {shown(low)}, {shown(high)}, {shown(dual)})",
        "dppo_kl": f"DivergenceMask('kl', {shown(low)}, {shown(high)}, {shown(dual)})",
    }[mode]
    if mode.startswith("dppo"):
        draft.assume("Divergences are from the probabilities that the sampler reported, as with bypass_mode.")
    longest = draft.options["algorithm.source.max_completion_tokens"]
    length = draft.whole(f"{A}.loss_scale_factor") or longest
    draft.slots["aggregation"] = "SequenceMean()" if mode in ("sapo", "geo_mean") else MEANS[mean].format(length=length)
    draft.take("critic.loss_agg_mode")
    if draft.script.settings and mode == "vanilla" and draft.method == "verl_0_9" and mean == "token-mean":
        draft.slots.pop("aggregation")  # the preset's own


def _penalty(draft: Draft) -> None:
    """In the loss, or in the reward; both at once is a loss of two penalties, which no KL slot has."""
    in_loss = draft.take(f"{A}.use_kl_loss", default=False) is True
    in_reward = draft.take("algorithm.use_kl_in_reward", default=False) is True
    beta, kind = (
        draft.number(f"{A}.kl_loss_coef", default=0.001),
        str(draft.take(f"{A}.kl_loss_type", default="low_var_kl")),
    )
    reward_beta = draft.number("algorithm.kl_ctrl.kl_coef", "critic.kl_ctrl.kl_coef", default=0.001)
    reward_kind = str(draft.take("algorithm.kl_penalty", default="kl"))
    adaptive = str(draft.take("algorithm.kl_ctrl.type", default="fixed")) == "adaptive"
    target = draft.number("algorithm.kl_ctrl.target_kl", default=0.1)
    horizon = draft.number("algorithm.kl_ctrl.horizon", default=10000)
    if in_loss and in_reward and beta and reward_beta:
        raise _refused("use_kl_in_reward", "True", "a KL in the loss or in the reward, not both (use_kl_loss=True)")
    if in_loss and beta:
        straight = kind.endswith("+")
        estimate = "k2" if straight else ESTIMATES.get(kind, "")
        if not estimate or estimate == "k1":
            raise _refused(
                "kl_loss_type", kind, "low_var_kl, k2, full and k3+; k1 as a loss has no gradient in expectation"
            )
        bound = ", bound=10.0" if estimate == "k3" else ""
        draft.slots["kl"] = f"KL({shown(beta)}, '{estimate}'{bound})"
        if straight:
            draft.assume(f"kl_loss_type={kind} has the gradient of k2, and the value that is shown is k2's too.")
    elif in_reward and reward_beta:
        estimate = ESTIMATES.get(reward_kind, "")
        if estimate in ("", "exact"):
            raise _refused("kl_penalty", reward_kind, "kl, k2 and k3 in the reward")
        bound = ", bound=10.0" if estimate == "k3" else ""
        moving = f", target={shown(target)}, horizon={shown(horizon)}" if adaptive else ""
        draft.slots["kl"] = f"KL({shown(reward_beta)}, '{estimate}', place='reward'{bound}{moving})"
        if adaptive:
            draft.assume(
                "target_kl is nats a token in verl and nats a completion here: multiply it by the usual length."
            )


def _critic(draft: Draft) -> None:
    clip = draft.number("critic.cliprange_value", default=0.5)
    factor = draft.number("critic.optim.lr", default=1e-5) / max(float(draft.options["learning_rate"]), 1e-30)
    draft.slots["critic"] = (
        f"Critic('own', coefficient=1.0, clip={shown(clip)}, learning_rate_factor={shown(round(factor, 6))})"
    )
