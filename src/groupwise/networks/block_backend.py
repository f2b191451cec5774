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
        """Returns rows of q, k and v side by side, ``[N, (heads + 2 · kv_heads) · head_dim]``: as the matrix product
        leaves them, and normed and turned as attention takes them."""
        ...

    def rotate(self, raw: Tensor, parts: ProjectParts, how: BlockPlan) -> Tensor:
        """Makes what attention takes of the raw rows again, in the same shape."""
        ...

    def project_backward(
        self, x: Tensor, raw: Tensor | None, parts: ProjectParts, how: BlockPlan, gradients: Sequence[Tensor]
    ) -> tuple[Tensor, ProjectParts]:
        """Returns the gradients of x, ``[N, d]``, and of the parts (of linear layers: ``half_blocks.LayerSums``), from
        those of q, k and v, ``[N, heads, head_dim]`` each."""
        ...

    def finish(
        self, x: Tensor, mixed: Tensor, parts: FinishParts, how: BlockPlan, keep: bool
    ) -> tuple[Tensor, FinishKept]:
        """Returns the block's result, ``[N, d]``, of its input x and what attention mixed, ``[N, heads · head_dim]``,
        and what the backward pass needs; rows of gate and up only where ``keep``."""
        ...

    def finish_backward(
        self, dy: Tensor, mixed: Tensor, parts: FinishParts, how: BlockPlan, kept: FinishKept
    ) -> tuple[Tensor, Tensor, FinishParts]:
        """Returns the gradients of x, ``[N, d]``, and mixed, and of the parts, from that of the result."""
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
    return [layer.inward, [layer.o], layer.gate_up, [] if layer.down is None else [layer.down]]


def project_fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Says whether ``fused_blocks.project`` computes a layer's queries, keys and values, on tensors like this one."""
    modules = layer.inward
    plain = not blueprint.centred and not blueprint.parallel and not blueprint.order and not blueprint.query_growth[0]
    if (
        not plain
        or layer.latent
        or layer.before_attention is None
        or (layer.q_norm is not None and blueprint.head_norms != "head")
    ):
        return False
    whole = _adapted(modules) or half_weights(blueprint, like)
    return _exact(blueprint, like) and known(modules) and (not whole or _compiled(blueprint, layer, like))


def finish_fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Says whether ``fused_blocks.finish`` computes what follows a layer's attention, on tensors like this one."""
    if blueprint.centred or blueprint.parallel or blueprint.residual_scale != 1 or layer.before_mlp is None:
        return False
    if layer.latent or layer.mixture is not None or layer.gate is None or layer.down is None:
        return False
    groups = linears_of(layer)[1:]
    modules = [module for group in groups for module in group]
    if (
        not _exact(blueprint, like)
        or not all(map(known, groups))
        or any(base_of(module).bias is not None for module in modules)
    ):
        return False
    bare = blueprint.activation == "silu" and layer.after_attention is layer.after_mlp is None
    whole = _adapted(modules) or half_weights(blueprint, like)
    return (bare and not whole) or _compiled(blueprint, layer, like)


def _exact(blueprint: Blueprint, like: Tensor) -> bool:
    same = like.dtype == blueprint.embedding.weight.dtype
    exact = same and like.dtype in (torch.float32, torch.float64) and like.device.type == "cpu"
    return exact or half_weights(blueprint, like)


def half_weights(blueprint: Blueprint, like: Tensor) -> bool:
    """Says whether weights are bfloat16 beside a residual stream in float32, and compiled code multiplies by them."""
    narrow = blueprint.embedding.weight.dtype == torch.bfloat16 and like.dtype == torch.float32
    return narrow and like.device.type == "cpu" and half_blocks.multiplies_half()


def residual_like(weight: Tensor) -> Tensor:
    """Returns a tensor as the residual stream has it beside such weights: in bfloat16 on a CPU, float32, as the
    compiled engine has it, so that what blocks add is not rounded away."""
    narrow = weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
    return weight.new_empty(0, dtype=torch.float32) if narrow else weight


def _adapted(modules: Sequence[nn.Module]) -> bool:
    return any(adapter_of(module) for module in modules)


def _compiled(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Says whether whole halves are computed by compiled code."""
    return _fast(blueprint, layer, like) and half_blocks.multiply()


def block_plan(
    blueprint: Blueprint, layer: LayerParts, like: Tensor, rope: tuple[Tensor, Tensor, Tensor], pool: TileThreads
) -> BlockPlan:
    """Returns the plan of a block, with the backend that computes it."""
    fast = _fast(blueprint, layer, like)
    return BlockPlan(
        CompiledBlockBackend(pool) if _compiled(blueprint, layer, like) else StepwiseBlockBackend(fast, pool),
        blueprint.eps,
        blueprint.norm_offset,
        rope,
        (blueprint.heads, blueprint.kv_heads, blueprint.head_dim),
        blueprint.activation != "silu",
        tuple(scales_of(modules) if known(modules) else () for modules in linears_of(layer)),
    )


def _fast(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Says whether the kernels compute it."""
    widths: tuple[int, ...] = (blueprint.width, blueprint.head_dim)
    if layer.down is not None and known([layer.down]):
        widths = *widths, base_of(layer.down).weight.shape[1]
    return learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD
