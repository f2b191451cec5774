"""This module reads which messages of a conversation are learned, where the messages say it themselves: ``{"role": ...,
"weight": 0}``.

OpenAI's fine-tuning format has ``weight`` (0: the turn is context), axolotl and others ``train`` and its like,
torchtune ``masked`` (true: context). What a message says of itself goes before ``--turns``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.tasks.values import is_nothing, shown
from groupwise.types import Message

Turns = Literal["last", "all"]
"""Which of the assistant's turns in a conversation are learned, where they do not say it themselves."""
LEARNED = ("weight", "train", "training", "trainable", "trained", "loss")
"""True or 1: the turn is learned; false or 0: it is context."""
CONTEXT = ("masked",)
"""The other way round."""
REFUSED = ("train_detail", "training_detail", "weights", "loss_scale", "loss_mask", "loss_weight")
"""They weigh parts of a turn, or turns against each other."""
_TRUTH = {True: True, False: False, "1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}


def learn_flag(message: Mapping[str, Any], role: str, where: str) -> bool | None:
    """Says whether a message says of itself that it is learned (True) or context (False); None: it says nothing.

    Raises UserError for a weight between 0 and 1, for one that says which part of a turn counts, for two that
    contradict each other, and for a message to be learned that is not the assistant's.
    """
    detail = next((key for key in REFUSED if not is_nothing(message.get(key))), None)
    if detail:
        raise UserError(
            f"{where} has {detail}; a turn is learned as a whole or not at all: expected weight 1 or 0 (or train true "
            "or false), and no more"
        )
    said = {key: _truth(message[key], f"{where}: {key}") for key in LEARNED if not is_nothing(message.get(key))}
    said |= {key: not _truth(message[key], f"{where}: {key}") for key in CONTEXT if not is_nothing(message.get(key))}
    if len(set(said.values())) > 1:
        raise UserError(f"{where}: {' and '.join(said)} contradict each other; expected one of them")
    found = next(iter(said.values()), None)
    if found and role != "assistant":
        key = next(iter(said))
        raise UserError(
            f"{where} is by {role} and has {key} {message[key]!r}; only the assistant's turns can be learned: set it "
            "to 0 or leave it out"
        )
    return found


def _truth(value: Any, where: str) -> bool:
    known = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(known, str | bool | int | float) or known not in _TRUTH:
        raise UserError(
            f"{where} is {shown(value)}; expected 0 (the turn is context) or 1 (it is learned): nothing between them"
        )
    return _TRUTH[known]


def learned_places(
    messages: Sequence[Message], said: Sequence[bool | None], turns: Turns | None = None, start: int = 0
) -> list[int]:
    """Returns where the assistant's turns stand that are learned, ascending.

    A turn that says nothing of itself is learned where the assistant has the last word: the last one, or with ``turns``
    "all" every one from ``start`` on. None is "all" for a conversation in which tools are called, else "last".
    """
    turns = turns or ("all" if any(message.get("tool_calls") for message in messages) else "last")
    last = len(messages) - 1
    ends = messages[last]["role"] == "assistant"
    usual = {last} if turns == "last" else range(start, len(messages))
    own = [place for place in range(start, len(messages)) if messages[place]["role"] == "assistant"]
    return [place for place in own if (ends and place in usual if said[place] is None else said[place])]
