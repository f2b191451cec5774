"""Adapters that a learner trains beside frozen weights, as a server is given them: a folder as peft saves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NAME = "default"
PREFIX = "base_model.model."
UNDER = "base_layer."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class LowRank:
    """This is W + scale · B A of some layers of a model: A and B by peft's names."""

    rank: int
    scale: float
    layers: tuple[str, ...]
    tensors: dict[str, Tensor]

    def config(self) -> dict[str, Any]:
        """Returns what adapter_config.json says. ``lora_alpha / r`` is the scale, however it was asked for."""
        last = sorted({layer.rpartition(".")[2] for layer in self.layers})
        named = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": last, "bias": "none"}
        return named | {"r": self.rank, "lora_alpha": self.scale * self.rank, "use_rslora": False}


def low_rank_of(model: Any) -> LowRank | None:
    """The adapters that stand beside a model's own weights, which are then frozen; None: it has none, or they are in
    its weights. Raises ValueError where layers differ in rank or scale."""
    found = dict(_adapted(model))
    if not found:
        return None
    kinds = {(module.r[NAME], float(module.scaling[NAME])) for module in found.values()}
    if len(kinds) > 1:
        raise ValueError(f"adapters of one rank and scale expected; seen {sorted(kinds)}")
    [(rank, scale)] = kinds
    tensors = dict[str, Tensor]()
    for name, module in found.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = module.lora_A[NAME].weight.detach()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = module.lora_B[NAME].weight.detach()
    return LowRank(rank, scale, tuple(found), tensors)


def frozen_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights under the adapters, and all others, by their names in the model without adapters."""
    own = {f"{name}.{part}." for name, module in _adapted(model) for part in ("lora_A", "lora_B")}
    for name, weight in model.named_parameters():
        if not any(name.startswith(prefix) for prefix in own):
            yield name.replace(UNDER, ""), weight.detach()


def mark_of(model: nn.Module) -> int:
    """Returns a number that changes whenever a frozen weight is written to, or another takes its place."""
    return hash(tuple((name, weight.data_ptr(), weight._version) for name, weight in frozen_of(model)))


def as_float(low_rank: LowRank) -> dict[str, Tensor]:
    """The tensors as they are written."""
    return {name: tensor.to("cpu", torch.float32).contiguous().clone() for name, tensor in low_rank.tensors.items()}


def _adapted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            yield name, module
