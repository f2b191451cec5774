"""The learner's kernels say what plain torch says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.kernels import learn
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks import torch_ops
from groupwise.networks.packing import Packing

pytestmark = pytest.mark.skipif(bool(learn.why_not()), reason=f"no kernels here: {learn.why_not()}")

LANES = TileThreads(1)
ROWS = 150  # more than two units of work
DRAW = torch.Generator().manual_seed(1)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAW)


def alike(ours: Any, theirs: Any, tolerance: float = 2e-6) -> None:
    for found, expected in zip(ours, theirs, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).norm() <= tolerance * expected.norm() + 1e-12


@pytest.mark.parametrize("width", [16, 48, 128])
def test_norms(width: int) -> None:
    x, weight, dy = numbers(ROWS, width), numbers(width), numbers(ROWS, width)
    alike([learn.norm(x, weight, 1e-6, LANES)], [torch_ops.norm(x, weight, 1e-6)])
    (ours, theirs) = (numbers(ROWS, width).fill_(0.5) for _ in range(2))
    weights = [
        learn.norm_backward(x, weight, 1e-6, dy, ours, LANES),
        torch_ops.norm_backward(x, weight, 1e-6, dy, theirs),
    ]
    alike([ours, weights[0]], [theirs, weights[1]])


@pytest.mark.parametrize("shape", [(2, 1, 16), (4, 2, 32), (3, 3, 64)])
@pytest.mark.parametrize("normed", [True, False])
def test_heads(shape: tuple[int, int, int], normed: bool) -> None:
    q, kv, size = shape
    x = numbers(ROWS, (q + 2 * kv) * size)
    weights = (numbers(size), numbers(size)) if normed else (None, None)
    angles = numbers(50, size // 2).repeat(1, 2)
    rope = angles.cos(), angles.sin(), torch.randint(50, (ROWS,), generator=DRAW)
    alike([learn.heads(x, weights, rope, shape, 1e-6, LANES)], [torch_ops.heads(x, weights, rope, shape, 1e-6)])
    gradients = [numbers(ROWS, heads, size) for heads in (q, kv, kv)]
    given = (x if normed else None, weights, rope, shape, 1e-6, gradients)
    alike(learn.heads_backward(*given, LANES), torch_ops.heads_backward(*given))


def test_gates() -> None:
    """Also where the gate is far from 0, on both sides."""
    x, dy = 30 * numbers(ROWS, 96), numbers(ROWS, 48)
    alike([learn.swiglu(x, LANES)], [torch_ops.swiglu(x)])
    alike(learn.swiglu_backward(x, dy, LANES), torch_ops.swiglu_backward(x, dy))


@pytest.mark.parametrize("count", [2, 5])
def test_the_number_of_lanes_changes_no_bit(count: int) -> None:
    x, weight, dy = numbers(ROWS, 48), numbers(48), numbers(ROWS, 48)
    alone, found = (learn.norm_backward(x, weight, 1e-6, dy, torch.zeros_like(x), TileThreads(n)) for n in (1, count))
    assert torch.equal(found, alone)


def test_what_does_not_fit_is_known() -> None:
    x = numbers(2, 16)
    assert learn.fits(x, (16, 32))
    assert not learn.fits(x, (16, 24))
    assert not learn.fits(x.double())
    assert not learn.fits(x.bfloat16())


def test_what_compiled_code_would_misread_is_refused() -> None:
    """Another type, rows with gaps, a gradient that was expanded, shapes that do not belong together."""
    x, weight, y = numbers(8, 32), numbers(32), numbers(8, 32)
    wrong: list[tuple[Tensor, Tensor, Tensor]] = [
        (x.double(), weight, y),
        (x, weight.bfloat16(), y),
        (x[:, ::2], weight[:16], y[:, :16].contiguous()),
        (x.T, weight[:8], y),
        (x, weight[:1].expand(32), y),
        (x.to("meta"), weight, y),
    ]
    for given in wrong:
        with pytest.raises(Exception, match=r"compiled code: seen .*, expected torch.float32 on the CPU") as caught:
            learn.call("norm_forward", given[0], given[1], 1e-6, given[2], LANES.handle)
        assert "ArgumentError" in type(caught.value).__name__ or isinstance(caught.value, ValueError)
    unfit = [
        (x, weight[:16], y, "weight: seen 1 x 16 .*, expected 1 x 32"),
        (x, weight, y[:4], "y: seen 4 x 32 .*, expected 8 x 32"),
        (x[:1].expand(8, 32), weight, y, "x: seen 8 x 32 rows 0 apart, expected 8 x 32"),
        (numbers(16, 32)[::2], weight, y, "x: seen 8 x 32 rows 64 apart, expected 8 x 32"),
        (numbers(8, 24), numbers(24), numbers(8, 24), "a width that is not whole vectors of 16"),
    ]
    for *given, said in unfit:
        with pytest.raises(RuntimeError, match=f"norm_forward, which is compiled code: {said}"):
            learn.call("norm_forward", given[0], given[1], 1e-6, given[2], LANES.handle)
    learn.call("norm_forward", x, weight, 1e-6, y, LANES.handle)


@pytest.mark.parametrize("target", [-1, 20, 2**40])
def test_numbers_beyond_a_table_are_refused(target: int) -> None:
    """Targets beyond the vocabulary, positions beyond the angles: never read, never written."""
    logits, targets = numbers(3, 20), torch.tensor([0, target, 1])
    with pytest.raises(RuntimeError, match=rf"targets: seen {target}, expected 0 to 19"):
        learn.token_logprobs(logits, targets, 1.0, LANES)
    with pytest.raises(RuntimeError, match="targets"):
        learn.token_logprobs_backward(logits.clone(), targets, 1.0, numbers(3), numbers(3), LANES)
    angles = numbers(20, 16)
    with pytest.raises(RuntimeError, match=rf"positions: seen {target}, expected 0 to 19"):
        learn.heads(numbers(3, 48), (None, None), (angles, angles, targets), (1, 1, 16), 1e-6, LANES)


def test_spans_beyond_the_packed_tokens_are_refused() -> None:
    q = numbers(6, 1, 16)
    plan = Packing.of([([1, 2], [3, 4, 5, 6])])
    learn.attention(q, q, q, plan, 1.0, LANES)
    for name, wrong in (("prompts", [[0, 9, 0, 1]]), ("prompts", [[0, 2, 0, 5]]), ("completions", [[2, 5]])):
        broken = replace(plan, **{name: torch.tensor(wrong, dtype=torch.int32)})
        with pytest.raises(RuntimeError, match=r"beyond the packed tokens|not there"):
            learn.attention(q, q, q, broken, 1.0, LANES)
    with pytest.raises(RuntimeError, match="longer than the longest"):
        learn.attention(q, q, q, replace(plan, lengths=(5,)), 1.0, LANES)
