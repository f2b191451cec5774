"""Random draws that every system is given alike: ragged rows, several groups, four log-probabilities that differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Rows are completions, group after group; all floats are float64, 0 where the mask is 0."""

    mask: Tensor  # [B, T] bool
    group: Tensor  # [B] int64
    rewards: Tensor  # [B]
    finished: Tensor  # [B] bool: False where truncated
    logprobs: Tensor  # [B, T] π_θ
    old: Tensor  # [B, T] proximal anchor
    behavior: Tensor  # [B, T] what the sampler reported
    reference: Tensor  # [B, T] π_ref
    entropy: Tensor  # [B, T] nats
    values: Tensor  # [B, T] the critic's now
    old_values: Tensor  # [B, T] the critic's when the draw was made

    @property
    def group_size(self) -> int:
        return int((self.group == self.group[0]).sum())

    @property
    def lengths(self) -> list[int]:
        return [int(length) for length in self.mask.sum(dim=1)]

    def parts(self, number: int) -> list[slice]:
        """The rows of each of so many equally large minibatches, in order."""
        size = len(self.mask) // number
        return [slice(start, start + size) for start in range(0, size * number, size)]


@dataclass(frozen=True)
class Found:
    """What one system says of a draw: the sum of its updates' losses; in each row, the gradient of its own update's."""

    loss: float  # minimised: policy, KL and entropy together
    logprobs: Tensor  # [B, T] ∂loss/∂logprobs
    advantages: Tensor  # [B, T]
    value_loss: float = 0.0
    values: Tensor | None = None  # [B, T] ∂value_loss/∂values
    entropy: Tensor | None = None  # [B, T] ∂loss/∂entropy


def draws() -> dict[str, Draw]:
    """From the policy that sampled to one far from it, and from a reference near it to one far away."""
    return {
        "on-policy": draw(0, spread=0.0),
        "near": draw(1, spread=0.3),
        "off-policy": draw(2, spread=0.6),
        "far": draw(3, spread=0.9, far=12.0),
    }


def draw(
    seed: int, groups: int = 6, group_size: int = 4, longest: int = 23, spread: float = 0.3, far: float = 0.0
) -> Draw:
    """``spread``: standard deviation of log π_θ/π_old; twice that of the critic's steps, half of the sampler's.

    ``far`` nats are added to or taken from the reference's log-probability of every tenth token. Group 0 has equal
    rewards; about a fifth of the completions are truncated.
    """
    random = torch.Generator().manual_seed(seed)
    rows = groups * group_size
    lengths = torch.randint(1, longest + 1, (rows,), generator=random)
    lengths[-1] = longest
    mask = torch.arange(longest) < lengths[:, None]

    def near(centre: Tensor, width: float) -> Tensor:
        noise = torch.randn(rows, longest, generator=random, dtype=torch.float64) * width
        return torch.where(mask, centre + noise, 0.0)

    zero = torch.zeros(rows, longest, dtype=torch.float64)
    shift = zero.clone()
    shift.view(-1)[::20], shift.view(-1)[10::20] = far, -far
    old = -near(zero, 1.0).abs() - mask.double() * 0.05
    rewards = torch.rand(rows, generator=random, dtype=torch.float64)  # no round numbers: rounding must show
    rewards[:group_size] = 1.0
    values = near(zero, 0.5)
    return Draw(
        mask=mask,
        group=torch.arange(groups).repeat_interleave(group_size),
        rewards=rewards,
        finished=torch.rand(rows, generator=random) > 0.2,
        logprobs=near(old, spread),
        old=old,
        behavior=near(old, spread / 2),
        reference=near(old + shift, 0.3 + spread),
        entropy=near(zero, 1.0).abs(),
        values=values,
        old_values=near(values, 2 * spread),
    )
