"""This module holds what every engine with a model does alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groupwise.types import Request, Sampling


def take_weights(model: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copies into ``model`` what does not already share its memory; names are those of its parameters.

    Raises ValueError where one of them is not among the weights: it would be sampled from as it was."""
    own = dict(model.named_parameters())
    stale = set(own)
    with torch.no_grad():
        for name, tensor in weights:
            stale.discard(name)
            if name in own and own[name].data_ptr() != tensor.data_ptr():
                own[name].copy_(tensor)
    if stale:
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise ValueError(f"the engine was given no new weights for {min(stale)}{more}, which it samples from")


def refuse_misfit(number: int, request: Request, context_tokens: int) -> None:
    """Raises ValueError for a prompt that is empty, or that leaves no room in the context with what is forced."""
    length = len(request.tokens) + len(request.forced)
    if not request.tokens or length >= context_tokens:
        raise ValueError(f"request {number}: {length} tokens; 1 to {context_tokens - 1} fit")


def limit_of(request: Request, sampling: Sampling, context_tokens: int) -> int:
    """Returns how many tokens a completion may have."""
    most = sampling.max_tokens if request.max_tokens is None else min(request.max_tokens, sampling.max_tokens)
    return min(most, context_tokens - len(request.tokens) - len(request.forced))
