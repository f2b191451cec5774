"""Combinations that can do nothing or the wrong thing: refused or named before a run starts."""

from __future__ import annotations

from collections.abc import Iterator

from groupwise.algorithm import ClippedRatio, GroupRelative
from groupwise.errors import UserError
from groupwise.sources import Demonstrations, OnPolicy
from groupwise.stage import Stage


def refuse(stage: Stage) -> None:
    """Raises UserError for a stage that cannot mean what it says."""
    algorithm, source = stage.algorithm, stage.algorithm.source
    at = f"stage {stage.name}"
    if stage.steps < 1 or stage.prompts_per_step < 1 or stage.minibatches < 1 or stage.epochs < 1:
        raise UserError(f"{at}: steps, prompts_per_step, minibatches and epochs are all at least 1")
    if stage.minibatches > stage.prompts_per_step:
        raise UserError(
            f"{at}: {stage.minibatches} minibatches of {stage.prompts_per_step} prompts; a minibatch holds whole "
            "groups, so there can be at most as many as prompts_per_step"
        )
    if isinstance(source, OnPolicy):
        if isinstance(algorithm.advantage, GroupRelative) and source.group_size < 2:
            raise UserError(
                f"{at}: group_size is {source.group_size} with a group baseline: every advantage would be 0; "
                "use group_size 2 or more"
            )
        if not stage.task.rewards:
            raise UserError(f"{at}: task {stage.task.name} has no reward, and sampled completions need one")
        if source.temperature <= 0:
            raise UserError(f"{at}: temperature is {source.temperature}; completions of a group must be able to differ")
    if isinstance(source, Demonstrations) and isinstance(algorithm.advantage, GroupRelative):
        raise UserError(f"{at}: demonstrations have no rewards, so a group-relative advantage has nothing to compare")
    if algorithm.kl.coefficient and algorithm.kl.estimator == "k1" and algorithm.kl.weight != "live":
        raise UserError(f"{at}: k1 as a loss has zero gradient in expectation; use k2 or k3, or weight it live")


def warnings(stage: Stage) -> Iterator[str]:
    """One line for each thing that works but may not be meant."""
    algorithm, updates = stage.algorithm, stage.minibatches * stage.epochs
    if algorithm.kl.coefficient and algorithm.kl.estimator == "k3" and algorithm.kl.weight == "none" and updates > 1:
        yield (
            f"stage {stage.name}: {updates} updates a draw with an unweighted k3 penalty: off-policy its gradient is "
            "that of neither KL; kl.weight live is the unbiased form"
        )
    if isinstance(algorithm.objective, ClippedRatio) and updates == 1 and isinstance(algorithm.source, OnPolicy):
        yield f"stage {stage.name}: one update a draw, so the ratio is 1 and clip low and high never apply"
