"""What is compared: options of theirs, and the value of ours that should be the same mathematics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from draws import Draw, Found
from explained import Formula
from ours import ours

from groupwise.algorithm import Algorithm
from groupwise.recipes import openrlhf_0_11, openrlhf_0_11_ppo, trl_1_16, verl_0_9, verl_0_9_ppo

PRESETS = {"TRL": [trl_1_16], "verl": [verl_0_9, verl_0_9_ppo], "OpenRLHF": [openrlhf_0_11, openrlhf_0_11_ppo]}


def _as_it_is(draw: Draw) -> Draw:
    return draw


@dataclass(frozen=True)
class Case:
    """One row of the comparison."""

    system: str
    name: str
    theirs: Callable[[Draw], Found]
    algorithm: Algorithm
    updates: int = 1
    """Of one draw."""
    formula: Formula | None = None
    """None: ours finds the same. Else: their formula by hand, whose docstring names the difference."""
    changed: Callable[[Draw], Draw] = _as_it_is
    """What both are given of a draw."""
    preset: str = ""
    """The recipe that this row shows as it is. Of several rows the last one gives the golden numbers."""

    def ours(self, draw: Draw) -> Found:
        return ours(self.algorithm, draw, self.updates)

    def without_options(self) -> list[Case]:
        """Of the nearest preset's other slots, each put back by itself: what a row's options must move."""
        own = vars(self.algorithm)
        nearest = min(PRESETS[self.system], key=lambda preset: len(_differing(own, vars(preset))))
        back = {name: vars(nearest)[name] for name in _differing(own, vars(nearest))}
        return [replace(self, algorithm=replace(self.algorithm, **{name: slot})) for name, slot in back.items()]

    def by_hand(self, draw: Draw) -> Found:
        return self.formula(self.algorithm, draw, self.updates) if self.formula else self.ours(draw)

    @property
    def why(self) -> str:
        """Empty where nothing differs."""
        return " ".join((self.formula.__doc__ or "").split()) if self.formula else ""


def _differing(own: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    return [name for name in own if own[name] != preset[name]]


def on_policy(draw: Draw) -> Draw:
    """The policy that learns is the one that sampled."""
    return replace(draw, old=draw.logprobs)


def from_sampler(draw: Draw) -> Draw:
    """π_old is what the sampler reported, and no probability is above 1."""
    most = torch.where(draw.mask, -1e-3, 0.0)
    sampler = torch.minimum(draw.behavior, most)
    return replace(draw, logprobs=torch.minimum(draw.logprobs, most), old=sampler, behavior=sampler)


def taught(draw: Draw) -> Draw:
    """The policy has drawn them as it is; no probability is above 1."""
    most = torch.where(draw.mask, -1e-3, 0.0)
    policy, teacher = torch.minimum(draw.logprobs, most), torch.minimum(draw.reference, most)
    return replace(draw, logprobs=policy, old=policy, reference=teacher)


def alone(draw: Draw) -> Draw:
    """Every completion is a group of its own."""
    return replace(draw, group=torch.arange(len(draw.group)))


def large_rewards(draw: Draw) -> Draw:
    """Up to 30."""
    return replace(draw, rewards=draw.rewards * 30)


def equal_rewards(draw: Draw) -> Draw:
    """Groups of eight, in each the same reward: 0.1, 0.2 ..."""
    group = torch.arange(len(draw.group)) // 8
    return replace(draw, group=group, rewards=(group.double() + 1) / 10)
