"""The losses of TRL's trainers as slots of an algorithm. What cannot be said is refused: it would be another loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from groupwise.errors import UserError
from groupwise.foreign.draft import Draft, shown

METHODS = {"GRPO": "trl_1_16", "RLOO": "rloo", "DPO": "dpo", "SFT": "sft", "Reward": "reward_model"}
MEANS = {
    "dapo": "TokenMean()",
    "bnpo": "TokenMean()",
    "grpo": "SequenceMean()",
    "luspo": "SequenceSum()",
    "cispo": "TokenMean()",
    "sapo": "SequenceMean()",
    "vespo": "TokenMean()",
}


def _refused(option: str, value: object, there_are: str) -> UserError:
    return UserError(f"{option}={value} is a loss that there is no method for; there are {there_are}")


def _grpo(draft: Draft) -> None:
    loss = str(draft.take("loss_type", default="dapo"))
    if loss != "dr_grpo" and loss not in MEANS:
        raise _refused("loss_type", loss, f"{', '.join(MEANS)} and dr_grpo")
    length = draft.options["algorithm.source.max_completion_tokens"]
    draft.slots["aggregation"] = f"ConstantLength({length})" if loss == "dr_grpo" else MEANS[loss]
    _objective(draft, loss)
    _advantage(draft)
    beta = draft.number("beta")
    live = draft.take("use_bias_correction_kl", default=True) is not False
    if beta:
        draft.options |= {
            "algorithm.kl.coefficient": shown(beta),
            "algorithm.kl.weight": repr("live" if live else "none"),
        }
        if live and "Sequence" in draft.slots["objective"]:
            draft.assume("The KL is weighted by each token's ratio; TRL weighs it by the sequence's.")
    if draft.take("mask_truncated_completions", default=False) is True:
        draft.options["algorithm.truncated"] = "'mask'"
    _entropy(draft, loss)
    if draft.given.get("off_policy_mask_threshold") is not None:
        draft.slots["correction"] = f"OffPolicySequenceMask({shown(draft.number('off_policy_mask_threshold'))})"
    _reference(draft)
    if loss in ("dapo", "cispo", "vespo") and int(draft.options["minibatches"]) > 1:
        draft.assume(
            "With several updates a draw TRL divides each by the draw's mean number of tokens, here by its own."
        )
    if draft.take("router_aux_loss_coef"):
        draft.place_none("router_aux_loss_coef", "nothing is added for a mixture of experts")
    if draft.number("top_entropy_quantile", default=1.0) < 1:
        raise _refused("top_entropy_quantile", draft.given["top_entropy_quantile"], "losses over all tokens")


def _objective(draft: Draft, loss: str) -> None:
    low = draft.number("epsilon", default=0.2)
    high = draft.number("epsilon_high", default=low)
    delta = draft.number("delta")
    sequence = str(draft.take("importance_sampling_level", default="token")).startswith("sequence")
    gates = draft.number("sapo_temperature_pos", default=1.0), draft.number("sapo_temperature_neg", default=1.05)
    kernel = [
        draft.number(f"vespo_{name}", default=usual)
        for name, usual in (("k_pos", 2.0), ("lambda_pos", 3.0), ("k_neg", 3.0), ("lambda_neg", 2.0))
    ]
    if sequence and (loss in ("cispo", "sapo", "vespo") or delta):
        what = "delta" if delta else f"loss_type={loss}"
        raise UserError(f"importance_sampling_level=sequence with {what} is a loss that there is no method for")
    if loss == "cispo":
        draft.slots["objective"] = f"ClippedWeight(low=1.0, high={shown(round(high - 1, 12))})"
    elif loss == "sapo":
        draft.slots["objective"] = f"SoftGate({shown(gates[0])}, {shown(gates[1])})"
    elif loss == "vespo":
        draft.slots["objective"] = f"GammaWeight({', '.join(map(shown, kernel))})"
    elif sequence:
        draft.slots["objective"] = f"ClippedSequenceRatio({shown(low)}, {shown(high)})"
    else:
        ceiling = f", ceiling={shown(delta)}" if delta else ""
        draft.slots["objective"] = f"ClippedRatio({shown(low)}, {shown(high)}{ceiling})"


def _advantage(draft: Draft) -> None:
    scale = draft.take("scale_rewards", default="group")
    scale = {True: "group", False: "none"}.get(scale, scale) if isinstance(scale, bool) else str(scale)
    if scale not in ("group", "batch", "none"):
        raise _refused("scale_rewards", scale, "group, batch and none")
    divided = {"group": "GroupRelative(epsilon=1e-4)", "batch": "GroupRelative('batch', epsilon=1e-4)"}
    draft.slots["advantage"] = divided.get(scale, "GroupRelative('none')")
    how = str(draft.take("multi_objective_aggregation", default="sum_then_normalize"))
    if how == "normalize_then_sum":
        draft.slots["advantage"] = "NormalisedRewards(epsilon=1e-4)"
    elif how != "sum_then_normalize":
        raise _refused("multi_objective_aggregation", how, "sum_then_normalize and normalize_then_sum")


def _entropy(draft: Draft, loss: str) -> None:
    weight = draft.number("entropy_coef")
    adaptive = draft.take("use_adaptive_entropy", default=False) is True
    target, rate = draft.number("entropy_target", default=0.2), draft.number("entropy_coef_delta", default=0.005)
    draft.take("entropy_coef_min", "entropy_coef_max")
    if adaptive:
        draft.slots["entropy"] = f"Entropy({shown(weight)}, target={shown(target)}, rate={shown(rate)})"
    elif weight:
        draft.slots["entropy"] = f"Entropy({shown(weight)})"
    if (adaptive or weight) and MEANS.get(loss) != "TokenMean()":
        draft.assume("The entropy bonus goes through the loss's own mean; in TRL it is a mean over tokens.")


def _reference(draft: Draft) -> None:
    every, mixed = draft.whole("ref_model_sync_steps", default=512), draft.number("ref_model_mixup_alpha", default=0.6)
    if draft.take("sync_ref_model", default=False) is True:
        updates = int(draft.options.get("minibatches", "1")) * int(draft.options.get("epochs", "1"))
        draft.options["algorithm.reference.refresh_every"] = str(math.ceil(every / updates))
        if mixed != 1:
            draft.assume(f"The reference is replaced as a whole; TRL mixes {mixed:g} of the policy into it.")


def _rloo(draft: Draft) -> None:
    low = draft.number("epsilon", default=0.2)
    high, beta = draft.number("epsilon_high", default=low), draft.number("beta", default=0.05)
    draft.slots |= {
        "objective": f"ClippedSequenceRatio({shown(low)}, {shown(high)}, length='sum')",
        "aggregation": "SequenceMean()",
        "kl": f"KL({shown(beta)}, 'k1', place='reward')",
    }
    if draft.take("normalize_advantages", default=False) is True:
        draft.slots["whitening"] = "Whitening('sequences', ddof=1, epsilon=0.0)"
        draft.assume("TRL adds 1e-4 to the standard deviation that advantages are divided by; here nothing is added.")
    if draft.take("reward_clip_range"):
        draft.place_none("reward_clip_range", "bound the value in the reward's function")
    if draft.take("mask_truncated_completions", default=False) is True:
        draft.options["algorithm.truncated"] = "'mask'"
    _reference(draft)


def _dpo(draft: Draft) -> None:
    loss = draft.take("loss_type", default=["sigmoid"])
    losses = [str(each) for each in (loss if isinstance(loss, list) else [loss])]
    if losses not in (["sigmoid"], ["sigmoid_norm"]):
        raise _refused("loss_type", "+".join(losses), "sigmoid and sigmoid_norm of DPO's")
    for option, plain in (("label_smoothing", 0), ("use_weighting", False), ("ld_alpha", None), ("rpo_alpha", None)):
        if draft.take(option, default=plain) not in (plain, 1.0 if option == "ld_alpha" else plain):
            raise _refused(option, draft.given[option], "sigmoid and sigmoid_norm of DPO's, as they are")
    if str(draft.take("f_divergence_type", default="reverse_kl")).rpartition(".")[2].lower() != "reverse_kl":
        raise _refused("f_divergence_type", draft.given["f_divergence_type"], "reverse_kl")
    beta = shown(draft.number("beta", default=0.1))
    normalised = ", length_normalised=True" if losses == ["sigmoid_norm"] else ""
    draft.slots["objective"] = f"PreferenceMargin({beta}{normalised})"
    _reference(draft)


def _sft(draft: Draft) -> None:
    loss = str(draft.take("loss_type", default="nll"))
    if loss not in ("nll", "chunked_nll"):
        raise _refused("loss_type", loss, "nll")
    draft.slots["aggregation"] = "TokenMean()"
    draft.take("assistant_only_loss", "completion_only_loss")
    draft.assume(
        "What follows the prompt is learned, and of a conversation the last answer; TRL learns every token of rows "
        "that are a text or a conversation unless told otherwise."
    )


def _reward(draft: Draft) -> None:
    draft.slots["objective"] = f"BradleyTerry(centring={shown(draft.number('center_rewards_coefficient'))})"


LOSSES: dict[str, Callable[[Any], None]] = {"GRPO": _grpo, "RLOO": _rloo, "DPO": _dpo, "SFT": _sft, "Reward": _reward}
