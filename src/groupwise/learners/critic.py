"""The critic predicts returns: a scalar head that says how much reward is still to come, on the policy's hidden states
or its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from groupwise.errors import UserError
from groupwise.learners.logprobs import LanguageModel, States
from groupwise.learners.micro_batch import MicroBatch


class Critic(nn.Module):
    """A critic maps a micro-batch to the value ``[B, T]`` of the state before each sampled token, read off the hidden
    state that predicts it.

    The head begins at 0 and stays at least float32: half precision would round values to three digits. ``trunk``: a
    copy of the policy's present one; without it on the policy's, which then learns from both. Its parameters are those
    the policy does not have. ``width``: of the policy's states. Raises UserError where the architecture has no trunk by
    itself.
    """

    def __init__(self, policy: LanguageModel, width: int, trunk: Any = None) -> None:
        super().__init__()
        if not width:
            kind = policy.model.config.model_type
            raise UserError(
                f"architecture {kind}: a critic reads the hidden states behind the logits, and {kind} has no trunk "
                "that gives them; expected a model such as llama, qwen2 or qwen3, or a method without a critic"
            )
        weight = next(policy.model.parameters())
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self.head = nn.Linear(width, 1, dtype=dtype, device=weight.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.trunk: Any = trunk
        self.backbone = None if trunk is None else policy.backbone.on(trunk)

    def forward(self, micro_batch: MicroBatch, policy: States | None) -> Tensor:
        """Returns the values ``[B, T]``. ``policy``: what the policy's network found of the micro-batch; None where the
        critic has its own."""
        if policy is None:
            return self._read(micro_batch, self.backbone(micro_batch))  # type: ignore[misc]
        return self._read(micro_batch, policy.hidden if policy.behind is None else policy.behind)

    def _read(self, micro_batch: MicroBatch, hidden: Tensor) -> Tensor:
        return micro_batch.spread(self.head(hidden.to(self.head.weight.dtype)).squeeze(-1))
