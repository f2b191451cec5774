"""This module makes iterative RL (DeepSeekMath, Algorithm 1) as what it is here: a longer list of stages.

For each iteration: the reward model goes on from where it was, on samples of the present policy that the rule labelled,
with a share of old data; then the policy goes on from where it was, against that reward model. The reference is the
policy as its stage begins, so it is refreshed once an iteration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from groupwise.errors import UserError
from groupwise.rewards.model import ModelReward
from groupwise.training.stage import Stage


def iterative(
    policy: Stage,
    scorer: Stage,
    start: str,
    iterations: int = 2,
    replay: float = 0.1,
    kind: Literal["outcome", "process"] = "process",
) -> tuple[Stage, ...]:
    """Returns the stages ``<scorer>-1, <policy>-1, <scorer>-2, <policy>-2 ...`` after the stage ``start``, which leaves
    π_init.

    ``policy`` and ``scorer`` are the stages of one iteration; both tasks' rewards are the rule, which labels the
    scorer's data and, as referee, judges the policy in evaluation, while the policy is trained on what the scorer says.
    From the second iteration on ``replay`` of the scorer's data is drawn from what earlier iterations gathered. Raises
    UserError for a scorer whose source does not sample from a frozen policy.
    """
    stages: list[Stage] = []
    policies, scorers = [start], [start]
    for number in range(1, iterations + 1):
        learned = _scorer(scorer, number, policies[-1], scorers, replay)
        reward = ModelReward(learned.name, kind)
        task = replace(policy.task, rewards=(reward,), referee=policy.task.rewards)
        stages += [learned, replace(policy, name=f"{policy.name}-{number}", start=policies[-1], task=task)]
        scorers.append(learned.name)
        policies.append(stages[-1].name)
    return tuple(stages)


def _scorer(stage: Stage, number: int, policy: str, before: list[str], replay: float) -> Stage:
    """Makes one iteration's stage: data of ``policy``, weights of the last scorer (of the policy, the first time)."""
    old = tuple(before[1:])
    source = stage.algorithm.source
    fresh = source.of_policy((policy,), replay if old else 0.0, old)
    if fresh is None:
        raise UserError(
            f"stage {stage.name}: iterative training labels samples of the policy, so its source is FrozenPolicy or "
            f"MonteCarloSteps; it is {type(source).__name__}"
        )
    algorithm = replace(stage.algorithm, source=fresh)
    return replace(stage, name=f"{stage.name}-{number}", algorithm=algorithm, start=before[-1])
