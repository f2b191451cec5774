"""This module holds given numbers: groups of responses, and the signals that a method makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from groupwise.algorithm import GAE, Algorithm, Outputs, Preference, RewardToGo, Signals
from groupwise.errors import UserError
from groupwise.learning.collate import longest, numbers, padded, parts, place_rewards
from groupwise.output.counting import counted
from groupwise.rewards.verdicts import CORRECT_AT
from groupwise.values.tolerance import reaches

LISTS = {
    "old_logprobs": "of the policy when the draw was made",
    "behavior_logprobs": "as the sampler reported them",
    "reference_logprobs": "of the reference policy, or of the teacher",
    "values": "of the critic",
    "old_values": "of the critic when the draw was made",
    "entropy": "nats of the next-token distribution",
    "exact_kl": "nats between policy and reference over the whole vocabulary",
}
"""Numbers a token that a response may carry beside ``logprobs``."""


@dataclass(frozen=True)
class Response:
    """A response is one completion. Every list is as long as ``logprobs``; natural logarithms."""

    logprobs: Sequence[float]
    lists: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Further ones by name, of ``LISTS``."""
    reward: float | None = None
    """Of the whole completion; None: not given."""
    scored: bool = True
    """False: said to have no reward."""
    step_rewards: Mapping[int, float] | None = None
    """Index of each step's last token -> its score."""
    placed: Mapping[int, float] | None = None
    """Token index -> reward, where a run has put it: then it counts, and the two above do not."""
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """Each of several rewards by its name."""
    truncated: bool = False
    mask: Sequence[bool] | None = None
    """Which tokens the policy sampled; None: all."""
    tokens: Sequence[int] | None = None
    """Their ids, where what was heard between two turns matters."""
    correct: bool | None = None
    """The verdict of a judge; None: it could not score."""
    judged: bool = False
    """Whether ``correct`` is said; where it is not, the case's judge says it."""
    demonstrated: bool = False
    """Whether people chose it and no model of ours drew it."""

    @property
    def sampled(self) -> Sequence[bool]:
        """Says of each token whether the policy sampled it."""
        return [True] * len(self.logprobs) if self.mask is None else self.mask


@dataclass(frozen=True)
class Case:
    """A case is groups of responses, each the completions of one prompt."""

    groups: Sequence[Sequence[Response]]
    greedy_rewards: Sequence[float] | None = None
    """Of each prompt's greedy completion."""
    reward_weights: Mapping[str, float] = field(default_factory=dict)
    """Of ``Response.parts``."""
    name: str = "case"
    """As error messages call it."""
    judge: str = ""
    """Whose verdict counts, of ``Response.parts``; empty: the first of them, or the one reward where there are none."""

    def verdict(self, response: Response) -> bool | None:
        """Says whether it is right: as it is said, else where the judge's own reward is at least 1; None: not
        scored."""
        if response.judged:
            return response.correct
        value = response.reward if response.scored else None
        if response.parts:
            value = response.parts[self.judge or next(iter(response.parts))]
        return None if value is None else reaches(value, CORRECT_AT)

    @property
    def has_step_scores(self) -> bool:
        """Says whether any response is scored at more than one token."""
        scored = (one.step_rewards if one.placed is None else one.placed for _, one in self.rows())
        return any(len(places or ()) > 1 for places in scored)

    def rows(self) -> list[tuple[str, Response]]:
        """Returns all responses, group by group, each with the words that say where it stands."""
        return [
            (f"{self.name}: group {g}, response {r}", response)
            for g, group in enumerate(self.groups)
            for r, response in enumerate(group)
        ]


