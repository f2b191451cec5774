"""This module finds the modules that are trained whole beside adapters, and keeps them in an adapter's file as peft
does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groupwise.errors import UserError

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Before each name in peft's files."""


def whole_modules(model: Any, names: Sequence[str], adapted: Sequence[str]) -> list[str]:
    """Returns the full names of the modules with these last names. ``adapted``: names of layers with adapters.

    Raises UserError where there is none, where it has an adapter, and where it shares a parameter with a module that is
    not named.
    """
    modules = {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    there = sorted({_last(name) for name in modules if name})
    lost = sorted(set(names) - set(there))
    if lost:
        raise UserError(f"lora.modules_to_save: the model has no module {', '.join(lost)}; expected {', '.join(there)}")
    chosen = [name for name in modules if _last(name) in names]
    both = sorted({_last(name) for name in chosen} & {_last(name) for name in adapted})
    if both:
        raise UserError(
            f"lora.modules_to_save: {', '.join(both)} would be trained whole and have an adapter; expected it either "
            "there or in lora.targets"
        )
    known = {id(parameter) for name in chosen for parameter in modules[name].parameters(recurse=False)}
    for name, module in modules.items():
        if name not in chosen and known & {id(parameter) for parameter in module.parameters(recurse=False)}:
            raise UserError(
                f"lora.modules_to_save: {_last(name)} is the same matrix as one of {', '.join(names)}; expected both "
                "or neither"
            )
    return chosen


def add_to_file(directory: Path, model: nn.Module, chosen: Sequence[str]) -> None:
    """Adds them to an adapter that peft saved, so that it loads them in their places. Their full names are written: a
    last name would mean every name that ends so."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / WEIGHTS)
    for name in chosen:
        for part, parameter in model.get_submodule(name).named_parameters(recurse=False):
            tensors[f"{PREFIX}{name}.{part}"] = parameter.detach().cpu().clone()
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"modules_to_save": sorted(chosen)}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@torch.no_grad()
def take_from(tensors: dict[str, Any], model: nn.Module, chosen: Sequence[str]) -> None:
    """Copies them from an adapter's tensors, which are without them afterwards."""
    for name in chosen:
        for part, parameter in model.get_submodule(name).named_parameters(recurse=False):
            parameter.copy_(tensors.pop(f"{PREFIX}{name}.{part}"))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
