"""This module says how long an episode may go on: turns, tokens, seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from groupwise.errors import UserError

Rewritten = Literal["refuse", "keep", "branch"]
LEAST = {"most": 1, "turn_tokens": 0, "context_tokens": 0, "observation_tokens": 0, "processes": 1}


@dataclass(frozen=True)
class Turns:
    """The budgets of an episode. Each that is used up ends it, and its stop reason says which."""

    most: Annotated[int, "[1, inf)"] = 16
    """Turns of the model's. After the last, what the environment would say is not answered any more: ``turns``."""
    turn_tokens: Annotated[int, "[0, inf)"] = 0
    """Tokens that the model may say in one turn; 0: as many as the completion has left. A turn that does not end in
    them ends the episode: ``truncated``."""
    context_tokens: Annotated[int, "[0, inf)"] = 0
    """Tokens of the whole conversation; 0: as many as the model's context has. What does not fit ends it: ``context``.
    """
    observation_tokens: Annotated[int, "[0, inf)"] = 0
    """Tokens of one message of the environment's; 0: any number. Of a longer one half of them from its beginning and
    half from its end are kept, and between them stands how many are left out."""
    reply_seconds: Annotated[float, "(0, inf)"] = 30.0
    """For one reply of the environment's, its start included. Without one the episode has no reward: ``timeout``."""
    episode_seconds: Annotated[float, "(0, inf)"] = 600.0
    """For all that the environment does in one episode, start and close included."""
    processes: Annotated[int, "[1, inf)"] = 2
    """In which environments live side by side, many in each."""
    rewritten: Rewritten = "refuse"
    """Where the chat template would write earlier turns otherwise once another follows (without their thinking, say):
    an error; or the turns stay as they were sampled; or the next turn begins a new sequence of the same episode, behind
    the conversation as the template writes it now."""

    def __post_init__(self) -> None:
        """Raises UserError for what is no such budget."""
        for name, least in LEAST.items():
            _refuse(name, vars(self)[name], int, least, f"a whole number, at least {least}")
        for name in ("reply_seconds", "episode_seconds"):
            _refuse(name, vars(self)[name], (int, float), math.ulp(0.0), "a number, more than 0")
        if self.rewritten not in get_args(Rewritten):
            raise UserError(f"Turns.rewritten is {self.rewritten!r}; expected one of {', '.join(get_args(Rewritten))}")


def _refuse(name: str, value: Any, kind: Any, least: float, expected: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value < math.inf:
        raise UserError(f"Turns.{name} is {value!r}; expected {expected}")
