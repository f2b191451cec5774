"""This module computes attention over packed sequences: every token of a completion sees its family's prompt and what
precedes it.

A shared prompt's keys and values get the gradient of all its completions, so the result is that of separate sequences.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groupwise.kernels import learn
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks import varlen
from groupwise.networks.fused_blocks import Again
from groupwise.networks.packing import Packing


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    scale: float,
    cap: float = 0.0,
    window: int = 0,
    again: Again | None = None,
    pool: TileThreads | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Computes the attention ``[N, H, D]`` of q ``[N, H, D]``, k and v ``[N, Hkv, D]``; differentiable.

    ``cap`` > 0: scores become cap · tanh(score / cap); ``window`` > 0: a token sees itself and window - 1 before it.
    ``again``: makes q, k and v again, so that they need not be kept. ``pool``: whose threads compute; else one.
    ``sinks`` ``[H]``: scores that take weight and give nothing.
    """
    narrow = 0 < window < packing.longest
    plain = not cap and not narrow and sinks is None
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":  # compiled code takes float32, as the engine's does
        q, k, v = (x.float() for x in (q, k, v))
        return packed_attention(q, k, v, packing, scale, cap, window, None, pool, sinks).bfloat16()
    if plain and learn.fits(q, (q.shape[2],)):
        given = q, k, v, packing, scale, pool or TileThreads(1)
        return _Kernel.apply(*given, again) if torch.is_grad_enabled() else _forward(*given)[0]
    if plain and varlen.fits(q):
        return varlen.varlen_attention(q, k, v, packing, scale)
    found = []
    for start, length, first, last in packing.prompts.tolist():
        prompt = slice(start, start + length)
        alone = _dense(q[None, prompt], k[None, prompt], v[None, prompt], 0, scale, cap, window, sinks)
        found.append(alone[0])
        members = packing.completions[first:last]
        if int(members[:, 1].sum()):
            found.append(_completions(q, k, v, prompt, members, scale, cap, window, sinks))
    return torch.cat(found)


def _completions(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prompt: slice,
    members: Tensor,
    scale: float,
    cap: float,
    window: int,
    sinks: Tensor | None,
) -> Tensor:
    """Of a family's completions (start and length ``[C, 2]``), one after the other; padded in here alone."""
    starts, lengths = members.to(q.device).long().unbind(1)
    steps = torch.arange(int(members[:, 1].max()), device=q.device)
    real = steps < lengths[:, None]  # [C, L]
    where = torch.where(real, starts[:, None] + steps, prompt.start)
    before = prompt.stop - prompt.start
    keys, values = (
        torch.cat((x[None, prompt].expand(len(members), -1, -1, -1), x[where]), dim=1) for x in (k, v)
    )  # [C, P + L, Hkv, D]
    return _dense(q[where], keys, values, before, scale, cap, window, sinks)[real]


def _dense(
    q: Tensor, k: Tensor, v: Tensor, before: int, scale: float, cap: float, window: int, sinks: Tensor | None
) -> Tensor:
    """``[C, L, H, D]``: queries at positions ``before`` + 0, 1, ... of keys at 0, 1, ..."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    queries = torch.arange(before, k.shape[2], device=q.device)[:, None]
    keys = torch.arange(k.shape[2], device=q.device)
    seen = keys <= queries
    if window:
        seen &= keys > queries - window
    if not cap and sinks is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=True).transpose(1, 2)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * scale
    scores = (cap * torch.tanh(scores / cap) if cap else scores).masked_fill(~seen, -torch.inf)
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:3], 1)), dim=-1)
    weights = scores.softmax(-1)
    return ((weights if sinks is None else weights[..., :-1]) @ v).transpose(1, 2)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing, scale: float, pool: TileThreads
) -> tuple[Tensor, Tensor]:
    q, k, v = map(learn.side_by_side, (q, k, v))
    return learn.attention(q, k, v, packing, scale, pool)


class _Kernel(torch.autograd.Function):
    """This is attention by our own kernel, with a backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        packing: Packing,
        scale: float,
        pool: TileThreads,
        again: Again | None,
    ) -> Tensor:
        out, normalisers = _forward(q, k, v, packing, scale, pool)
        ctx.save_for_backward(out, normalisers, *(() if again else (q, k, v)))
        ctx.packing, ctx.scale, ctx.pool, ctx.again = packing, scale, pool, again
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        out, normalisers, *kept = ctx.saved_tensors
        q, k, v = map(learn.side_by_side, ctx.again() if ctx.again else kept)
        ctx.again = None  # what it holds is needed no more
        found = learn.attention_backward(q, k, v, ctx.packing, ctx.scale, out, normalisers, dout, ctx.pool)
        return *found, None, None, None, None
