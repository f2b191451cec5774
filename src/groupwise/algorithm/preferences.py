"""These are objectives of scorers: a network's number at a token stands where a policy's log-probability stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from groupwise.algorithm.objectives import Objective, Surrogate, advantages_of, free
from groupwise.algorithm.rounding import TOLERANCE, largest
from groupwise.algorithm.signals import Signals, group_sum


@dataclass(frozen=True)
class BradleyTerry(Objective):
    """This objective is log σ( s_i - s_j - margin ) - centring (s_i + s_j)², the mean over all pairs of a group in
    which i is better (Bradley and Terry 1952; K ranked completions as in InstructGPT, arXiv 2203.02155).

    s is the score of a completion's last sampled token; better is the larger advantage. With group-token-mean
    aggregation J is the mean over groups, whatever their lengths. A group without a better one adds 0.
    """

    margin: Annotated[float, "[0, inf)"] = 0.0
    """By which the better one should win (Llama 2, arXiv 2307.09288, with one margin for all pairs)."""
    centring: Annotated[float, "[0, inf)"] = 0.0
    """η: pulls scores to a mean of 0, which differences alone leave free (arXiv 2312.09244); 0.01 where it is used."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns ``[B, T]``: on each token of a group the mean of its pairs' terms. Scores are those of the last
        tokens."""
        scores, better, worse = _pairs(logprobs, signals)
        each = logsigmoid(scores[better] - scores[worse] - self.margin)
        each = each - self.centring * (scores[better] + scores[worse]).square()
        of_row = torch.zeros_like(scores).index_add(0, better, each)
        pairs = torch.zeros_like(scores).index_add(0, better, torch.ones_like(each))
        mean = group_sum(of_row, signals.group) / group_sum(pairs, signals.group).clamp(min=1)  # [B]
        return Surrogate(mean[:, None].expand_as(logprobs), torch.ones_like(logprobs), free(logprobs))

    def formula(self) -> str:
        held = f" - {self.margin:g}" if self.margin else ""
        centred = f" - {self.centring:g} (s_i + s_j)²" if self.centring else ""
        return f"mean over i better than j of log σ( s_i - s_j{held} ){centred},  s_i = score of the last token of o_i"

    def needs(self) -> frozenset[str]:
        return frozenset()

    def joins_group(self) -> bool:
        return True

    def reads(self) -> Literal["logprobs", "scores"]:
        """Says that it reads scores, and no log-probabilities."""
        return "scores"

    def measures(self, logprobs: Tensor, signals: Signals) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Returns ``score_accuracy`` (ties are half right), ``score_margin`` and ``score`` over pairs and
        completions."""
        scores, better, worse = _pairs(logprobs, signals)
        margin = scores[better] - scores[worse]
        count = torch.tensor(float(len(margin)))
        right = (margin > 0).double().sum() + (margin == 0).double().sum() / 2
        return {
            "score_accuracy": (right, count),
            "score_margin": (margin.sum(), count),
            "score": (scores.sum(), torch.tensor(float(len(scores)))),
        }


@dataclass(frozen=True)
class StepCrossEntropy(Objective):
    """This objective is y log σ(z) + (1 - y) log(1 - σ(z)) at each token that has a label y in [0, 1]: the end of a
    step (Math-Shepherd, arXiv 2312.08935), or of the whole solution, on whose last token its one label sits (the
    outcome model there).

    Labels are the rewards of the rollouts: 0 and 1, or shares. Other tokens have no term. The paper prints it without
    the minus sign that would make it a loss; J is maximised.
    """

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]`` at the ends of steps."""
        labels = signals.rewards
        terms = labels * logsigmoid(logprobs) + (1 - labels) * logsigmoid(-logprobs)
        return Surrogate(terms, torch.ones_like(logprobs), free(logprobs))

    def formula(self) -> str:
        return "y_t log σ(z_t) + (1 - y_t) log(1 - σ(z_t)),  z_t = score of token t,  y_t = label of the step it ends"

    def needs(self) -> frozenset[str]:
        return frozenset({"step_rewards"})

    def reads(self) -> Literal["logprobs", "scores"]:
        """Says that it reads scores, and no log-probabilities."""
        return "scores"

    def learns_from(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: whether a step that has a label ends there."""
        return signals.rewarded & signals.mask

    def measures(self, logprobs: Tensor, signals: Signals) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Returns ``score_accuracy``: σ(z) and y on the same side of a half; ``score``, the mean over labelled
        tokens."""
        ends = self.learns_from(signals)
        scores, labels, count = logprobs[ends], signals.rewards[ends], ends.double().sum()
        right = ((scores > 0) == (labels >= 0.5)).double().sum()
        return {
            "score_accuracy": (right, count),
            "score": (scores.sum(), count),
        }


def last_scores(scores: Tensor, mask: Tensor) -> Tensor:
    """Returns the score ``[B]`` of each row's last sampled token."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, 0).amax(dim=1, keepdim=True)
    return scores.gather(1, last).squeeze(1)


def better_pairs(signals: Signals) -> tuple[Tensor, Tensor]:
    """Returns row numbers of all pairs within a group whose advantages differ by more than rounding does: of the
    larger, and of the smaller. ``[P]``."""
    worth, group = last_scores(advantages_of(signals), signals.mask), signals.group
    rounding = TOLERANCE * largest(worth, torch.ones_like(worth, dtype=torch.bool), group)  # [B]
    larger = worth[:, None] - worth > rounding[:, None]
    better, worse = ((group[:, None] == group) & larger).nonzero(as_tuple=True)
    return better, worse


def _pairs(logprobs: Tensor, signals: Signals) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ``[B]`` scores, and the row numbers of the better and the worse of each pair."""
    return last_scores(logprobs, signals.mask), *better_pairs(signals)
