"""This module holds what may stand beside the policy's surrogate: an entropy bonus, a critic, and who the reference
policy is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entropy:
    """This bonus is coefficient · H(π_θ(·|o_<t)), added to every token's objective."""

    coefficient: Annotated[float, "(-inf, inf)"] = 0.0
    """Weight of the bonus, or where an adaptive one begins."""
    target: Annotated[float, "[0, inf)"] = 0.0
    """Nats a token that an adaptive weight keeps the entropy above (Skywork-OR1, arXiv 2505.22312): after each draw it
    rises by ``rate`` below the target and falls by it above, never under 0. 0: fixed."""
    rate: Annotated[float, "[0, inf)"] = 0.005
    """How far an adaptive weight moves a draw."""

    def adapted(self, nats: float) -> float:
        """Returns the weight after a draw whose tokens had ``nats`` of entropy on average."""
        if not self.target:
            return self.coefficient
        return max(0.0, self.coefficient + (self.rate if nats < self.target else -self.rate))

    @property
    def active(self) -> bool:
        """Says whether it does anything."""
        return bool(self.coefficient or self.target)

    def formula(self) -> str:
        """Writes the bonus; empty where there is none."""
        return f"{self.coefficient:g} H(π_θ)" if self.active else ""


@dataclass(frozen=True)
class Critic:
    """A critic learns -coefficient · ½ max( (V - G)², (clip(V, V_old ± clip) - G)² ): PPO's value loss as an
    objective."""

    network: Literal["none", "head", "own"] = "none"
    """No critic; a scalar head on the policy's last hidden states; or its own network, a copy of the policy's trunk."""
    coefficient: Annotated[float, "[0, inf)"] = 0.1
    """Weight of the value loss."""
    clip: Annotated[float, "[0, inf)"] = 0.2
    """How far a value may move within a draw before its loss goes flat. 0: not clipped."""
    learning_rate_factor: Annotated[float, "(0, inf)"] = 10.0
    """Of the critic's own parameters, times the stage's learning rate."""

    def objective(self, values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
        """Returns ``[B, T]``, to be maximised."""
        loss = (values - returns).square()
        if self.clip:
            held = torch.clamp(values, old_values - self.clip, old_values + self.clip)
            loss = torch.maximum(loss, (held - returns).square())
        return -self.coefficient * loss / 2

    def clipped(self, values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
        """Returns ``[B, T]`` bool: where the value has moved further than ``clip`` towards the return, so that the
        clipped loss is the larger one, and flat."""
        held = torch.clamp(values, old_values - self.clip, old_values + self.clip) if self.clip else values
        return (held != values) & ((held - returns).square() > (values - returns).square())

    @property
    def active(self) -> bool:
        """Says whether it does anything."""
        return self.network != "none"

    def formula(self) -> str:
        """Writes the critic's term; empty where there is none."""
        if not self.active:
            return ""
        if not self.clip:
            return f"{self.coefficient:g} · ½ (V - G)²"
        return f"{self.coefficient:g} · ½ max( (V - G)², (clip(V, V_old ± {self.clip:g}) - G)² )"


@dataclass(frozen=True)
class Reference:
    """This says who π_ref is: the policy as it is when the stage begins, unless said otherwise."""

    model: str = ""
    """A model directory or hub name: a teacher, say. Empty: the policy at the stage's beginning."""
    refresh_every: Annotated[int, "[0, inf)"] = 0
    """Steps after which the present policy becomes the reference (400 for R1-Zero). 0: never within the stage."""
    sees: str = field(default="", metadata={"said": "where set"})
    """What it reads in the place of the prompt, or of a conversation's last message of the user's: text with {prompt},
    and {answer}, {completion} or names of columns of the row, as a teacher who sees more than the policy does. Empty:
    what the policy reads."""
