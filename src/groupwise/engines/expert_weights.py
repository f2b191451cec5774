"""This module reads a mixture of experts off its transformers module, for compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class ExpertWeights(NamedTuple):
    """These are a router's rows ``[E, d]``, the experts' gate and up ``[E, 2 h, d]``, one after the other, and down
    ``[E, d, h]``."""

    router: Tensor
    gate_up: Tensor
    down: Tensor
    chosen: int
    normalised: bool
    """Whether the weights of a token's experts sum to 1; else those of all do."""
    router_bias: Tensor | None = None
    biases: Tensor | None = None
    """``[E, 2 h + d]`` of gate, up and down."""
    correction: Tensor | None = None
    """``[E]``: weights are sigmoids; this is added to them where experts are chosen."""
    groups: tuple[int, int] = (1, 1)
    """How many there are, and of how many experts are chosen."""
    scale: float = 1.0
    """Of the weights."""


@torch.no_grad()
def expert_weights(mixture: Any) -> ExpertWeights:
    """Returns those of Mixtral, Qwen 3, DeepSeek-V3 and gpt-oss."""
    parts = dict(mixture.named_children())
    experts = parts["experts"]
    if "router" not in parts:
        router = parts["gate"]
        always = "norm_topk_prob" not in vars(router)  # Mixtral has no such choice
        normalised = always or bool(router.norm_topk_prob)
        found = ExpertWeights(router.weight, experts.gate_up_proj, experts.down_proj, router.top_k, normalised)
        correction = dict(router.named_buffers()).get("e_score_correction_bias")
        if correction is None:
            return found
        groups = router.num_group, router.topk_group
        return found._replace(correction=correction, groups=groups, scale=router.routed_scaling_factor)
    router = parts["router"]
    gate_up, down = _apart(experts.gate_up_proj.transpose(1, 2)), experts.down_proj.transpose(1, 2)
    biases = torch.cat((_apart(experts.gate_up_proj_bias), experts.down_proj_bias), dim=1)
    return ExpertWeights(router.weight, gate_up, down, router.top_k, True, router.bias, biases)


def _apart(rows: Tensor) -> Tensor:
    """Gate and up one after the other, where they lie in turns."""
    return torch.cat((rows[:, ::2], rows[:, 1::2]), dim=1)
