"""The steps of a block in plain torch, forward and backward: any floating type, any device, exact in float64.

``kernels/learn.py`` has the same functions for float32 on the CPU; it says what each promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Returns RMSNorm of the rows of ``x``."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def norm_backward(x: Tensor, weight: Tensor, eps: float, dy: Tensor, dx: Tensor) -> Tensor:
    """Adds to ``dx`` the gradient of ``norm`` by ``x``, and returns that by ``weight``."""
    change, dweight = _norm_backward(x, weight, eps, dy)
    dx += change
    return dweight


def _norm_backward(x: Tensor, weight: Tensor, eps: float, dy: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    unit, back = x * inverse, dy * weight
    dx = inverse * (back - unit * (unit * back).mean(-1, keepdim=True))
    return dx, (dy * unit).flatten(0, -2).sum(0)


def heads(x: Tensor, weights: tuple[Tensor | None, Tensor | None], rope: Any, shape: Any, eps: float) -> Tensor:
    """Returns queries or keys with the norms of heads applied, and rotated."""
    parts = list(split_heads(x, shape))
    for number, weight in enumerate(weights):
        normed = parts[number] if weight is None else norm(parts[number], weight, eps)
        parts[number] = apply_rope(normed, *at_positions(*rope))
    return torch.cat(parts, dim=1).flatten(1)


def heads_backward(
    x: Tensor | None,
    weights: tuple[Tensor | None, Tensor | None],
    rope: Any,
    shape: Any,
    eps: float,
    gradients: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradient of ``heads`` by its input and by both norms."""
    cos, sin = at_positions(*rope)
    back, found = list(gradients), []
    for number, weight in enumerate(weights):
        back[number] = apply_rope_backward(back[number], cos, sin)
        dweight = cos.new_zeros(shape[2])
        if x is not None and weight is not None:
            back[number], dweight = _norm_backward(split_heads(x, shape)[number], weight, eps, back[number])
        found.append(dweight)
    return torch.cat(back, dim=1).flatten(1), found[0], found[1]


def split_heads(x: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Returns ``[n, heads, head_dim]`` q, k and v of rows that hold them side by side; ``shape``: heads, kv heads,
    head_dim."""
    heads, kv_heads, head_dim = shape
    return x.unflatten(1, (-1, head_dim)).split([heads, kv_heads, kv_heads], dim=1)


def at_positions(cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``[n, 1, D]`` of tables ``[L, D]``."""
    return cos[positions][:, None], sin[positions][:, None]


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary position embedding (RoFormer, arXiv 2104.09864), pairs half a head apart."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def apply_rope_backward(dy: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns the gradient of ``apply_rope``: the rotation back."""
    first, second = (dy * sin).chunk(2, dim=-1)
    return dy * cos + torch.cat((second, -first), dim=-1)


def swiglu(x: Tensor) -> Tensor:
    """Returns silu of the first half of each row times the second."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def swiglu_backward(x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient of ``swiglu``."""
    gate, up = x.chunk(2, dim=-1)
    share = gate.sigmoid()
    active = gate * share
    return active * up, torch.cat((dy * up * (share + active * (1 - share)), dy * active), dim=-1)


def token_logprobs(logits: Tensor, targets: Tensor, scale: float, pool: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ``[N]`` log-probabilities of the targets, entropies and logarithms of the normalisers."""
    logits = at_least_float32(logits) * scale
    normalisers = logits.logsumexp(-1)
    table = logits - normalisers[:, None]
    return table.gather(1, targets[:, None])[:, 0], -(table.exp() * table).sum(-1), normalisers


def token_logprobs_backward(
    logits: Tensor, targets: Tensor, scale: float, normalisers: Tensor, by: Tensor, pool: Any = None
) -> Tensor:
    """Returns the gradient of ``token_logprobs`` by the logits."""
    back = (at_least_float32(logits) * scale - normalisers[:, None]).exp_().mul_(-scale * by[:, None])
    back[torch.arange(len(targets), device=targets.device), targets] += scale * by
    return back.to(logits.dtype)


def at_least_float32(x: Tensor) -> Tensor:
    """Returns the tensor in float32 where it is narrower."""
    return x if x.dtype == torch.float64 else x.float()
