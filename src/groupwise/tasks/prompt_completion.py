"""This module splits a conversation into what is asked and what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.tasks.messages import completion_of, conversation_of, learn_flags, nobody_asks
from groupwise.tasks.weights import Turns, learned_places
from groupwise.types import Message, Text


@dataclass(frozen=True)
class PromptCompletion:
    """This is what is asked, what follows it, and where in that the assistant's turns stand that are context."""

    prompt: Text
    completion: Text | None = None
    context_turns: tuple[int, ...] = ()
    is_bad: bool = False
    """The assistant has the last word, and its messages say that none of its turns is learned."""


def with_completion(prompt: Text, value: Any, where: str) -> PromptCompletion:
    """A prompt, and the messages of a column of its own that follow it: the last one is learned, and what else says so.

    Raises UserError where the messages do not begin and end with the assistant's, or several follow a text.
    """
    completion_of(value, where)
    messages, said = conversation_of(value, where), learn_flags(value, where)
    if isinstance(prompt, str) and any(message.get("tool_calls") for message in messages):
        prompt = ({"role": "user", "content": prompt},)
    if not isinstance(prompt, str):
        return split_conversation((*prompt, *messages), (*(None for _ in prompt), *said), where)
    if len(messages) > 1:
        raise UserError(f"{where} has {counted(len(messages), 'message')}; expected one, by the assistant")
    bad = said[0] is False
    return PromptCompletion(prompt, None if bad else messages[0]["content"], is_bad=bad)


def split_conversation(
    messages: tuple[Message, ...], said: Sequence[bool | None], where: str, turns: Turns | None = None
) -> PromptCompletion:
    """The prompt ends where the first learned turn begins, and the completion with the last one.

    Raises UserError where an answer is to be learned that no user's message precedes.
    """
    asked = next((place for place, message in enumerate(messages) if message["role"] == "user"), len(messages))
    ends = messages[-1]["role"] == "assistant"
    learned = learned_places(messages, said, turns, asked)
    unasked = next((place for place, own in enumerate(said[:asked]) if own), len(messages) - 1)
    if unasked < asked and (ends or said[unasked]):
        by = nobody_asks(messages[: unasked + 1])
        raise UserError(f"{where}: {by}; expected a user's message before it")
    if not learned:
        return PromptCompletion(messages[:-1] if ends else messages, is_bad=ends)
    first, last = learned[0], learned[-1]
    shown = messages[first : last + 1]
    others = [place for place, message in enumerate(shown) if message["role"] == "assistant"]
    context = tuple(place for place in others if place + first not in learned)
    return PromptCompletion(messages[:first], completion_of(shown, where), context)
