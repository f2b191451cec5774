"""Groupwise post-trains language models with reinforcement learning, centred on GRPO.

import groupwise as gw

task = gw.tasks.from_file("train.jsonl", reward="math")
stage = gw.Stage("grpo", gw.recipes.grpo, task, steps=100)
gw.run(gw.Run("mine", model="path/to/model", stages=(stage,)))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from groupwise.values.version import __version__ as __version__

if TYPE_CHECKING:
    from groupwise import algorithm, engines, environments, learners, recipes, rewards, tasks
    from groupwise.engines import Native, VLLMServers
    from groupwise.environments import Ended, Says, Tools, Turns, as_environment
    from groupwise.errors import UserError
    from groupwise.evaluation.comparison import compare
    from groupwise.evaluation.evaluate import evaluate
    from groupwise.learners import FSDP, Local, Lora, NewModel
    from groupwise.rewards import ModelReward, as_reward
    from groupwise.runs.recipe import Outcome, Run
    from groupwise.runs.session import run
    from groupwise.sinks.trackers import MLflow, TensorBoard, Trackio, Wandb
    from groupwise.sources import (
        AgentPrograms,
        Ahead,
        AllRollouts,
        BestAndWorst,
        Demonstrations,
        DistinctPaths,
        Documents,
        FrozenPolicy,
        MonteCarloSteps,
        OnPolicy,
        Pairs,
        StepLabels,
        Stream,
        informative,
        mixed,
    )
    from groupwise.tasks.task import Task
    from groupwise.training.iterative import iterative
    from groupwise.training.stage import Checkpoints, HeldOut, Stage

_HOMES = {
    "Native": "engines",
    "VLLMServers": "engines",
    "Ended": "environments",
    "Says": "environments",
    "Tools": "environments",
    "Turns": "environments",
    "as_environment": "environments",
    "UserError": "errors",
    "compare": "evaluation.comparison",
    "evaluate": "evaluation.evaluate",
    "FSDP": "learners",
    "Local": "learners",
    "Lora": "learners",
    "NewModel": "learners",
    "iterative": "training.iterative",
    "ModelReward": "rewards",
    "as_reward": "rewards",
    "Outcome": "runs.recipe",
    "Run": "runs.recipe",
    "run": "runs.session",
    "AgentPrograms": "sources",
    "Ahead": "sources",
    "AllRollouts": "sources",
    "BestAndWorst": "sources",
    "Demonstrations": "sources",
    "Documents": "sources",
    "DistinctPaths": "sources",
    "FrozenPolicy": "sources",
    "MonteCarloSteps": "sources",
    "OnPolicy": "sources",
    "Pairs": "sources",
    "StepLabels": "sources",
    "Stream": "sources",
    "informative": "sources",
    "mixed": "sources",
    "MLflow": "sinks.trackers",
    "TensorBoard": "sinks.trackers",
    "Trackio": "sinks.trackers",
    "Wandb": "sinks.trackers",
    "Checkpoints": "training.stage",
    "HeldOut": "training.stage",
    "Stage": "training.stage",
    "Task": "tasks.task",
}
_ROOMS = ("algorithm", "engines", "environments", "learners", "recipes", "rewards", "tasks")

__all__ = [
    "FSDP",
    "AgentPrograms",
    "Ahead",
    "AllRollouts",
    "BestAndWorst",
    "Checkpoints",
    "Demonstrations",
    "DistinctPaths",
    "Documents",
    "Ended",
    "FrozenPolicy",
    "HeldOut",
    "Local",
    "Lora",
    "MLflow",
    "ModelReward",
    "MonteCarloSteps",
    "Native",
    "NewModel",
    "OnPolicy",
    "Outcome",
    "Pairs",
    "Run",
    "Says",
    "Stage",
    "StepLabels",
    "Stream",
    "Task",
    "TensorBoard",
    "Tools",
    "Trackio",
    "Turns",
    "UserError",
    "VLLMServers",
    "Wandb",
    "algorithm",
    "as_environment",
    "as_reward",
    "compare",
    "engines",
    "environments",
    "evaluate",
    "informative",
    "iterative",
    "learners",
    "mixed",
    "recipes",
    "rewards",
    "run",
    "tasks",
]


def __getattr__(name: str) -> Any:
    """Imports on first use, so that ``import groupwise`` and ``groupwise --help`` cost nothing."""
    if name in _ROOMS:
        return importlib.import_module(f"groupwise.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"groupwise.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'groupwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
