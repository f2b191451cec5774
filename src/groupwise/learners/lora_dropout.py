"""This module drops inputs of adapters while a policy learns: other ones at each update, the same ones for every token
of it.

So no gradient depends on how rows are put into micro-batches, blocks that are computed again find what they had, and
layers stay products of two matrices. (arXiv 2404.09610 drops columns of A as this does, and rows of B too, which this
does not. peft's dropout draws for each token by itself.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

STEP = 0x9E3779B97F4A7C15  # between the seeds of two updates


@torch.no_grad()
def input_masks(matrices: Sequence[nn.Parameter], share: float, update: int) -> list[Tensor]:
    """Returns ``[1, inputs]`` for each matrix A: 0 for an input that is dropped, else 1 / (1 - share). ``update`` alone
    decides which, on every device."""
    draw = torch.Generator().manual_seed(update * STEP % 2**63)
    drawn = [torch.rand(1, matrix.shape[1], generator=draw) for matrix in matrices]
    kept = [(numbers >= share) / (1 - share) for numbers in drawn]
    return [mask.to(matrix) for mask, matrix in zip(kept, matrices, strict=True)]


@contextmanager
def without_inputs(matrices: Sequence[nn.Parameter], masks: Sequence[Tensor]) -> Iterator[None]:
    """Lets the matrices be without what is masked; a graph that was made in here is to go backward in here."""
    own = [matrix.data for matrix in matrices]
    for matrix, mask in zip(matrices, masks, strict=True):
        matrix.data = matrix.data * mask
    try:
        yield
    finally:
        for matrix, data in zip(matrices, own, strict=True):
            matrix.data = data


def mask_gradients(matrices: Sequence[nn.Parameter], masks: Sequence[Tensor]) -> None:
    """Makes gradients of what ``without_inputs`` showed those of the matrices."""
    for matrix, mask in zip(matrices, masks, strict=True):
        if matrix.grad is not None:
            matrix.grad *= mask
