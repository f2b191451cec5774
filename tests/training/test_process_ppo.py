"""Process supervision with a critic: scores of steps are GAE's rewards, to the number; from a rule, and from a model
that an earlier stage trained. That a policy learns from them is in tests/recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import GAE, KL, Whitening
from groupwise.learning.collate import signals_of
from groupwise.ledger.files import Ledger
from groupwise.rewards import ModelReward, score_rollouts
from groupwise.tokens.segmentation import Lines
from groupwise.types import Example, Group, Rollout, Score

LETTERS = "abcd"


@dataclass(frozen=True)
class Given:
    """These scores for every completion: of steps where there are any."""

    name: str
    value: float
    steps: tuple[tuple[int, float], ...] = ()
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(self.value, steps=dict(self.steps)) for _ in rollouts]


def test_scores_of_steps_are_rewards_at_their_ends(make_rollout: Any) -> None:
    """By hand, λ = ½, R = 0 1 0 2 1, V = 0.5 0.25 0.5 0 1: δ = -0.25 1.25 -0.5 3 0, A_t = δ_t + A_{t+1} / 2."""
    rewards = (Given("steps", 0.5, ((1, 0.5), (3, 1.0)), weight=2.0), Given("outcome", 1.0))
    (rollout,), _ = score_rollouts([make_rollout([5], range(5, 10))], rewards)
    assert rollout.rewards == {1: 1.0, 3: 2.0, 4: 1.0}
    signals = signals_of([Group(rollout.prompt, (rollout,))])
    values = torch.tensor([[0.5, 0.25, 0.5, 0.0, 1.0]], dtype=torch.float64)
    assert GAE(1.0, 0.5).advantages(replace(signals, old_values=values)).tolist() == [[0.625, 1.75, 1.0, 3.0, 0.0]]


LABELLED = tuple(
    Example(f"{a}{b}", a, columns={"completions": [a + a, a + b], "labels": [True, False]})
    for a, b in permutations(LETTERS, 2)
)
SHOWN = tuple(replace(row, completion="\n".join(row.columns["completions"])) for row in LABELLED)


def test_what_a_model_says_of_steps_reaches_the_advantages(tmp_path: Path) -> None:
    """Through a whole run: computed again from the ledger's rewards and values, backwards and by hand."""
    told = gw.Task("told", SHOWN, (ModelReward("prm", "process"),), steps=Lines())
    source = gw.OnPolicy(group_size=1, max_completion_tokens=8)
    ppo = replace(recipes.ppo, source=source, advantage=GAE(1.0, 0.5), kl=KL(0.0), whitening=Whitening())
    stages = (
        gw.Stage("sft", recipes.sft, gw.Task("shown", SHOWN), 30, 12, learning_rate=1e-2),
        gw.Stage("prm", recipes.process_reward_model, gw.Task("steps", LABELLED), 3, 12, learning_rate=1e-2),
        gw.Stage("ppo", ppo, told, 2, 16, learning_rate=1e-3, start="sft"),
    )
    model = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=24)
    learner, held_out = gw.Local(device="cpu", threads=1), gw.HeldOut(problems=0)
    outcome = gw.run(gw.Run("steps", model, stages, learner, evaluation=held_out), tmp_path / "run", sinks=[])
    rows = Ledger(outcome.directory / "ledger").read("ppo", 2)
    assert any(len(row["reward_tokens"]) > 1 for row in rows)
    for row in rows:
        rewards = dict(zip(row["reward_tokens"], row["reward_values"], strict=True))
        following = running = 0.0
        for place in reversed(range(len(row["tokens"]))):
            running = rewards.get(place, 0.0) + following - row["values"][place] + 0.5 * running
            following = row["values"][place]
            assert row["advantages"][place] == pytest.approx(running, abs=1e-6)
