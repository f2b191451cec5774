"""How long an episode may go on: turns, tokens, seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


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
    rewritten: Literal["refuse", "keep", "branch"] = "refuse"
    """Where the chat template would write earlier turns otherwise once another follows (without their thinking, say):
    an error; or the turns stay as they were sampled; or the next turn begins a new sequence of the same episode, behind
    the conversation as the template writes it now."""
