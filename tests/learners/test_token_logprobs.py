"""Log-probabilities and entropies tile by tile: those of a full log-softmax, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from groupwise.kernels import half_blocks, learn
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners import token_logprobs as module
from groupwise.learners.token_logprobs import token_logprobs

TOKENS, WIDTH = 37, 32


def case(vocabulary: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(vocabulary)
    hidden, matrix = (
        torch.randn(n, WIDTH, generator=draw, dtype=torch.float64).to(dtype) for n in (TOKENS, vocabulary)
    )
    targets = torch.randint(vocabulary, (TOKENS,), generator=draw)
    return hidden.requires_grad_(), matrix.requires_grad_(), targets, torch.randn(TOKENS, generator=draw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vocabulary", [5, 16, 61, 512])
@pytest.mark.parametrize("kept", [0, 2**23], ids=["computed again", "kept"])
@pytest.mark.parametrize("kernels", [True, False])
def test_equals_a_full_log_softmax(
    dtype: torch.dtype, vocabulary: int, kept: int, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_ELEMENTS", kept)
    monkeypatch.setattr(module, "TILE_TOKENS", 10)
    if not kernels:
        monkeypatch.setattr(learn, "fits", lambda *_: False)
    hidden, matrix, targets, by = case(vocabulary, dtype)
    logprobs, entropies = token_logprobs(hidden, matrix, targets, 0.7)
    assert not entropies.requires_grad
    table = (hidden @ matrix.T / 0.7).log_softmax(-1)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(logprobs, table.gather(1, targets[:, None])[:, 0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(entropies, -(table.exp() * table).sum(-1), rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(logprobs, (hidden, matrix), by.to(dtype))
    expected = torch.autograd.grad(table.gather(1, targets[:, None])[:, 0], (hidden, matrix), by.to(dtype))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= (1e-10 if dtype == torch.float64 else 1e-6) * theirs.norm() + 1e-12
    with torch.no_grad():
        assert torch.equal(token_logprobs(hidden, matrix, targets, 0.7)[0], logprobs)


@pytest.mark.parametrize("kept", [0, 2**23], ids=["computed again", "kept"])
@pytest.mark.parametrize(("rows", "vocabulary", "width"), [(1, 1, 1), (7, 61, 17), (13, 65, 33), (9, 9001, 31)])
def test_in_half_precision_no_size_need_be_even(
    rows: int, vocabulary: int, width: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products are of pairs of numbers, by panels; where they are compiled, by any number of threads alike."""
    monkeypatch.setattr(module, "KEPT_ELEMENTS", kept)
    draw = torch.Generator().manual_seed(rows)
    given = [torch.randn(count, width, generator=draw).bfloat16() for count in (rows, vocabulary)]
    targets, by = torch.randint(vocabulary, (rows,), generator=draw), torch.randn(rows, generator=draw)
    found = []
    for threads in (1, 2):
        halves = [part.clone().requires_grad_() for part in given]
        logprobs, entropies = token_logprobs(halves[0], halves[1], targets, 2.0, TileThreads(threads))
        found.append([logprobs.detach(), entropies, *torch.autograd.grad(logprobs, halves, by)])
    exact = [part.double().requires_grad_() for part in given]
    table = (exact[0] @ exact[1].T / 2.0).log_softmax(-1)
    chosen = table.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found[0][0].double(), chosen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0][1].double(), -(table.exp() * table).sum(-1), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(found[0][2:], torch.autograd.grad(chosen, exact, by.double()), strict=True):
        assert (ours.double() - theirs).norm() <= 0.01 * theirs.norm() + 1e-6
    if half_blocks.multiplies_half():
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


