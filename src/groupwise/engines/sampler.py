"""This module draws a token of logits, with its log-probability, by one random stream a completion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from groupwise.types import Sampling


def random_stream(seed: int, length: int) -> Tensor:
    """Returns ``[length]`` float64 uniforms in [0, 1): a counter-based stream that belongs to one completion."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).random(length))


class SampledTokens(NamedTuple):
    """This is one token for each of R rows."""

    tokens: Tensor  # [R]
    logprobs: Tensor  # [R] of the distribution that was sampled from: after temperature, top-k, top-p and min-p
    kept: Tensor | None  # [R, V] bool: what the choice was narrowed to


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> SampledTokens:
    """Draws a token for each row of ``logits`` ``[R, V]`` by ``uniforms`` ``[R]``.

    Greedy decoding (temperature 0) reports log-probabilities at temperature 1 over the whole vocabulary.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if sampling.temperature == 0:
        logprobs = torch.log_softmax(logits, dim=-1)
        best, tokens = logprobs.max(dim=-1)
        return SampledTokens(tokens, best, None)
    logprobs, kept = torch.log_softmax(logits / sampling.temperature, dim=-1), None
    if narrows(sampling):
        kept = support(logprobs, sampling)
        logprobs = torch.log_softmax(torch.where(kept, logprobs, -torch.inf), dim=-1)
    cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    # Inverse transform. The first token whose cumulative probability exceeds u: never one of probability 0.
    threshold = uniforms.to(logits.device)[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
    return SampledTokens(tokens, logprobs.gather(1, tokens[:, None]).squeeze(1), kept)


def narrows(sampling: Sampling) -> bool:
    """Says whether tokens are drawn from a part of the vocabulary."""
    return sampling.temperature > 0 and bool(sampling.top_k or sampling.top_p < 1 or sampling.min_p)


def ids_of(kept: Tensor) -> list[tuple[int, ...]]:
    """Each row of ``[R, V]`` bool as sorted ids."""
    ids = kept.nonzero()[:, 1].tolist()
    ends = kept.sum(dim=1).cumsum(dim=0).tolist()
    return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def support(logprobs: Tensor, sampling: Sampling) -> Tensor:
    """Returns ``[R, V]`` bool: the tokens that top-k, top-p and min-p leave. The likeliest token always stays."""
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.exp()
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        kept[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        kept &= probabilities.cumsum(dim=-1) - probabilities < sampling.top_p
    if sampling.min_p:
        kept &= probabilities >= sampling.min_p * probabilities[:, :1]
    kept[:, 0] = True
    return torch.zeros_like(kept).scatter(1, order, kept)
