"""This module reads conversations as files bring them: OpenAI's role and content, ShareGPT's from and value, lists or
their JSON text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.tool_calls import SHARE_GPT, calls_of, spelled_calls
from groupwise.tasks.values import is_nothing, shown, text_of
from groupwise.tasks.weights import CONTEXT, LEARNED, learn_flag
from groupwise.types import Message, Text
from groupwise.values.spelled import structure_of

ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "chatbot", "model", "bot", "ai"), "assistant"),
    **dict.fromkeys(("system", "system_prompt"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
}
"""What ShareGPT data calls the roles of the chat templates."""
KEYS = (("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"), ("role", "text"))
"""What a message calls its role and its text."""
TEXT_PARTS = ("text", "input_text", "output_text")
UNREAD = ("reasoning_content", "thinking", "images", "audio")
"""Further keys of a message that change what it says."""
RESULT_KEYS = ("name", "tool_call_id")
"""What a tool's result says of itself."""

_OPENS_LIKE_MESSAGES = re.compile(r"\s*\[\s*\{")
_NAMES_ROLE = re.compile(r"""["'](?:role|from)["']\s*:""")


def is_conversation(value: Any) -> bool:
    """Says whether it looks like messages, right or wrong."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def unspelled(value: Any, where: str) -> Any:
    """The messages that a text spells, as JSON or as Python writes it, and one message as a list; other values as they
    are. Raises UserError for a text that looks like messages and cannot be read."""
    if isinstance(value, Mapping) and _keys(value):
        return [value]
    if not isinstance(value, str) or not _OPENS_LIKE_MESSAGES.match(value) or not _NAMES_ROLE.search(value):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        messages = isinstance(found, list) and all(isinstance(each, Mapping) and _keys(each) for each in found)
        return found if messages else value
    raise UserError(f"{where} looks like messages written as text, but is not JSON; write it as JSON or as a list")


def conversation_of(value: Any, where: str) -> tuple[Message, ...]:
    """Returns messages with a role and a text each, at least one. Raises UserError."""
    value = unspelled(value, where)
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{where} is {shown(value)}; expected a list of messages")
    return tuple(_message(message, f"{where}, message {index}") for index, message in enumerate(_single(value)))


_SAYS_WHO = {"role", "from", "content", "value"}


def _single(value: Sequence[Any]) -> Sequence[Any]:
    """Capybara's turns, each of an input and an output, as messages."""
    if not all(
        isinstance(turn, Mapping) and {"input", "output"} <= set(turn) and not _SAYS_WHO & set(turn) for turn in value
    ):
        return value
    names = (("user", "input"), ("assistant", "output"))
    return [{"role": role, "content": turn[name]} for turn in value for role, name in names]


def learn_flags(value: Any, where: str) -> tuple[bool | None, ...]:
    """Returns for each message of ``conversation_of`` whether it says itself that it is learned
    (``weights.learn_flag``)."""
    messages = conversation_of(value, where)
    given = zip(_single(unspelled(value, where)), messages, strict=True)
    return tuple(learn_flag(raw, message["role"], where) for raw, message in given)


def says_weight(value: Any) -> bool:
    """Says whether a message of the conversation says whether it is learned."""
    value = structure_of(value)
    messages = value if isinstance(value, list | tuple) else ()
    keys = (*LEARNED, *CONTEXT)
    return any(isinstance(each, Mapping) and any(not is_nothing(each.get(key)) for key in keys) for each in messages)


def prompt_of(value: Any, where: str) -> Text:
    """Returns a prompt, text or a conversation. Raises UserError."""
    value = unspelled(value, where)
    return conversation_of(value, where) if isinstance(value, list | tuple) else text_of(value, where)


def completion_of(value: Any, where: str) -> Text:
    """Returns what follows a prompt: the text of one turn of the assistant's, or several messages that begin and end
    with it.

    Raises UserError where they do not.
    """
    value = unspelled(value, where)
    if not isinstance(value, list | tuple):
        return text_of(value, where)
    messages = conversation_of(value, where)
    for place, word in ((-1, "ends"), (0, "begins")):
        if messages[place]["role"] != "assistant":
            raise UserError(f"{where} {word} with a message by {messages[place]['role']}; expected the assistant")
    return messages[0]["content"] if len(messages) == 1 and not messages[0].get("tool_calls") else messages


def turns_of(value: Any, where: str) -> tuple[Message, ...]:
    """Returns a history before a prompt: messages, or pairs of what the user and the assistant said. Raises
    UserError."""
    value = structure_of(unspelled(value, where))
    if isinstance(value, list | tuple) and all(_is_pair(turn) for turn in value):
        names = ("user", "assistant")
        said = [(role, text) for turn in value for role, text in zip(names, turn, strict=True)]
        return tuple({"role": role, "content": text_of(text, f"{where}: {role}")} for role, text in said)
    if not is_conversation(value):
        raise UserError(f"{where} is {shown(value)}; expected messages, or pairs of a question and its answer")
    if any(learn_flags(value, where)):
        raise UserError(
            f"{where}: a message says that it is learned (weight 1); expected context: put it into messages"
        )
    return conversation_of(value, where)


def _is_pair(turn: Any) -> bool:
    return isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _keys(message: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in KEYS if pair[0] in message and pair[1] in message), None)


def _message(value: Any, where: str) -> Message:
    keys = _keys(value) if isinstance(value, Mapping) else None
    if keys is None and isinstance(value, Mapping) and isinstance(value.get("role"), str):
        keys = ("role", "content")  # and no content: it calls tools, or text_of says so
    if keys is None or not isinstance(value[keys[0]], str) or not value[keys[0]].strip():
        raise UserError(f'{where} is {shown(value)}; expected {{"role": ..., "content": ...}}')
    said, share_gpt = value[keys[0]], keys[0] == "from"
    role = ROLES.get(said.strip().lower())
    if role is None and share_gpt:
        raise UserError(f"{where} is by {said!r}; expected one of {', '.join(ROLES)}")
    unread = next((key for key in UNREAD if not is_nothing(value.get(key))), None)
    if unread:
        raise UserError(f"{where} has {unread}; expected content only, put it into that as text")
    known = role is not None and (share_gpt or role in ("user", "assistant"))
    named = role if known and role is not None else said
    learn_flag(value, named, where)
    content, calls = value.get(keys[1]), calls_of(value, where)
    if share_gpt and said.strip().lower() in SHARE_GPT and not calls and (calls := spelled_calls(content)):
        content = ""
    if calls and named != "assistant":
        raise UserError(f"{where} is by {said} and calls tools; only the assistant does")
    beside = {key: value[key] for key in RESULT_KEYS if named == "tool" and isinstance(value.get(key), str)}
    if calls:
        beside["tool_calls"] = calls
    if (content == "" and named != "user") or (calls and is_nothing(content)):
        return {"role": named, "content": "", **beside}
    return {"role": named, "content": _content(content, f"{where}, {keys[1]}"), **beside}


def _content(content: Any, where: str) -> str:
    if not isinstance(content, list | tuple):
        return text_of(content, where)
    texts = [_part(part, f"{where}, part {number}") for number, part in enumerate(content)]
    return text_of("".join(texts), where)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise UserError(f"{where} is {shown(part)}; expected text")
    kind = part.get("type", "text")
    if kind not in TEXT_PARTS:
        raise UserError(f"{where} is of the type {kind}; expected text: nothing here can show anything else")
    if not isinstance(part.get("text"), str):
        raise UserError(f"{where} has the text {shown(part.get('text'))}; expected text")
    return str(part["text"])


def mentions(conversation: Sequence[Message], text: str) -> bool:
    """Says whether a message says the text; blanks do not count."""
    wanted = "".join(text.split())
    return any(wanted in "".join(message["content"].split()) for message in conversation)


def nobody_asks(messages: Sequence[Message]) -> str:
    """Returns what an error says of a conversation that no user's message begins."""
    by = ", ".join(dict.fromkeys(message["role"] for message in messages[:-1]))
    return f"before the assistant's turn stand only messages by {by}" if by else "has the assistant's turn only"
