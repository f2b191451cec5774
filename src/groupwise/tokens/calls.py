"""Calls of tools in a model's own words: how its chat template writes them, and what a reply calls.

The template is filled with a call of a tool that does not exist; what it writes around that tells the family
(``call_formats``). A tokenizer that brings a ``response_template`` says it itself, and transformers reads it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from groupwise.environments.protocol import Call, Reply
from groupwise.errors import UserError
from groupwise.tokens.call_formats import FORMATS, HERMES, CallFormat, Types
from groupwise.tokens.call_values import call_of, skipped
from groupwise.tokens.encoding import same_beginning
from groupwise.types import Example, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOLS = "tools"
"""The column of the functions that a row's model may call, as JSON schemas."""
MOST_UNREADABLE = 8
"""Of one reply: after so many calls that cannot be read, nothing else in it is."""
BRACKETS = ("{", "[")
"""What calls begin with that have no mark of their own."""
NAME, KEY, VALUE = "groupwise_probe", "probe_key", "probe value"
IDS = re.compile(r"[A-Za-z0-9]{9}")
"""What each template takes as the id of a call."""
_ASKED = [{"role": "user", "content": "question"}]
_SCHEMA = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "probe",
        "parameters": {
            "type": "object",
            "properties": {KEY: {"type": "string", "description": "probe"}},
            "required": [KEY],
        },
    },
}


@dataclass(frozen=True)
class CallReader:
    """Writes and reads calls as one model's chat template has them."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    """Of the model, as error messages say it."""
    fill: Callable[[Sequence[Message], Example, bool], str]
    """``ChatTemplate.fill``."""
    knows_tools: bool
    """Whether the template reads the variable ``tools``."""

    def read(self, text: str, tools: Sequence[Any]) -> tuple[list[Call], str]:
        """The calls in a reply, and why one that was begun cannot be read (empty: each can).

        ``text`` is the reply with its special tokens. What stands in a thinking block calls nothing. Raises UserError
        where nobody knows how the model writes calls.
        """
        if getattr(self.tokenizer, "response_template", None) is not None:
            return self._by_template(text, tools)
        if self.format is None:
            raise UserError(
                f"the chat template of {self.name} writes calls of tools in no known way (it has written "
                f"{self._written[:120]!r} for one); known are {', '.join(each.name for each in FORMATS)}: take one of "
                "their templates, or give the tokenizer a response_template"
            )
        return calls_in(without_thoughts(text, self._thinks), self.format, types_of(tools))

    def turn(self, text: str, tokens: Sequence[int], tools: Sequence[Any]) -> tuple[Reply, Message]:
        """A turn that says ``text`` as an environment hears it and as a message; without tools it calls nothing."""
        plain: Message = {"role": "assistant", "content": text}
        if not tools:
            return Reply(text), plain
        whole = str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        calls, malformed = self.read(whole, tools)
        return Reply(text, calls, malformed), self.message(whole, calls) if calls else plain

    def message(self, text: str, calls: Sequence[Call]) -> Message:
        """A turn that calls tools, as a message: what it says before its calls, and the calls."""
        written = [
            {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            | ({"id": call.id} if IDS.fullmatch(call.id) else {})
            for call in calls
        ]
        return {"role": "assistant", "content": text[: self._calls_begin(text)].strip(), "tool_calls": written}

    def _calls_begin(self, text: str) -> int:
        """Returns where the calls of a turn begin. A bracket begins them only where nothing is said before it."""
        begins = self.format.begins if self.format is not None else ("",)
        said = len(text) - len(without_thoughts(text, self._thinks))
        places = [(mark, text.find(mark, said if mark in BRACKETS else 0)) for mark in begins]
        found = [at for mark, at in places if at >= 0 and not (mark in BRACKETS and text[said:at].strip())]
        return min(found, default=0)

    def shown(self, message: Message) -> Message:
        """A message with calls as the template takes them: some want no content, or arguments as text, or the calls in
        the text of the message."""
        calls = message.get("tool_calls")
        if not calls:
            return message
        variant = self._probed[0]
        content = message["content"] or variant["content"]
        if "tool_calls" not in variant:
            write = (self.format or HERMES).write or HERMES.write
            assert write is not None
            said = write([Call(each["function"]["name"], each["function"]["arguments"]) for each in calls])
            rest = {name: value for name, value in message.items() if name != "tool_calls"}
            return {**rest, "content": "\n".join([*([message["content"]] if message["content"] else []), said])}
        if isinstance(variant["tool_calls"][0]["function"]["arguments"], str):
            calls = [{**each, "function": _as_text(each["function"])} for each in calls]
        return {**message, "content": content, "tool_calls": calls}

    @cached_property
    def format(self) -> CallFormat | None:
        """The family; None where its signs are none that is known."""
        for text in (self._written, self._instructions):
            found = next((each for each in FORMATS if any(sign in text for sign in each.signs)), None)
            if found is not None or text:
                return found
        return HERMES

    @cached_property
    def _thinks(self) -> bool:
        return "think>" in str(self.tokenizer.chat_template)

    @property
    def _written(self) -> str:
        """What the template writes for the call of the probe; empty where it leaves it out."""
        return self._probed[1]

    @cached_property
    def _instructions(self) -> str:
        """What it says of tools to a model, where that is all it says of them."""
        template = str(self.tokenizer.chat_template)
        return template if any(sign in template for each in FORMATS for sign in each.signs) else ""

    @cached_property
    def _probed(self) -> tuple[Mapping[str, Any], str]:
        """A message that the template writes whole, and what it writes for it."""
        probe = Example("the chat template's probe", "question", columns={TOOLS: [_SCHEMA]} if self.knows_tools else {})
        for message in _variants():
            try:
                before = self.fill(_ASKED, probe, False)
                whole = self.fill([*_ASKED, message], probe, False)
            except UserError:
                continue
            written = whole[same_beginning(before, whole) :]
            if NAME in written and VALUE in written:
                return message, written
        return {"role": "assistant", "content": ""}, ""

    def _by_template(self, text: str, tools: Sequence[Any]) -> tuple[list[Call], str]:
        try:
            self.tokenizer.parse_response("", prefix="")
        except Exception as error:  # it is nobody's reply that is wrong
            raise UserError(f"the response_template of {self.name}'s tokenizer cannot be used: {error}") from error
        try:
            message = self.tokenizer.parse_response(text, prefix="", tools=list(tools))
        except Exception as error:  # a template's parser may raise anything
            return [], " ".join(str(error).split())[:200] or type(error).__name__
        found = [call_of(each) for each in message.get("tool_calls") or ()]
        calls = [each for each in found if isinstance(each, Call)]
        return calls, next((each for each in found if isinstance(each, str)), "")


def calls_in(text: str, written: CallFormat, types: Types) -> tuple[list[Call], str]:
    """The calls of a text in one family's format, and what is wrong with the first that cannot be read."""
    calls: list[Call] = []
    wrong: list[str] = []
    for found in written.read(text, types):
        if isinstance(found, Call):
            calls.append(found)
        else:
            wrong.append(found)
        if len(wrong) == MOST_UNREADABLE:
            break
    return calls, wrong[0] if wrong else ""


