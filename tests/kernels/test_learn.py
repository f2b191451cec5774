"""The learner's kernels say what plain torch says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.kernels import learn
from groupwise.networks import plain

pytestmark = pytest.mark.skipif(bool(learn.why_not()), reason=f"no kernels here: {learn.why_not()}")

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
    alike([learn.norm(x, weight, 1e-6)], [plain.norm(x, weight, 1e-6)])
    (ours, theirs) = (numbers(ROWS, width).fill_(0.5) for _ in range(2))
    weights = [kind.norm_backward(x, weight, 1e-6, dy, dx) for kind, dx in ((learn, ours), (plain, theirs))]
    alike([ours, weights[0]], [theirs, weights[1]])


@pytest.mark.parametrize("shape", [(2, 1, 16), (4, 2, 32), (3, 3, 64)])
@pytest.mark.parametrize("normed", [True, False])
def test_heads(shape: tuple[int, int, int], normed: bool) -> None:
    q, kv, size = shape
    x = numbers(ROWS, (q + 2 * kv) * size)
    weights = (numbers(size), numbers(size)) if normed else (None, None)
    angles = numbers(50, size // 2).repeat(1, 2)
    turns = angles.cos(), angles.sin(), torch.randint(50, (ROWS,), generator=DRAW)
    alike([learn.heads(x, weights, turns, shape, 1e-6)], [plain.heads(x, weights, turns, shape, 1e-6)])
    gradients = [numbers(ROWS, heads, size) for heads in (q, kv, kv)]
    given = (x if normed else None, weights, turns, shape, 1e-6, gradients)
    alike(learn.heads_backward(*given), plain.heads_backward(*given))


def test_gates() -> None:
    """Also where the gate is far from 0, on both sides."""
    x, dy = 30 * numbers(ROWS, 96), numbers(ROWS, 48)
    alike([learn.gated(x)], [plain.gated(x)])
    alike(learn.gated_backward(x, dy), plain.gated_backward(x, dy))


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    x, weight, dy = numbers(ROWS, 48), numbers(48), numbers(ROWS, 48)
    alone, before = learn.norm_backward(x, weight, 1e-6, dy, torch.zeros_like(x)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(learn.norm_backward(x, weight, 1e-6, dy, torch.zeros_like(x)), alone)
    finally:
        torch.set_num_threads(before)


def test_what_does_not_fit_is_known() -> None:
    x = numbers(2, 16)
    assert learn.fits(x, (16, 32))
    assert not learn.fits(x, (16, 24))
    assert not learn.fits(x.double())
    assert not learn.fits(x.bfloat16())
