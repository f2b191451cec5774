"""This module chooses how a block is computed: by calls on whole halves of it, or step by step, by kernels or in
torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from groupwise.kernels import half_blocks, learn
from groupwise.kernels.half_blocks import FinishKept, FinishParts, ProjectParts
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.compiled_block import CompiledBlockBackend
from groupwise.networks.linear import adapter_of, base_of, known, scales_of
from groupwise.networks.stepwise_block import StepwiseBlockBackend


class BlockBackend(Protocol):
    """Computes the two halves of a block on ``[N, d]`` rows, forward and backward, without gradient of its own."""

    def project(self, x: Tensor, parts: ProjectParts, how: BlockPlan) -> tuple[Tensor, Tensor]:
        """Returns rows of q, k and v as the matrix product leaves them, and as attention takes them."""
        ...

    def rotate(self, raw: Tensor, parts: ProjectParts, how: BlockPlan) -> Tensor:
        """Makes what attention takes of the raw rows again."""
        ...

    def project_backward(
        self, x: Tensor, raw: Tensor | None, parts: ProjectParts, how: BlockPlan, gradients: Sequence[Tensor]
    ) -> tuple[Tensor, ProjectParts]:
        """The gradient of x, and of the parts (of layers, ``kernels.halves.LayerSums``); ``gradients``: of q, k, v."""
        ...

    def finish(
        self, x: Tensor, mixed: Tensor, parts: FinishParts, how: BlockPlan, keep: bool
    ) -> tuple[Tensor, FinishKept]:
        """The result, and what the backward pass needs; rows of gate and up only where ``keep``."""
        ...

    def finish_backward(
        self, dy: Tensor, mixed: Tensor, parts: FinishParts, how: BlockPlan, kept: FinishKept
    ) -> tuple[Tensor, Tensor, FinishParts]:
        """The gradients of x and mixed, and of the parts."""
        ...


class BlockPlan(NamedTuple):
    """A plan holds what a half block needs beside its parameters."""

    half: BlockBackend
    eps: float
    offset: float  # norms multiply by offset + weight
    rope: tuple[Tensor, Tensor, Tensor]  # cos and sin [L, D], positions [N]
    shape: tuple[int, int, int]  # heads, kv heads, head_dim
    gelu: bool
    scales: tuple[tuple[float, ...], ...]  # of adapters beside q, k, v; o; gate, up; down


def linears_of(layer: LayerParts) -> list[list[nn.Module]]:
    """Returns the linear layers of a block, those on one input together."""
    return [[layer.q, layer.k, layer.v], [layer.o], [layer.gate, layer.up], [layer.down]]


def fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether ``networks.fused`` computes that layer, on tensors like this one."""
    exact = like.dtype in (torch.float32, torch.float64) and like.device.type == "cpu"
    if not exact or not all(map(known, linears_of(layer))):
        return False
    if any(base_of(module).bias is not None for module in (layer.o, layer.gate, layer.up, layer.down)):
        return False
    bare = blueprint.activation == "silu" and layer.after_attention is layer.after_mlp is None
    bare = bare and not any(adapter_of(module) for modules in linears_of(layer) for module in modules)
    return bare or (_fast(blueprint, layer, like) and half_blocks.multiply())


def block_plan(
    blueprint: Blueprint, layer: LayerParts, like: Tensor, rope: tuple[Tensor, Tensor, Tensor], pool: TileThreads
) -> BlockPlan:
    fast = _fast(blueprint, layer, like)
    return BlockPlan(
        CompiledBlockBackend(pool) if fast and half_blocks.multiply() else StepwiseBlockBackend(fast, pool),
        blueprint.eps,
        blueprint.norm_offset,
        rope,
        (blueprint.heads, blueprint.kv_heads, blueprint.head_dim),
        blueprint.activation != "silu",
        tuple(map(scales_of, linears_of(layer))),
    )


def _fast(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the kernels compute it."""
    widths = blueprint.width, blueprint.head_dim, len(base_of(layer.gate).weight)
    return learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD
