"""What every engine that holds a model does alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.types import Request


def take_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Copies into ``model`` what does not already share its memory; names are those of its parameters."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            if name in own and own[name].data_ptr() != tensor.data_ptr():
                own[name].copy_(tensor)


def refuse_misfits(requests: Sequence[Request], context_tokens: int) -> None:
    """Raises ValueError for a prompt that is empty or leaves no room in the context."""
    for number, request in enumerate(requests):
        if not 0 < len(request.tokens) < context_tokens:
            raise ValueError(f"request {number}: {len(request.tokens)} tokens; 1 to {context_tokens - 1} fit")
