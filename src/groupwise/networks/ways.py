"""Which way a block is computed: by calls on whole halves of it, by kernels, or in torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from groupwise.kernels import halves, learn
from groupwise.networks import plain
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.linear import adapter_of, base_of, known, scales_of


class Settings(NamedTuple):
    """What a half block needs beside its parameters."""

    steps: Any  # kernels.learn or networks.plain
    eps: float
    offset: float  # norms multiply by offset + weight
    turns: tuple[Tensor, Tensor, Tensor]  # cos and sin [L, D], positions [N]
    shape: tuple[int, int, int]  # heads, kv heads, head_dim
    gelu: bool
    whole: bool  # a lane's rows in one call
    scales: tuple[tuple[float, ...], ...]  # of adapters beside q, k, v; o; gate, up; down


def linears_of(layer: LayerParts) -> list[list[nn.Module]]:
    """Those on one input together."""
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
    return bare or (_fast(blueprint, layer, like) and halves.multiply())


def settings(blueprint: Blueprint, layer: LayerParts, like: Tensor, turns: tuple[Tensor, Tensor, Tensor]) -> Settings:
    return Settings(
        learn if _fast(blueprint, layer, like) else plain,
        blueprint.eps,
        blueprint.norm_offset,
        turns,
        (blueprint.heads, blueprint.kv_heads, blueprint.head_dim),
        blueprint.activation != "silu",
        _fast(blueprint, layer, like) and halves.multiply(),
        tuple(map(scales_of, linears_of(layer))),
    )


def _fast(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the kernels compute it."""
    widths = blueprint.width, blueprint.head_dim, len(base_of(layer.gate).weight)
    return learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD
