"""This module computes packed attention in two calls of a GPU's flash kernel: tokens with their own sequence,
completions with their prompt.

Both parts are merged by their normalisers; given the merged result and normaliser, the kernel's backward pass gives
each part's exact share of the gradient, as in ring attention (arXiv 2310.01889).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from groupwise.networks.packing import Packing

LARGEST_HEAD = 256


class Part(NamedTuple):
    """A part holds sequences of queries and of keys, the n-th of one seeing the n-th of the other."""

    queries: Tensor | None  # their places among the packed tokens; None: all
    keys: Tensor | None
    query_ends: Tensor  # [S + 1] int32, 0 first
    key_ends: Tensor
    longest_query: int
    longest_key: int
    causal: bool

    def of_queries(self, x: Tensor) -> Tensor:
        """Returns the rows of queries, or of anything beside them, that belong to this part."""
        return x if self.queries is None else x[self.queries]

    def of_keys(self, x: Tensor) -> Tensor:
        """Returns the rows of keys, or of values, that belong to this part."""
        return x if self.keys is None else x[self.keys]


def fits(q: Tensor) -> bool:
    """Says whether the kernel takes queries like these."""
    return q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and q.shape[2] <= LARGEST_HEAD


def varlen_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, scale: float) -> Tensor:
    """Computes ``networks.packed_attention`` without a cap or a window; differentiable."""
    return _TwoPartAttention.apply(q, k, v, parts_of(packing), scale)


def parts_of(packing: Packing) -> tuple[Part, Part]:
    """Returns each prompt and each completion with itself; the completions of each family with its prompt.

    A prompt with a single completion is one sequence with it, so that documents and demonstrations are in the first
    part alone.
    """
    device = packing.tokens.device
    if device not in packing.plans:
        packing.plans[device] = _alone(packing, device), _prompts(packing, device)
    return packing.plans[device]


def _alone(packing: Packing, device: torch.device) -> Part:
    prompts, completions = packing.prompts[:, :2].clone(), packing.completions
    single = _single(packing)
    prompts[single, 1] += completions[packing.prompts[single, 2].long(), 1]
    shared = torch.ones(len(completions), dtype=torch.bool)
    shared[packing.prompts[single, 2].long()] = False
    spans = torch.cat((prompts, completions[shared]))
    lengths = spans[spans[:, 0].argsort(stable=True), 1]
    ends = _ends(lengths[lengths > 0], device)
    longest = int(lengths.max())
    return Part(None, None, ends, ends, longest, longest, causal=True)


def _prompts(packing: Packing, device: torch.device) -> Part:
    several = packing.prompts[~_single(packing)]
    after, asking = [], torch.zeros(len(packing.tokens), dtype=torch.bool)
    prompt = torch.zeros(len(packing.tokens), dtype=torch.bool)
    for start, length, first, last in several.tolist():
        prompt[start : start + length] = True
        members = packing.completions[first:last]
        after.append(int(members[:, 1].sum()))
        asking[start + length : start + length + after[-1]] = True
    queries, keys = (places.nonzero()[:, 0].to(device) for places in (asking, prompt))
    lengths = several[:, 1]
    most = max(after, default=0), max(lengths.tolist(), default=0)
    counts = torch.tensor(after, dtype=torch.int32)
    return Part(queries, keys, _ends(counts, device), _ends(lengths, device), *most, causal=False)


def _single(packing: Packing) -> Tensor:
    """Of each family whether it has one completion, which then follows its prompt."""
    return packing.prompts[:, 3] - packing.prompts[:, 2] == 1


def _ends(lengths: Tensor, device: torch.device) -> Tensor:
    return torch.cat((lengths.new_zeros(1), lengths.cumsum(0))).to(device, torch.int32)


class _TwoPartAttention(torch.autograd.Function):
    """This attends to the shared prompt and to a token's own sequence apart, and merges both by their normalisers."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: tuple[Part, Part], scale: float) -> Tensor:
        q, k, v = (x.contiguous() for x in (q, k, v))
        alone, prompts = parts
        out, normalisers = flash(q, k, v, alone, scale)  # [N, H, D], [H, N]
        there = prompts.queries
        if there is not None and len(there):
            seen, other = flash(q, k, v, prompts, scale)
            both = torch.logaddexp(normalisers[:, there], other)
            own, before = ((x - both).exp().T[:, :, None] for x in (normalisers[:, there], other))
            out[there] = (own * out[there] + before * seen).to(out.dtype)
            normalisers[:, there] = both
        ctx.save_for_backward(q, k, v, out, normalisers)
        ctx.parts, ctx.scale = parts, scale
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, normalisers = ctx.saved_tensors
        alone, prompts = ctx.parts
        dq, dk, dv = flash_backward(dout, q, k, v, out, normalisers, alone, ctx.scale)
        if prompts.queries is not None and len(prompts.queries):
            more = flash_backward(dout, q, k, v, out, normalisers, prompts, ctx.scale)
            dq[prompts.queries] += more[0]
            dk[prompts.keys] += more[1]
            dv[prompts.keys] += more[2]
        return dq, dk, dv, None, None


def flash(q: Tensor, k: Tensor, v: Tensor, part: Part, scale: float) -> tuple[Tensor, Tensor]:
    """Computes attention of the part's queries: what they find, and the logarithms of their normalisers ``[H, n]``."""
    lengths = part.query_ends, part.key_ends, part.longest_query, part.longest_key
    given = part.of_queries(q), part.of_keys(k), part.of_keys(v)
    found = torch.ops.aten._flash_attention_forward(*given, *lengths, 0.0, part.causal, False, scale=scale)
    return found[0], found[1]


def flash_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, normalisers: Tensor, part: Part, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the gradients of the part's queries, keys and values, where ``out`` and ``normalisers`` are of all that
    was seen."""
    lengths = part.query_ends, part.key_ends, part.longest_query, part.longest_key
    rows = slice(None) if part.queries is None else part.queries
    given = part.of_queries(dout).contiguous(), part.of_queries(q), part.of_keys(k), part.of_keys(v)
    found = part.of_queries(out), normalisers[:, rows].contiguous()
    no_dropout = torch.zeros(2, dtype=torch.uint64, device=q.device), torch.empty(0, device=q.device)
    return torch.ops.aten._flash_attention_backward(
        *given, *found, *lengths, 0.0, part.causal, *no_dropout, scale=scale
    )
