"""This module makes one optimiser update: gradients divided, clipped group by group, and left out where they are not
finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.learners.adamw8 import AdamW8
from groupwise.learners.options import LearnerOptions

SMALL = 2**22
"""Parameters. A step of so few is over before threads within its operations have met, and late where a core is busy."""


class Optimizer:
    """An optimizer is AdamW over a group of parameters for each network.

    Parameters in half precision have a float32 copy: gradients of micro-batches are summed there, AdamW steps it, and
    the parameter becomes the copy rounded. ``close`` before another one is made on the same parameters.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], config: LearnerOptions) -> None:
        self.max_norm = config.max_grad_norm
        self.masters: list[tuple[nn.Parameter, nn.Parameter]] = []
        self._hooks: list[Any] = []
        self.groups = [[self._stepped(parameter) for parameter in group] for group in groups]
        self.small = sum(parameter.numel() for group in self.groups for parameter in group) <= SMALL
        self._adamw = self._made(config)

    def _made(self, config: LearnerOptions) -> Any:
        if config.optimizer_bits == 8:
            return AdamW8(self.groups, config.betas, config.weight_decay)
        groups = [{"params": group} for group in self.groups if group]
        return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, weight_decay=config.weight_decay, fused=True)

    def _stepped(self, parameter: nn.Parameter) -> nn.Parameter:
        """Returns what AdamW steps: the parameter, or its float32 copy."""
        if parameter.dtype not in (torch.bfloat16, torch.float16):
            return parameter
        master = nn.Parameter(parameter.detach().float())
        self.masters.append((parameter, master))

        def gather(computed: Tensor) -> None:
            assert computed.grad is not None
            master.grad = computed.grad.float() if master.grad is None else master.grad.add_(computed.grad)
            computed.grad = None

        self._hooks.append(parameter.register_post_accumulate_grad_hook(gather))
        return master

    def fill(self) -> bool:
        """Gives each network that has no gradient yet one of zeros, since what AdamW keeps of earlier steps still moves
        it: its parameters that have learned before, since no gradient ever comes to others. Returns False where nobody
        knows yet which do, before a first step."""
        missing = [group for group in self.groups if group and all(parameter.grad is None for parameter in group)]
        known = [[parameter for parameter in group if self._has_learned(parameter)] for group in missing]
        if not all(known):
            return False
        for parameter in (parameter for group in known for parameter in group):
            parameter.grad = torch.zeros_like(parameter)
        return True

    def _has_learned(self, parameter: nn.Parameter) -> bool:
        if isinstance(self._adamw, AdamW8):
            return self._adamw.has_learned(parameter)
        return bool(self._adamw.state.get(parameter))

    def step(self, count: float, rates: Sequence[float]) -> tuple[list[float], bool]:
        """Makes one update, each group at its rate, and returns the groups' gradient norms and whether it was made.

        Gradients are divided by ``count`` and clipped group by group; one that is not finite leaves the update out.
        """
        norms = [divide_and_clip(group, count, self.max_norm) for group in self.groups]
        finite = all(norm < float("inf") for norm in norms)
        for group, rate in zip(self._adamw.param_groups, rates, strict=False):
            group["lr"] = rate
        if finite:
            self._adamw.step()
            with torch.no_grad():
                for parameter, master in self.masters:
                    parameter.copy_(master)
        self.discard()
        return norms, finite

    def discard(self) -> None:
        """Forgets the gradients, also those that were left in half precision."""
        self._adamw.zero_grad(set_to_none=True)
        for parameter, _ in self.masters:
            parameter.grad = None

    def close(self) -> None:
        """Lets go of the parameters."""
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors and plain values."""
        return {"adamw": self._adamw.state_dict(), "masters": [master.detach() for _, master in self.masters]}

    def load_state_dict(self, state: Mapping[str, Any], part: Callable[[Any, Any], Any] = lambda x, like: x) -> None:
        """Takes up what ``state_dict`` returned, on the weights it was taken with. ``part``: what a process keeps of
        a tensor that is as long as a parameter."""
        saved = state["adamw"]
        if "param_groups" in saved:
            parameters = [parameter for group in self.groups for parameter in group]
            kept = saved["state"].items()
            parts = {number: _parts(values, parameters[number], part) for number, values in kept}
            saved = {**saved, "state": parts}
        self._adamw.load_state_dict(saved)
        with torch.no_grad():
            for (_, master), saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(part(saved, master))


def _parts(values: Mapping[str, Any], parameter: Tensor, part: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """Returns what AdamW keeps of one parameter: its count of steps stays, its moments are as long as the parameter."""
    return {name: part(value, parameter) if name.startswith("exp") else value for name, value in values.items()}


def divide_and_clip(parameters: Sequence[nn.Parameter], count: float, max_norm: float) -> float:
    """Returns the norm of the gradients after their division by ``count``, before they are scaled down to
    ``max_norm``."""
    present = [parameter for parameter in parameters if parameter.grad is not None]
    if not present:
        return 0.0
    torch._foreach_div_([parameter.grad for parameter in present if parameter.grad is not None], max(count, 1e-12))
    norm: Any = nn.utils.clip_grad_norm_(present, max_norm or float("inf"))
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # of parts that processes hold


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters that take a gradient."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
