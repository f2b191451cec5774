"""This module makes ragged completions the ``[B, T]`` tensors of ``Signals``, padded on the right with masked zeros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from groupwise.algorithm import Signals
from groupwise.types import DEMONSTRATED, Group, Rollout, flatten


def signals_of(groups: Sequence[Group], weights: Mapping[str, float] | None = None) -> Signals:
    """Returns rollouts as an algorithm reads them, before anything is computed of them.

    ``weights`` are those of the task's rewards by name; with several, each one's own scores become ``parts``.
    """
    rollouts = flatten(groups)
    rewards, rewarded = place_rewards([rollout.rewards for rollout in rollouts], longest(r.tokens for r in rollouts))
    sampled = any(rollout.version != DEMONSTRATED for rollout in rollouts)
    return Signals(
        **parts([[_value(rollout, name) for name in weights or ()] for rollout in rollouts], weights or {}),
        mask=padded([rollout.mask for rollout in rollouts], torch.bool),
        tokens=padded([rollout.tokens for rollout in rollouts], torch.int64),
        group=torch.tensor([number for number, group in enumerate(groups) for _ in group.rollouts]),
        greedy_rewards=numbers(group.greedy_reward for group in groups for _ in group.rollouts),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([rollout.finished for rollout in rollouts]),
        correct=numbers(rollout.correct for rollout in rollouts),
        demonstrated=torch.tensor([rollout.version == DEMONSTRATED for rollout in rollouts]),
        behavior_logprobs=padded([rollout.behavior_logprobs for rollout in rollouts]) if sampled else None,
    )


def longest(rows: Iterable[Sequence[object]]) -> int:
    """Returns the width of a table whose rows are these."""
    return max(map(len, rows))


def padded(rows: Sequence[Sequence[float]], dtype: torch.dtype = torch.float64) -> Tensor:
    """Returns ``[B, T]`` of rows of numbers (or truths); zeros behind the shorter ones."""
    table = torch.zeros((len(rows), longest(rows)), dtype=dtype)
    for row, values in enumerate(rows):
        table[row, : len(values)] = torch.tensor(values, dtype=dtype)
    return table


def place_rewards(rewards: Sequence[Mapping[int, float]], width: int) -> tuple[Tensor, Tensor]:
    """Returns ``[B, width]`` rewards at their tokens, 0 elsewhere, and which tokens have one."""
    table = torch.zeros((len(rewards), width), dtype=torch.float64)
    rewarded = torch.zeros((len(rewards), width), dtype=torch.bool)
    for row, places in enumerate(rewards):
        for token, reward in places.items():
            table[row, token], rewarded[row, token] = reward, True
    return table, rewarded


def numbers(values: Iterable[float | None]) -> Tensor:
    """Returns ``[B]`` float64; NaN where there is no number."""
    return torch.tensor([float("nan") if value is None else float(value) for value in values], dtype=torch.float64)


def parts(rows: Sequence[Sequence[float | None]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Returns ``parts`` and ``part_weights`` ``[B, K]`` of ``Signals``, NaN where a reward gave no value. One has
    none."""
    if len(weights) < 2:
        return {}
    table = torch.stack([numbers(row) for row in rows])
    return {"parts": table, "part_weights": numbers(weights.values()).expand_as(table)}


def _value(rollout: Rollout, name: str) -> float | None:
    score = rollout.scores.get(name)
    return None if score is None else score.value