def signals_of(case: Case, algorithm: Algorithm, method: str) -> tuple[Signals, Outputs]:
    """Returns ``[B, T]`` float64 tensors, padded on the right with masked zeros.

    Raises UserError, with its name and place, for what the method needs and the case lacks.
    """
    _require(case, algorithm, method)
    rows = [response for _, response in case.rows()]
    width = longest(response.logprobs for response in rows)
    rewards, rewarded = place_rewards([_places(response, algorithm) for response in rows], width)

    def given(name: str) -> Tensor | None:
        if any(name not in response.lists for response in rows):
            return None
        return padded([response.lists[name] for response in rows])

    ids = [response.tokens for response in rows if response.tokens is not None]
    sizes = torch.tensor([len(group) for group in case.groups])
    greedy, weights = case.greedy_rewards, case.reward_weights
    signals = Signals(
        mask=padded([response.sampled for response in rows], torch.bool),
        tokens=padded(ids, torch.int64) if len(ids) == len(rows) else None,
        group=torch.arange(len(sizes)).repeat_interleave(sizes),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([not response.truncated for response in rows]),
        correct=numbers(case.verdict(response) for response in rows),
        demonstrated=torch.tensor([response.demonstrated for response in rows]),
        greedy_rewards=None if greedy is None else torch.tensor(greedy).double().repeat_interleave(sizes),
        behavior_logprobs=given("behavior_logprobs"),
        old_logprobs=given("old_logprobs"),
        reference_logprobs=given("reference_logprobs"),
        old_values=given("values") if given("old_values") is None else given("old_values"),
        **parts([[response.parts.get(name) for name in weights] for response in rows], weights),
    )
    outputs = {name: given(name) for name in ("values", "entropy", "exact_kl")}
    return signals, Outputs(padded([response.logprobs for response in rows]), **outputs)


def _places(response: Response, algorithm: Algorithm) -> Mapping[int, float]:
    """Token index -> reward: a step's score on its last token where steps are asked for, else the whole completion's on
    its last sampled one."""
    if response.placed is not None:
        return response.placed
    if not response.scored:
        return {}
    if _by_steps(response, algorithm):
        return response.step_rewards or {}
    last = max(place for place, sampled in enumerate(response.sampled) if sampled)
    return {} if response.reward is None else {last: response.reward}


def _by_steps(response: Response, algorithm: Algorithm) -> bool:
    if "step_rewards" in algorithm.needs():
        return True
    by_token = isinstance(algorithm.advantage, GAE | RewardToGo) or algorithm.advantage.sees() == "turns"
    return response.reward is None and by_token


def _require(case: Case, algorithm: Algorithm, method: str) -> None:
    needed = algorithm.needs() | algorithm.outputs
    if "greedy_rewards" in needed and case.greedy_rewards is None:
        raise UserError(f"{case.name} has no greedy_rewards, which {method} needs; expected one number a group")
    if algorithm.objective.joins_group():
        _require_pairs(case, algorithm, method)
    for where, response in case.rows():
        _require_rewards(where, response, algorithm, method)
        for name, meaning in LISTS.items():
            idle = name == "entropy" and not algorithm.entropy.coefficient  # adaptive, and not yet begun
            if name in needed and not idle and name not in response.lists:
                raise UserError(
                    f"{where} has no {name}, which {method} needs; expected {len(response.logprobs)} numbers, {meaning}"
                    f"{_way_out(name, algorithm)}"
                )


def _require_rewards(where: str, response: Response, algorithm: Algorithm, method: str) -> None:
    if response.placed is not None or not response.scored:
        return
    if "step_rewards" in algorithm.needs() and response.step_rewards is None:
        raise UserError(f"{where} has no step_rewards, which {method} needs; expected [[end_index, score], ...]")
    if {"rewards", "correct"} & algorithm.needs() and response.reward is None:
        if "correct" in algorithm.needs() and (response.judged or response.demonstrated):
            return
        if _by_steps(response, algorithm) and response.step_rewards is not None:
            return
        raise UserError(f"{where} has no reward, which {method} needs; expected a number, or null for not scored")


def _require_pairs(case: Case, algorithm: Algorithm, method: str) -> None:
    ranked = algorithm.trains_scorer and not isinstance(algorithm.advantage, Preference)
    odd = next((n for n, group in enumerate(case.groups) if len(group) < 2 or (len(group) > 2 and not ranked)), None)
    if odd is not None:
        raise UserError(
            f"{case.name}: group {odd} has {counted(len(case.groups[odd]), 'response')}; {method} takes "
            + ("two or more" if ranked else "pairs, the chosen and then the rejected")
        )


def _way_out(name: str, algorithm: Algorithm) -> str:
    by_penalty = algorithm.kl.coefficient and name not in algorithm.advantage.needs() | algorithm.objective.needs()
    return (
        "; --algorithm.kl.coefficient 0 does without"
        if by_penalty and name in ("reference_logprobs", "exact_kl")
        else ""
    )
