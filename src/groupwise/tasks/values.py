"""The values of a row, checked: text, conversations, answers. Every error names the row and the column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from groupwise.errors import UserError
from groupwise.types import Message, Text


def cell(id: str, row: Mapping[str, Any], column: str) -> Any:
    """A row's value. Raises UserError, with the nearest name, where the row has no such column."""
    if column not in row:
        raise UserError(f'{id}: no column "{column}"{nearest(column, list(row))}; seen: {", ".join(row)}')
    return row[column]


def nearest(column: str, columns: Sequence[str]) -> str:
    """What an error says of a column that is not there."""
    close = get_close_matches(column, columns, n=1)
    return f', perhaps you meant "{close[0]}"' if close else ""


def text_of(value: Any, where: str) -> str:
    """A text that is not blank. ``where`` is row and column as an error says them. Raises UserError."""
    if not isinstance(value, str):
        raise UserError(f"{where} is {shown(value)}; expected text")
    if not value.strip():
        raise UserError(f"{where} is empty; expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds the lone surrogate {value[error.start]!a}; expected Unicode text") from error
    return value


def is_conversation(value: Any) -> bool:
    """Whether it looks like messages, right or wrong."""
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def conversation_of(value: Any, where: str) -> tuple[Message, ...]:
    """Messages with a role and a text each, at least one. Raises UserError."""
    if not isinstance(value, (list, tuple)) or not value:
        raise UserError(f"{where} is {shown(value)}; expected a list of messages")
    return tuple(_message(message, f"{where}, message {index}") for index, message in enumerate(value))


def prompt_of(value: Any, where: str) -> Text:
    """Text or a conversation. Raises UserError."""
    return conversation_of(value, where) if isinstance(value, (list, tuple)) else text_of(value, where)


def answer_of(value: Any, where: str) -> str:
    """A reference answer as text: strings as they are, everything else as JSON writes it. Raises UserError for null."""
    if value is None:
        raise UserError(f"{where} is null; expected the reference answer")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def continuation_of(prompt: Text, value: Any, where: str) -> tuple[Text, str]:
    """``(prompt, completion)`` where the completion is text or messages; all messages but the last join the prompt.

    Raises UserError where the last message is not the assistant's, or several messages follow a plain prompt.
    """
    if not isinstance(value, (list, tuple)):
        return prompt, text_of(value, where)
    *earlier, last = conversation_of(value, where)
    if last["role"] != "assistant":
        raise UserError(f"{where} ends with a message by {last['role']}; expected the assistant")
    if not earlier:
        return prompt, last["content"]
    if isinstance(prompt, str):
        raise UserError(f"{where} has {len(earlier) + 1} messages; expected one, by the assistant")
    return (*prompt, *earlier), last["content"]


def opens_with_prompt(chosen: Any) -> bool:
    """Whether a chosen conversation holds its prompt, too."""
    return is_conversation(chosen) and chosen[0].get("role") != "assistant"


def common_prompt(chosen: Any, rejected: Any, id: str) -> tuple[Text, Any, Any]:
    """What both begin with, and what follows it in each; a text is cut only where a word begins. Raises UserError
    where they have no common beginning."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        same = chosen[: _agreeing(chosen, rejected)]
        size = len(same[: max(map(same.rfind, " \n\t")) + 1].rstrip())
        prompt: Text = text_of(chosen[:size], f"{id}: the common beginning of chosen and rejected")
        return prompt, chosen[size:], rejected[size:]
    ours, theirs = conversation_of(chosen, f"{id}: chosen"), conversation_of(rejected, f"{id}: rejected")
    size = _agreeing(ours[:-1], theirs[:-1])
    return (
        conversation_of(ours[:size], f"{id}: the common beginning of chosen and rejected"),
        ours[size:],
        theirs[size:],
    )


def shown(value: Any) -> str:
    """A value as an error says it, short."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {str(value)[:40]!r}"
    return f"empty {type(value).__name__}" if not value else type(value).__name__


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        raise UserError(f'{where} is {shown(value)}; expected {{"role": ..., "content": ...}}')
    if value.get("tool_calls"):
        raise UserError(f"{where} calls tools; expected content only, put the call into it as text")
    content = value.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "".join(str(part["text"]) for part in content)
    if content == "":
        return {"role": value["role"], "content": ""}
    return {"role": value["role"], "content": text_of(content, f"{where}, content")}


def _agreeing(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items at the beginning are the same."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
