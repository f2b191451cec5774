"""This module chooses which layers of a model low-rank adapters stand beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Targets:
    """These are full names of the layers and of the experts' parameters that get an adapter, in the model's order."""

    model: Any
    names: list[str]
    experts: list[str]

    @staticmethod
    def of(model: Any, targets: Sequence[str]) -> Targets:
        """Finds them; ``all-linear`` stands for every linear layer of the blocks and for the experts.

        Raises UserError, with the names that there are, where a target is none of them.
        """
        names, all_linear = target_modules(model, targets), ALL_LINEAR in targets
        exact = next(model.parameters()).dtype.itemsize >= 4  # peft adds theirs to weights: rounded, most would be lost
        return Targets(model, names, _experts(model) if all_linear and exact else [])

    @property
    def transposed(self) -> bool:
        """Says whether their weights have inputs first."""
        return all(type(self.model.get_submodule(name)) is Conv1D for name in self.names)

    def named_briefly(self) -> list[str]:
        """Returns last names where they mean the chosen layers and nothing else, else full names: what peft keeps in a
        file."""
        short = last_names(self.names)
        meant = {name for name, _ in self.model.named_modules() if _last(name) in short}
        return short if meant == set(self.names) else list(self.names)

    def experts_briefly(self) -> list[str]:
        """Returns the ends of the experts' names that peft finds them by."""
        return list(dict.fromkeys(".".join(name.split(".")[-2:]) for name in self.experts))

    def experts_in_words(self) -> str:
        """Says which experts have adapters; empty: none."""
        return f"; of all experts {', '.join(last_names(self.experts))}" if self.experts else ""

    def excluded_in_words(self) -> str:
        """Says which linear layers and experts of the blocks have no adapter; empty: none."""
        without = [name for name in _linear(self.model) if _in_a_block(name) and name not in self.names]
        bare = [name for name in without if _last(name) not in last_names(self.names)]
        names = last_names([*(name for name in _experts(self.model) if name not in self.experts), *bare])
        return f"; without adapters: {', '.join(names)}" if names else ""


def target_modules(model: Any, targets: Sequence[str]) -> list[str]:
    """Returns the full names of the layers, in the model's order; ``all-linear`` stands for every linear layer of the
    blocks.

    Raises UserError, with the names that there are, where a target is none of them.
    """
    linear = _linear(model)
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


def last_names(names: Iterable[str]) -> list[str]:
    """Returns last names without repetition, in order."""
    return list(dict.fromkeys(map(_last, names)))


def _experts(model: Any) -> list[str]:
    """Parameters that hold the weights of several experts at once, which are no linear layers."""
    found = [name for name, parameter in model.named_parameters() if parameter.dim() > 2]
    return [name for name in found if ".experts." in name or name.endswith(".experts")]


def _linear(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _in_a_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
