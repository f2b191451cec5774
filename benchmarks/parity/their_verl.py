"""verl's own lines: its configuration tree, the advantage path of its trainer, ``ppo_loss`` and ``value_loss``.

What is replaced is the model's output and what the engine would put beside it (``dp_size``, ``batch_num_tokens``,
``global_batch_size``), which is computed as workers/engine/fsdp/transformer_impl.py does, for one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import verl
from draws import Draw, Found
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from torch import Tensor
from verl import DataProto
from verl.trainer.ppo.core_algos import get_kl_controller
from verl.trainer.ppo.ray_trainer import apply_kl_penalty
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils import tensordict_utils
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss, value_loss

CONFIG = Path(verl.__file__).parent / "trainer" / "config"


def verl_(draw: Draw, overrides: Sequence[str] = (), updates: int = 1) -> Found:
    """``overrides`` of its command line, such as ``algorithm.adv_estimator=grpo``. ``updates``: minibatches a draw."""
    config = _config(f"actor_rollout_ref.rollout.n={draw.group_size}", *overrides)
    torch.set_default_dtype(torch.float64)  # quotients of whole numbers too
    try:
        return _found(draw, config, updates)
    finally:
        torch.set_default_dtype(torch.float32)


def _found(draw: Draw, config: DictConfig, updates: int) -> Found:
    batch = _advantages(draw, config).batch
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    leaf = draw.logprobs.clone().requires_grad_()
    entropy = draw.entropy.clone().requires_grad_()
    asked = actor.calculate_entropy or actor.entropy_coeff != 0
    loss = torch.zeros(())
    for part in draw.parts(updates):
        said = {"log_probs": _flat(leaf, draw, part)} | ({"entropy": _flat(entropy, draw, part)} if asked else {})
        loss = loss + ppo_loss(actor, said, _engine(draw, batch, part))[0]
    gradient, of_entropy = torch.autograd.grad(loss, (leaf, entropy), allow_unused=True)
    found = Found(loss.item(), gradient, batch["advantages"] * draw.mask, entropy=of_entropy)
    return found if config.algorithm.adv_estimator != "gae" else _critic(draw, config, batch, found, updates)


def _config(*overrides: str) -> DictConfig:
    micro = [f"{model}.ppo_micro_batch_size_per_gpu=1" for model in ("actor_rollout_ref.actor", "critic")]
    with initialize_config_dir(str(CONFIG), version_base=None):
        return compose("ppo_trainer", [*micro, *overrides])


def _critic(draw: Draw, config: DictConfig, batch: TensorDict, found: Found, updates: int) -> Found:
    values = draw.values.clone().requires_grad_()
    with open_dict(config.critic):
        del config.critic.model  # it would be fetched from a hub
    critic = omega_conf_to_dataclass(config.critic)
    loss = torch.zeros(())
    for part in draw.parts(updates):
        loss = loss + value_loss(critic, {"values": _flat(values, draw, part)}, _engine(draw, batch, part))[0]
    gradient = torch.autograd.grad(loss, values)[0]
    return Found(found.loss, found.logprobs, found.advantages, loss.item(), gradient, found.entropy)


def _advantages(draw: Draw, config: DictConfig) -> DataProto:
    """The steps of ``PPOTrainer._compute_advantage`` in trainer/ppo/v1/trainer_base.py."""
    rows = torch.arange(len(draw.rewards))
    scores = torch.zeros_like(draw.old)
    scores[rows, torch.tensor(draw.lengths) - 1] = draw.rewards
    tensors = {
        "response_mask": draw.mask.long(), "token_level_scores": scores, "token_level_rewards": scores,
        "old_log_probs": draw.old, "rollout_log_probs": draw.behavior, "ref_log_prob": draw.reference,
        "values": draw.old_values,
    }  # fmt: skip
    uids = np.array([str(group) for group in draw.group.tolist()], dtype=object)
    data = DataProto(batch=TensorDict(tensors, batch_size=len(rows)), non_tensor_batch={"uid": uids})
    if config.algorithm.use_kl_in_reward:
        control = get_kl_controller(config.algorithm.kl_ctrl)
        data, _ = apply_kl_penalty(data, control, config.algorithm.kl_penalty)
    data, _ = compute_rollout_correction_and_add_to_batch(data, config.algorithm.rollout_correction)
    return compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"{uid}_{row}_0" for row, uid in enumerate(uids)],
        adv_estimator=config.algorithm.adv_estimator,
        gamma=config.algorithm.gamma,
        lam=config.algorithm.lam,
        num_repeat=draw.group_size,
        norm_adv_by_std_in_grpo=config.algorithm.norm_adv_by_std_in_grpo,
        config=config.algorithm,
    )


def _nested(tensor: Tensor, draw: Draw, part: slice) -> Tensor:
    rows = [row[:length] for row, length in zip(tensor[part], draw.lengths[part], strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def _flat(tensor: Tensor, draw: Draw, part: slice) -> Tensor:
    """Model output of these rows end to end, one prompt token each: position i speaks of token i + 1."""
    end, rows = tensor.new_zeros(1), zip(tensor[part], draw.lengths[part], strict=True)
    return torch.cat([torch.cat((row[:length], end)) for row, length in rows])


def _engine(draw: Draw, batch: TensorDict, part: slice) -> TensorDict:
    """One minibatch."""
    kept = ("old_log_probs", "advantages", "ref_log_prob", "values", "returns", "response_mask", "rollout_is_weights")
    tensors: dict[str, Any] = {name: _nested(batch[name], draw, part) for name in kept if name in batch}
    tensors["responses"] = _nested(draw.mask.long(), draw, part)
    rows, count = len(draw.mask[part]), int(draw.mask[part].sum())
    tensors["prompts"] = torch.nested.as_nested_tensor([torch.ones(1).long()] * rows, layout=torch.jagged)
    data = TensorDict(tensors, batch_size=rows)
    tensordict_utils.assign_non_tensor(data, dp_size=1, batch_num_tokens=count, global_batch_size=rows)
    return data
