"""This module chooses which layers of a model low-rank adapters stand beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from groupwise.errors import UserError

ALL_LINEAR = "all-linear"
ROUTERS = ("gate", "router", "shared_expert_gate")
"""Last names of the small layers that choose experts: all-linear leaves them as they are."""
EXPERTS = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3")
"""Last names that peft takes for the experts' where several experts' weights are one parameter: all-linear leaves them
out there, of shared experts and dense blocks too."""
UNHEARD = "dt_proj"
"""Last name of a layer whose weight state-space models read past the layer itself, so that an adapter would go unheard
where the model learns and be heard where it samples."""
REFUSED = {"mamba": "out_proj", "mamba2": "out_proj", "falcon_mamba": "out_proj", "falcon_h1": "out_proj"}
"""Model type -> the last name that peft refuses for the same reason."""


def target_modules(model: Any, targets: Sequence[str]) -> list[str]:
    """Returns the full names of the layers, in the model's order; ``all-linear`` stands for every linear layer of the
    blocks.

    Raises UserError, with the names that there are, where a target is none of them.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    if UNHEARD in targets:
        raise UserError(f"lora.targets: {UNHEARD} is read past the layer itself, so an adapter of it would go unheard")
    lost = sorted(set(targets) - {ALL_LINEAR} - set(last_names(linear)))
    if lost or not targets:
        raise UserError(
            f"lora.targets: the model has no linear layer named {', '.join(lost) or 'by an empty list'}; expected "
            f"{ALL_LINEAR} or some of {', '.join(last_names(linear))}"
        )
    wanted = {name for name in linear if _last(name) in targets}
    if ALL_LINEAR in targets:
        without = {*ROUTERS, UNHEARD, REFUSED.get(model.config.model_type, ""), *(EXPERTS if _experts(model) else ())}
        wanted |= {name for name in linear if _in_a_block(name) and _last(name) not in without}
    if not wanted:
        raise UserError(f"lora.targets: no block of the model has a linear layer; its layers: {', '.join(linear)}")
    return [name for name in linear if name in wanted]


def named_briefly(model: Any, chosen: Sequence[str]) -> list[str]:
    """Returns last names where they mean the chosen layers and nothing else, else full names: what peft keeps in a
    file."""
    short = last_names(chosen)
    meant = {name for name, _ in model.named_modules() if _last(name) in short}
    return short if meant == set(chosen) else list(chosen)


def excluded_layers(model: Any, chosen: Sequence[str]) -> str:
    """Says in words which linear layers and experts of the blocks have no adapter; empty: none."""
    experts = set(_experts(model))
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    without = [name for name in linear if _in_a_block(name) and name not in chosen]
    names = last_names([*sorted(experts), *(name for name in without if _last(name) not in last_names(chosen))])
    return f"; without adapters: {', '.join(names)}" if names else ""


def last_names(names: Iterable[str]) -> list[str]:
    """Returns last names without repetition, in order."""
    return list(dict.fromkeys(map(_last, names)))


def _experts(model: Any) -> list[str]:
    """Parameters that hold the weights of several experts at once, which are no linear layers."""
    found = [name for name, parameter in model.named_parameters() if parameter.dim() > 2]
    return [name for name in found if ".experts." in name or name.endswith(".experts")]


def _in_a_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
