"""This module reads messages and tools in OpenAI's form, and writes the model's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.serving.refusal import Refusal
from groupwise.types import Message

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
STRICT = "strict"
"""Of a tool's function: helpers of clients always set it, and nothing is drawn by a grammar here."""
FIELDS = {"role", "content", "tool_calls", "tool_call_id"}


def read_messages(given: Any) -> tuple[Message, ...]:
    """The messages as templates take them. Raises Refusal for what is none, and for a conversation that leaves nothing
    to answer."""
    if not isinstance(given, list) or not given:
        raise Refusal(400, "messages: expected a list of at least one message", "messages")
    messages = tuple(_message(each, f"messages[{place}]") for place, each in enumerate(given))
    if messages[-1]["role"] not in ("user", "tool"):
        seen = messages[-1]["role"]
        raise Refusal(400, f"messages end with {seen}; expected a message of the user's or a tool's last", "messages")
    return messages


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, dict):
        raise Refusal(400, f"{where}: expected an object with role and content", "messages")
    role = given.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Refusal(400, f"{where}.role is {str(role)[:40]!r}; expected {', '.join(ROLES)}", "messages")
    known = FIELDS | ({"name"} if role == "tool" else set())
    for name, value in given.items():
        if name not in known and value not in (None, "", [], {}):
            raise Refusal(400, f"{where}.{name} has no place in a message; leave it out", "messages")
    calls = _calls(given.get("tool_calls") or [], f"{where}.tool_calls")
    if calls and role != "assistant":
        raise Refusal(400, f"{where}: only the assistant calls tools", "messages")
    content = _content(given.get("content"), where, may_lack=bool(calls))
    message: dict[str, Any] = {"role": ROLES[role], "content": content}
    if calls:
        message["tool_calls"] = calls
    for name in ("tool_call_id", "name"):
        if role == "tool" and isinstance(given.get(name), str):
            message[name] = given[name]
    return message


def _content(given: Any, where: str, may_lack: bool) -> str:
    """Text, or parts of text."""
    if given is None and may_lack:
        return ""
    parts = given if isinstance(given, list) else [{"type": "text", "text": given}]
    for place, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            at = f"{where}.content" + (f"[{place}]" if isinstance(given, list) else "")
            raise Refusal(400, f"{at}: expected text; pictures, sound and files are not read here", "messages")
    text = "".join(part["text"] for part in parts)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal(400, f"{where}.content holds half a surrogate pair, which is no character", "messages") from None
    return text


def _calls(given: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise Refusal(400, f"{where}: expected a list", "messages")
    calls = []
    for place, call in enumerate(given):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, f"{where}[{place}]: expected a function with name and arguments", "messages")
        arguments = function.get("arguments", "{}")
        try:
            values = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise Refusal(400, f"{where}[{place}].function.arguments: expected an object as JSON text", "messages")
        calls.append(
            {
                "id": str(call.get("id") or ""),
                "type": "function",
                "function": {"name": function["name"], "arguments": values},
            }
        )
    return calls


def read_tools(given: Any) -> tuple[Any, ...]:
    """The tools' schemas, without the word that calls are to be drawn by a grammar. Raises Refusal for what is none."""
    if not isinstance(given, list):
        raise Refusal(400, "tools: expected a list", "tools")
    for place, tool in enumerate(given):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Refusal(400, f'tools[{place}]: expected {{"type": "function", "function": {{"name": ..}}}}', "tools")
    return tuple({**tool, "function": {k: v for k, v in tool["function"].items() if k != STRICT}} for tool in given)


def written(message: Message, call_ids: Sequence[str]) -> dict[str, Any]:
    """Returns the model's message in OpenAI's form."""
    calls = [
        {
            "id": id,
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for id, call in zip(call_ids, message.get("tool_calls") or (), strict=False)
    ]
    content = message["content"]
    return {"role": "assistant", "content": content or None, "tool_calls": calls} if calls else {**message}


class Digests:
    """Digests of a conversation's beginnings, in time linear in its length: equal ones are equal beginnings."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._hash = hashlib.sha256(_canonical(head))

    def add(self, message: Message) -> str:
        """Returns the digest of all messages up to this one. What a call is named does not matter."""
        self._hash.update(_canonical(_plain(message)))
        return self._hash.copy().hexdigest()

    def after(self, message: Message) -> str:
        """Returns what ``add`` would, and adds nothing."""
        there = self._hash.copy()
        there.update(_canonical(_plain(message)))
        return there.hexdigest()


def _plain(message: Message) -> dict[str, Any]:
    calls = [each["function"] for each in message.get("tool_calls") or ()]
    return {**message, "tool_calls": calls, "content": message["content"] or ""}


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True).encode()
    return len(text).to_bytes(8, "big") + text
