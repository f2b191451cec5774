"""This module runs transformers' own forward pass without half precision's rounding, to compare ours with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def exact_forward(model: nn.Module, ids: Tensor) -> Any:
    """Returns what a model makes of ``ids`` ``[B, L]``. Weights in bfloat16 on a CPU are widened for this pass: with
    residual streams rounded in every block, some models' own results are too far off to tell a right pass by."""
    given: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    parameters = list(model.parameters())
    narrow = any(each.dtype == torch.bfloat16 for each in parameters)
    plain = all(type(each.data) is Tensor and each.device.type == "cpu" for each in parameters)
    if not (narrow and plain):
        return model(**given)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    wide = {name: each.float() if each.dtype == torch.bfloat16 else each for name, each in state.items()}
    return torch.func.functional_call(model, wide, (), given)
