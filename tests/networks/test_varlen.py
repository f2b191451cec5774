"""Two attentions merged by their normalisers are one, forward and backward. The kernel itself runs on a GPU alone; here
a dense one that promises the same stands in its place."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from groupwise.networks import varlen
from groupwise.networks.attention import packed_attention
from groupwise.networks.packing import Packing
from groupwise.networks.varlen import Part

Shape = list[tuple[list[int], list[int]]]
SHAPES: dict[str, Shape] = {
    "two families": [([1] * 5, [3, 7, 1]), ([2] * 9, [4, 0, 6])],
    "no completion": [([1] * 5, [0])],
    "one family": [([1] * 3, [2, 8])],
    "documents": [([1], [7]), ([2], [3]), ([3], [12])],
    "a document among families": [([1] * 4, [3, 5]), ([2], [9]), ([3] * 2, [1, 0, 6])],
}


def pairs(part: Part) -> list[tuple[slice, slice]]:
    queries, keys = (ends.tolist() for ends in (part.query_ends, part.key_ends))
    each = zip(pairwise(queries), pairwise(keys), strict=True)
    return [(slice(*rows), slice(*columns)) for rows, columns in each]


def scores(q: Tensor, k: Tensor, scale: float, causal: bool) -> Tensor:
    """``[H, n, m]``."""
    found = torch.einsum("nhd,mhd->hnm", q, k.repeat_interleave(q.shape[1] // k.shape[1], 1)) * scale
    later = torch.ones(found.shape[1:], dtype=torch.bool).triu(1)
    return found.masked_fill(later, -torch.inf) if causal else found


def dense(q: Tensor, k: Tensor, v: Tensor, part: Part, scale: float) -> tuple[Tensor, Tensor]:
    q, k, v = part.of_queries(q), part.of_keys(k), part.of_keys(v)
    out, normalisers = torch.zeros_like(q), q.new_zeros(q.shape[1], len(q))
    for rows, columns in pairs(part):
        assert rows.stop - rows.start <= part.longest_query
        assert columns.stop - columns.start <= part.longest_key
        table = scores(q[rows], k[columns], scale, part.causal)
        each = v[columns].repeat_interleave(q.shape[1] // v.shape[1], 1)
        out[rows] = torch.einsum("hnm,mhd->nhd", table.softmax(-1), each)
        normalisers[:, rows] = table.logsumexp(-1)
    return out, normalisers


def dense_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, normalisers: Tensor, part: Part, scale: float
) -> tuple[Tensor, ...]:
    """By the formulas of FlashAttention (arXiv 2205.14135, algorithm 4), from what is given and nothing else."""
    places = slice(None) if part.queries is None else part.queries
    normalisers, dout, out = normalisers[:, places], part.of_queries(dout), part.of_queries(out)
    q, k, v = part.of_queries(q), part.of_keys(k), part.of_keys(v)
    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
    each = q.shape[1] // k.shape[1]
    for rows, columns in pairs(part):
        p = (scores(q[rows], k[columns], scale, part.causal) - normalisers[:, rows, None]).exp()
        wide_k, wide_v = (x[columns].repeat_interleave(each, 1) for x in (k, v))
        mean = (dout[rows] * out[rows]).sum(-1).T[:, :, None]
        ds = p * (torch.einsum("nhd,mhd->hnm", dout[rows], wide_v) - mean) * scale
        dq[rows] += torch.einsum("hnm,mhd->nhd", ds, wide_k)
        dk[columns] += torch.einsum("hnm,nhd->mhd", ds, q[rows]).unflatten(1, (-1, each)).sum(2)
        dv[columns] += torch.einsum("hnm,nhd->mhd", p, dout[rows]).unflatten(1, (-1, each)).sum(2)
    return dq, dk, dv


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_merged_parts_equal_the_whole(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "flash", dense)
    monkeypatch.setattr(varlen, "flash_backward", dense_backward)
    packing = Packing.of([(prompt, [9] * count) for prompt, counts in shape for count in counts])
    draw = torch.Generator().manual_seed(3)
    q, k, v = (
        torch.randn(len(packing.tokens), heads, 8, generator=draw, dtype=torch.float64).requires_grad_()
        for heads in (4, 2, 2)
    )
    found, expected = varlen.varlen_attention(q, k, v, packing, 0.3), packed_attention(q, k, v, packing, 0.3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(found.shape, generator=draw, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(out, (q, k, v), weights) for out in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the flash kernel is of GPUs alone")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_kernel_keeps_its_promise(shape: Shape) -> None:
    packing = Packing.of([(prompt, [9] * count) for prompt, counts in shape for count in counts], "cuda")
    q, k, v = (
        torch.randn(len(packing.tokens), heads, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
        for heads in (4, 2, 2)
    )
    assert varlen.fits(q)
    found = packed_attention(q, k, v, packing, 0.125)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected = packed_attention(*exact, packing, 0.125)
    weights = torch.randn_like(found)
    ours = found, *torch.autograd.grad(found, (q, k, v), weights)
    theirs = expected, *torch.autograd.grad(expected, exact, weights.double())
    for a, b in zip(ours, theirs, strict=True):
        assert (a.double() - b).norm() <= 0.02 * b.norm()
