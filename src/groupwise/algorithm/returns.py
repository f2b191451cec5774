"""This module has advantages token by token: from what is still to come, from a critic, or from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groupwise.algorithm.advantages import Advantage, to_go
from groupwise.algorithm.signals import Signals, group_mean
from groupwise.algorithm.whitening import Whitening


@dataclass(frozen=True)
class RewardToGo(Advantage):
    """This advantage is A_t = Σ_{u ≥ t} γ^{u-t} R_u - b: REINFORCE, with the baseline b of the prompt or without
    any."""

    gamma: Annotated[float, "[0, 1]"] = 1.0
    """Discount a token that the policy sampled: what a tool said costs no time."""
    baseline: Literal["none", "group", "greedy"] = "none"
    """What is subtracted: nothing, the group's mean total reward, or the reward of the prompt's greedy completion
    (ReMax, arXiv 2310.10505). Where that has none (NaN) its group has no advantage."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the discounted rewards from a token on, less the baseline."""
        advantages = to_go(signals.rewards.double(), self.gamma, signals.mask)
        if self.baseline == "greedy":
            if signals.greedy_rewards is None:
                raise ValueError("a greedy baseline needs greedy_rewards: the source's greedy_baseline makes them")
            greedy = signals.greedy_rewards.double()[:, None]
            advantages = torch.where(greedy.isnan(), 0.0, advantages - greedy)
        if self.baseline == "group":
            advantages = advantages - group_mean(signals.outcome, signals.scored, signals.group)[:, None]
        return (advantages * signals.mask * signals.scored[:, None]).to(signals.rewards.dtype)

    def formula(self) -> str:
        sum_to_go = "Σ_{u≥t} R_u" if self.gamma == 1 else f"Σ_{{u≥t}} {self.gamma:g}^(u-t) R_u"
        return f"A_t = {sum_to_go}" + {"none": "", "group": " - mean(r)", "greedy": " - r(greedy)"}[self.baseline]

    def needs(self) -> frozenset[str]:
        return frozenset({"rewards"} | ({"greedy_rewards"} if self.baseline == "greedy" else set()))

    def compares(self) -> bool:
        """Says whether its baseline is the group's."""
        return self.baseline == "group"


@dataclass(frozen=True)
class GAE(Advantage):
    """This advantage is generalised advantage estimation (arXiv 1506.02438): A_t = Σ_l (γλ)^l δ_{t+l}, δ_t = R_t + γ
    V_{t+1} - V_t.

    V after the last sampled token is 0, also of a completion that was truncated: being cut off counts as an end, with
    nothing to come (``truncated mask`` leaves such completions out). Tokens that the policy did not sample are passed
    over: V_{t+1} is that of the next one that it did, and a reward between the two arrives with it. Needs a critic.
    """

    gamma: Annotated[float, "[0, 1]"] = 1.0
    """Discount a token."""
    lam: Annotated[float, "[0, 1]"] = 0.95
    """λ: 1 trusts rewards (no bias), 0 trusts the critic."""
    whiten_rewards: bool = False
    """Token rewards are divided by their standard deviation over the draw first, their mean kept."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]`` generalised advantage estimates (arXiv 1506.02438). Raises ValueError without the critic's
        values."""
        if signals.old_values is None:
            raise ValueError("GAE needs old_values: a critic's, from when the draw was made")
        rewards, values = signals.rewards.double(), torch.where(signals.mask, signals.old_values, 0.0).double()
        counted = signals.mask & signals.scored[:, None]
        if self.whiten_rewards:
            rewards = Whitening("tokens", shift=False).whitened(rewards, counted)
        advantages = torch.zeros_like(values)
        following = running = torch.zeros_like(values[:, 0])
        for place in reversed(range(values.shape[1])):
            sampled, value = signals.mask[:, place], values[:, place]
            delta = rewards[:, place] + self.gamma * following - value
            running = torch.where(sampled, delta + self.gamma * self.lam * running, running)
            following = torch.where(sampled, value, following + rewards[:, place])  # it came while a tool spoke
            advantages[:, place] = running
        return (advantages * counted).to(signals.rewards.dtype)

    def formula(self) -> str:
        following = "V_{t+1}" if self.gamma == 1 else f"{self.gamma:g} V_{{t+1}}"
        shape = f"A_t = Σ_l {self.gamma * self.lam:g}^l δ_{{t+l}},  δ_t = R_t + {following} - V_t"
        return shape + (",  R whitened with its mean kept" if self.whiten_rewards else "")

    def needs(self) -> frozenset[str]:
        return frozenset({"rewards", "values"})


@dataclass(frozen=True)
class TeacherGap(Advantage):
    """This advantage is A_t = log π_ref(o_t) - log π_old(o_t): each token's own reverse KL to a teacher, who is the
    reference policy.

    On-policy distillation (arXiv 2306.13649 with one sampled token in place of the sum over the vocabulary): no reward,
    and no discount reaches further than the token itself.
    """

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: how much likelier the teacher finds a token than the policy that sampled it. Raises
        ValueError without both log-probabilities."""
        if signals.reference_logprobs is None or signals.old_logprobs is None:
            raise ValueError("a teacher's gap needs reference_logprobs and old_logprobs")
        gap = signals.reference_logprobs - signals.old_logprobs
        return torch.where(signals.mask, gap, 0.0).to(signals.rewards.dtype)

    def formula(self) -> str:
        return "A_t = log π_ref(o_t) - log π_old(o_t)"

    def needs(self) -> frozenset[str]:
        return frozenset({"reference_logprobs", "old_logprobs"})
