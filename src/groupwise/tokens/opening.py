"""This module makes what is said before the model's first turn: the row's own conversation, and what its environment
begins with."""

from __future__ import annotations

from collections.abc import Sequence

from groupwise.types import Message, Text


def opened(prompt: Text, said: Sequence[Message]) -> tuple[Message, ...]:
    """Returns both as one conversation. A user who would speak twice in a row speaks once, without a break: an
    environment that wants one says it."""
    messages: list[Message] = []
    if not isinstance(prompt, str):
        messages += prompt
    elif prompt:
        messages.append({"role": "user", "content": prompt})
    for message in said:
        last: Message = messages[-1] if messages else {}
        if message["role"] == "user" == last.get("role"):
            messages[-1] = {**last, "content": last["content"] + message["content"]}
        else:
            messages.append(dict(message))
    return tuple(messages) or ({"role": "user", "content": ""},)
