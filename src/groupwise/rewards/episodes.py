"""The reward of a task that has an environment: what the environment said of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from groupwise.environments.hosts import Worlds
from groupwise.environments.protocol import Environment
from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.types import Rollout, Score


@dataclass(frozen=True)
class EpisodeReward(Reward):
    """Gives each rollout the score that its own environment gave it, and holds the processes of that environment."""

    environment: Environment
    turns: Turns
    name: str = "environment"
    weight: Annotated[float, "(-inf, inf)"] = 1.0

    @cached_property
    def worlds(self) -> Worlds:
        """The processes, which are forked by ``prepare`` or by the first episode."""
        return Worlds(self.environment, self.turns)

    def prepare(self) -> None:
        """Forks the processes that episodes live in. Raises UserError where the system has none left."""
        self.worlds.start()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns the scores that the environment put on its rollouts. Raises UserError for a rollout that no
        environment has played."""
        missing = next((rollout for rollout in rollouts if self.name not in rollout.scores), None)
        if missing is not None:
            raise UserError(
                f"{missing.prompt.example.id}: the environment {self.name} scores episodes that it played itself, and "
                "this completion is none"
            )
        return [rollout.scores[self.name] for rollout in rollouts]


def among_rewards(rewards: Sequence[Reward]) -> EpisodeReward | None:
    """The one that speaks for an environment; None where there is none."""
    return next((reward for reward in rewards if isinstance(reward, EpisodeReward)), None)
