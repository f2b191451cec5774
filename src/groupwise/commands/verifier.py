"""This module opens a verifier from the command line: a reward that chooses among samples, opened before anything is
sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.learners import Local
    from groupwise.protocols import Reward
    from groupwise.tasks.task import Task


def open_verifier(spec: str, task: Task, learner: Local) -> Reward:
    """The reward of that name (``rewards.by_name``); a learned one is open, as ``learner`` says.

    Raises UserError where there is none, and where it scores steps and the task does not say what a step is.
    """
    from groupwise.rewards import ModelReward, by_name

    reward = by_name(spec)
    if not isinstance(reward, ModelReward):
        return reward
    if reward.kind == "process" and task.steps is None:
        raise UserError(f"task {task.name} does not say what a step is, and {spec} scores steps; expected outcome:DIR")
    reward = reward.resolved(reward.model, learner)
    reward.open()
    return reward


def speaking(reward: Reward, tokenizer: Any) -> Reward:
    """The same for samples of this tokenizer. Raises UserError where a learned reward has another one."""
    from groupwise.rewards import ModelReward

    if isinstance(reward, ModelReward):
        reward = reward.resolved(reward.model, tokenizer=tokenizer)
        reward.open()
    return reward