def without_thoughts(text: str, thinks: bool = True) -> str:
    """Returns what stands behind the thinking blocks with which a reply begins; ``thinks``: the prompt may have opened
    the first."""
    opened = text.lstrip().startswith("<think>")
    text = text.partition("</think>")[2] if opened or (thinks and "</think>" in text) else text
    start = skipped(text, 0)
    while text.startswith("<think>", start):
        end = text.find("</think>", start)
        start = skipped(text, end + len("</think>")) if end >= 0 else len(text)
    return text[start:] if start and text[:start].strip() else text


def guarded_message(message: Message, guard: Callable[[str, bool], str]) -> dict[str, Any]:
    """The message with each of its texts guarded; ``guard(text, True)`` of what a tool said."""
    found = {**message, "content": guard(message["content"], message["role"] == "tool")}
    if message.get("tool_calls"):
        found["tool_calls"] = [_guarded_value(call, lambda text: guard(text, False)) for call in message["tool_calls"]]
    return found


def types_of(tools: Sequence[Any]) -> Types:
    """The parameters of each tool by the schemas that the template is given."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        inner = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        parameters = inner.get("parameters") if isinstance(inner, Mapping) else None
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
            found[inner["name"]] = properties if isinstance(properties, Mapping) else {}
    return found


def call_id(number: int) -> str:
    """Returns the id of a conversation's call of that number where it has none of its own."""
    return f"call{number:05d}"


def _free_id(number: int, taken: set[str]) -> str:
    return next(id for id in map(call_id, itertools.count(number)) if id not in taken)


def with_ids(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages with an id of nine letters or digits for each call and for each result, which some templates insist
    on: its own where it has such a one. A result belongs to the first call before it that has none yet, or to the one
    that its own id names, the last one where several have it."""
    known: dict[str, str] = {}
    taken: set[str] = set()
    count = 0
    waiting: list[str] = []
    found = []
    for message in messages:
        message = dict(message)
        if message.get("tool_calls"):
            calls = []
            for call in message["tool_calls"]:
                own = str(call.get("id"))
                id = own if IDS.fullmatch(own) and own not in taken else _free_id(count, taken)
                known[str(call.get("id") or id)] = id
                count += 1
                taken.add(id)
                waiting.append(id)
                calls.append({**call, "id": id})
            message["tool_calls"] = calls
        elif message.get("role") == "tool":
            id = known.get(str(message.get("tool_call_id")), waiting[0] if waiting else "call00000")
            waiting = [each for each in waiting if each != id]
            message["tool_call_id"] = id
        found.append(message)
    return found


def _guarded_value(value: Any, guard: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, Mapping):
        return {guard(name): _guarded_value(each, guard) for name, each in value.items()}
    return [_guarded_value(each, guard) for each in value] if isinstance(value, list | tuple) else value


def _variants() -> Iterator[dict[str, Any]]:
    """The messages with which templates are tried, the most usual first."""
    for content in ("", None):
        for arguments in ({KEY: VALUE}, json.dumps({KEY: VALUE})):
            call = {"id": "call00000", "type": "function", "function": {"name": NAME, "arguments": arguments}}
            yield {"role": "assistant", "content": content, "tool_calls": [call]}


def _as_text(function: Mapping[str, Any]) -> dict[str, Any]:
    return {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}