class Largest(TorchDispatchMode):
    """Remembers the most elements that a tensor had."""

    seen = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), options: Any = None) -> Any:
        result = function(*given, **(options or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            self.seen = max(self.seen, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return result


def test_logits_of_all_tokens_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_ELEMENTS", 0)
    monkeypatch.setattr(module, "TILE_ELEMENTS", 512 * 4)
    hidden, matrix, targets, by = case(512, torch.float64)
    with Largest() as largest:
        token_logprobs(hidden, matrix, targets, 1.0)[0].backward(by.double())
    assert largest.seen == matrix.numel() < 512 * TOKENS


@pytest.mark.parametrize("vocabulary", [512, 9000])
@pytest.mark.parametrize("kept", [0, 2**23], ids=["computed again", "kept"])
@pytest.mark.parametrize("sums", [0, 10**9], ids=["one strand", "two strands"])
def test_the_number_of_lanes_changes_no_bit(
    vocabulary: int, kept: int, sums: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small vocabulary, whose tiles lanes share, and of one so large that they share each tile."""
    monkeypatch.setattr(module, "KEPT_ELEMENTS", kept)
    monkeypatch.setattr(module, "SUMS_ELEMENTS", sums)
    monkeypatch.setattr(module, "TILE_TOKENS", 5)
    found = []
    for count in (1, 2, 2, 5):
        hidden, matrix, targets, by = case(vocabulary, torch.float32)
        logprobs, entropies = token_logprobs(hidden, matrix, targets, 0.7, TileThreads(count))
        found.append((logprobs, entropies, *torch.autograd.grad(logprobs, (hidden, matrix), by)))
        frozen = token_logprobs(hidden, matrix.detach(), targets, 0.7, TileThreads(count))[0]
        assert torch.equal(torch.autograd.grad(frozen, hidden, by)[0], found[-1][2])
    for some in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], some, strict=True))


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_may_come_in_any_form(dtype: torch.dtype, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanded, as that of a sum is, with steps, or in another order of memory; hidden states and targets too."""
    if not kernels:
        monkeypatch.setattr(half_blocks, "multiply", lambda: False)
    hidden, matrix, targets, by = case(61, dtype)
    forms = [torch.ones(1).expand(TOKENS), torch.stack((by, by), dim=1)[:, 1], by.flip(0).flip(0), by]
    table = (hidden @ matrix.T / 0.7).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    for form in forms:
        given = (
            hidden.T.contiguous().T,
            torch.cat((matrix, matrix), dim=1)[:, :WIDTH],
            targets.repeat_interleave(2)[::2],
        )
        logprobs = token_logprobs(*given, 0.7)[0]
        ours = torch.autograd.grad(logprobs, (hidden, matrix), form.to(dtype))
        theirs = torch.autograd.grad(table, (hidden, matrix), form.to(dtype), retain_graph=True)
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).norm() <= (1e-10 if dtype == torch.float64 else 1e-6) * other.norm()
    summed = torch.autograd.grad(token_logprobs(hidden, matrix, targets, 0.7)[0].sum(), hidden)[0]
    theirs = torch.autograd.grad(table.sum(), hidden)[0]
    assert (summed - theirs).norm() <= 1e-6 * theirs.norm()


def test_tiles_of_a_large_vocabulary_hold_enough_tokens_to_be_worth_reading_it() -> None:
    """What exists at once keeps to the limit, and each strand has as many tiles."""
    for strands in (1, 2):
        size = module.tile_size(4096, 151_936, strands)
        assert -(-4096 // size) % strands == 0
        assert 400 < size * strands <= module.TILE_ELEMENTS / 151_936


def test_extreme_logits_stay_finite() -> None:
    """A certain token, an impossible one, and logits beyond what their exponential could hold."""
    matrix = torch.zeros(261, 16)
    matrix[7, 0], matrix[8, 0] = 1.0, -1.0
    hidden = torch.zeros(3, 16)
    hidden[:, 0] = torch.tensor([500.0, 500.0, 1e-3])
    hidden.requires_grad_()
    logprobs, entropies = token_logprobs(hidden, matrix, torch.tensor([7, 8, 9]), 1.0)
    assert logprobs.tolist() == pytest.approx([0.0, -1000.0, -5.564520], abs=1e-4)
    assert entropies.tolist() == pytest.approx([0.0, 0.0, 5.564520], abs=1e-4)
    logprobs.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_a_gradient_can_be_taken_twice() -> None:
    hidden, matrix, targets, by = case(61, torch.float64)
    logprobs, _ = token_logprobs(hidden, matrix, targets, 1.0)
    first, second = (torch.autograd.grad(logprobs, (hidden, matrix), by.double(), retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
