"""Adapters that a learner trains beside frozen weights, as a server is given them: a folder as peft saves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAME = "default"
PREFIX = "base_model.model."
UNDER = ".base_layer."
A, B = f".lora_A.{NAME}.weight", f".lora_B.{NAME}.weight"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class LowRank:
    """This is W + scale · B A of some layers of a model: A and B by the layers' names."""

    rank: int
    scale: float
    layers: Mapping[str, tuple[Tensor, Tensor]]

    def config(self) -> dict[str, Any]:
        """Returns what adapter_config.json says. ``lora_alpha / r`` is the scale, however it was asked for."""
        last = sorted({layer.rpartition(".")[2] for layer in self.layers})
        named = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": last, "bias": "none"}
        return named | {"r": self.rank, "lora_alpha": self.scale * self.rank, "use_rslora": False}

    def tensors(self) -> dict[str, Tensor]:
        """Returns what is written, by peft's names."""
        named = {}
        for layer, parts in self.layers.items():
            for part, tensor in zip(("lora_A", "lora_B"), parts, strict=True):
                named[f"{PREFIX}{layer}.{part}.weight"] = tensor.to("cpu", torch.float32).contiguous().clone()
        return named

    def merged(self, frozen: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yields the weights with the adapters in them."""
        for name, weight in frozen:
            parts = self.layers.get(name.removesuffix(".weight"))
            if parts is None:
                yield name, weight
            else:
                first, second = (part.float() for part in parts)
                yield name, weight.float() + self.scale * second @ first


def low_rank_of(weights: Sequence[tuple[str, Tensor]], model: Any) -> LowRank | None:
    """The adapters among weights; None: there are none. ``model``: has them at its layers, with their rank and scale.
    Raises ValueError where layers differ in these."""
    given = dict(weights)
    layers = {
        name.removesuffix(A): (given[name], given[name.removesuffix(A) + B]) for name in given if name.endswith(A)
    }
    if not layers:
        return None
    modules = [model.get_submodule(layer) for layer in layers]
    kinds = {(int(module.r[NAME]), float(module.scaling[NAME])) for module in modules}
    if len(kinds) > 1:
        raise ValueError(f"adapters of one rank and scale expected; seen {sorted(kinds)}")
    [(rank, scale)] = kinds
    return LowRank(rank, scale, layers)


def frozen_of(weights: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """Returns the weights under adapters, and all others, by their names in the model without adapters."""
    return [(name.replace(UNDER, "."), weight) for name, weight in weights if not name.endswith((A, B))]
