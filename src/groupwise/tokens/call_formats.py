"""This module knows how families of models write calls of tools, and reads each: what a text calls, and what cannot be
read in it.

A reader goes over its text once, from left to right. It yields a ``Call`` for each call, and a text that says what is
wrong for each that was begun and cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.environments.protocol import Call
from groupwise.tokens.call_values import Types, arguments_of, call_of, json_at, skipped, typed_call, until
from groupwise.tokens.invoked_calls import invoked
from groupwise.tokens.pythonic_calls import bare_calls, pythonic, pythonic_text

Found = Iterator[Call | str]


@dataclass(frozen=True)
class CallFormat:
    """This is how one family writes calls."""

    name: str
    signs: tuple[str, ...]
    """What a chat template of the family writes around a call; any of them."""
    read: Callable[[str, Types], Found]
    begins: tuple[str, ...] = ("<tool_call>",)
    """What the calls of a turn begin with; an empty text: the whole turn is calls."""
    write: Callable[[Sequence[Call]], str] | None = None
    """For templates that leave it to the text of a message."""


def hermes(text: str, types: Types) -> Found:
    """Reads ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: Hermes, Qwen2.5, Qwen3, our own new
    models."""
    opens, closes = "<tool_call>", "</tool_call>"
    at = text.find(opens)
    while at >= 0:
        value, end, wrong = json_at(text, at + len(opens))
        closed = skipped(text, end)
        if not wrong and not text.startswith(closes, closed):
            wrong = f"after the object stands no {closes}"
        yield wrong or call_of(value)
        at = text.find(opens, closed if not wrong else at + len(opens))


def xml_functions(text: str, types: Types) -> Found:
    """Reads ``<function=name><parameter=key>value</parameter></function>``: Qwen3-Coder, Qwen3.5."""
    at = text.find("<function=")
    while at >= 0:
        name, at = until(text, at + len("<function="), ">")
        arguments: dict[str, str] = {}
        at = skipped(text, at)
        while at >= 0 and text.startswith("<parameter=", at):
            key, at = until(text, at + len("<parameter="), ">")
            value, at = until(text, at, "</parameter>")
            arguments[key] = _inner(value)
            at = skipped(text, at)
        if at < 0:
            yield "a tag is not closed"
            return
        closed = text.startswith("</function>", at)
        yield (typed_call(name, arguments, types) if closed else f"the call of {name[:64]} is not closed")
        at = text.find("<function=", at)


def glm(text: str, types: Types) -> Found:
    """Reads ``<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>``: GLM-4.5 and later."""
    at = text.find("<tool_call>")
    while at >= 0:
        name, at = until(text, at + len("<tool_call>"), "<")
        at = at if at < 0 else at - 1
        arguments: dict[str, str] = {}
        unsaid = ""
        while at >= 0 and text.startswith("<arg_key>", at):
            key, at = until(text, at + len("<arg_key>"), "</arg_key>")
            at = skipped(text, at)
            if not text.startswith("<arg_value>", at):
                unsaid = key.strip()
                break
            value, at = until(text, at + len("<arg_value>"), "</arg_value>")
            arguments[key.strip()] = value
            at = skipped(text, at)
        if at < 0:
            yield "a tag is not closed"
            return
        if not text.startswith("</tool_call>", at):
            yield f"the call of {name[:64].strip()} is not closed"
        else:
            yield f"the argument {unsaid[:64]} has no value" if unsaid else typed_call(name, arguments, types)
        at = text.find("<tool_call>", at)


def mistral(text: str, types: Types) -> Found:
    """Reads ``[TOOL_CALLS][{"name": ..., "arguments": {...}}]`` or ``[TOOL_CALLS]name[ARGS]{...}``."""
    opens = "[TOOL_CALLS]"
    at = text.find(opens)
    while at >= 0:
        start = skipped(text, at + len(opens))
        if text[start : start + 1] in ("[", "{"):
            value, end, wrong = json_at(text, start)
            yield from [wrong] if wrong else _each(value)
        else:
            head, start = until(text, start, "{")
            end, wrong = start, f"after {opens} stand neither a list nor a name and its arguments"
            if start >= 0:
                value, end, wrong = json_at(text, start - 1)
            id = _first(head.partition("[CALL_ID]")[2], "[ARGS]")
            yield wrong or arguments_of(_first(head, "[ARGS]", "[CALL_ID]"), value, id)
            if start < 0:
                return
        at = text.find(opens, end if not wrong else start)


def llama(text: str, types: Types) -> Found:
    """Reads ``{"name": ..., "parameters": {...}}``, several with ``;`` between, perhaps behind ``<|python_tag|>``; or
    ``[name(key=value)]``: Llama 4."""
    tag = "<|python_tag|>"
    _, tagged, behind = text.partition(tag)
    at = skipped(behind if tagged else text, 0)
    body = behind if tagged else text
    while body.startswith("{", at):
        value, at, wrong = json_at(body, at)
        inner = value.get("function") if isinstance(value, dict) else None
        known = inner if isinstance(inner, dict) else value or body  # of what is no JSON, its words
        is_call = "name" in known and ("parameters" in known or "arguments" in known)
        if not (tagged or is_call):
            return  # an answer that is JSON
        yield wrong or call_of(value)
        at = skipped(body, at)
        if wrong or not body.startswith(";", at):
            return
        at = skipped(body, at + 1)
    if tagged and not body.startswith("{", skipped(body, 0)):
        yield f"after {tag} stands no object with name and parameters"
    elif not tagged:
        yield from bare_calls(text)


def deepseek(text: str, types: Types) -> Found:
    """``<｜tool▁call▁begin｜>``, then ``function<｜tool▁sep｜>name`` and JSON in a fence (V3, R1), or
    ``name<｜tool▁sep｜>{...}`` (V3.1), then ``<｜tool▁call▁end｜>``."""
    opens, separator, closes = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
    at = text.find(opens)
    while at >= 0:
        head, place = until(text, at + len(opens), separator)
        before, start = until(text, place, "{") if place >= 0 else ("", -1)
        if start < 0:
            yield f"there is no {separator} with an object behind it"
            return
        value, end, wrong = json_at(text, start - 1)
        name = before.strip().removesuffix("```json").strip() or head.strip()
        fence = skipped(text, end)
        fence = skipped(text, fence + 3) if text.startswith("```", fence) else fence
        if not wrong and not text.startswith(closes, fence):
            wrong = f"after the object stands no {closes}"
        yield wrong or arguments_of(name, value)
        at = text.find(opens, fence if not wrong else start)


def kimi(text: str, types: Types) -> Found:
    """Reads ``<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|>``."""
    opens, middle, closes = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
    at = text.find(opens)
    while at >= 0:
        head, start = until(text, at + len(opens), middle)
        if start < 0:
            yield f"there is no {middle}"
            return
        value, end, wrong = json_at(text, start)
        if not wrong and not text.startswith(closes, skipped(text, end)):
            wrong = f"after the object stands no {closes}"
        yield wrong or arguments_of(head.strip().removeprefix("functions.").rpartition(":")[0] or head.strip(), value)
        at = text.find(opens, end if not wrong else start)


def harmony(text: str, types: Types) -> Found:
    """Reads ``<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}``: gpt-oss."""
    messages = text.split("<|start|>")
    for message in messages:
        header, begun, body = message.partition("<|message|>")
        _, named, rest = header.partition("to=")
        name = (rest.replace("<", " ").split() or [""])[0]
        if named and not begun and "<|channel|>" in header:
            yield f"behind to={name[:64]} stands no <|message|>"
        if not named or not begun:
            continue
        value, _, wrong = json_at(body, 0)
        yield wrong or arguments_of(name.removeprefix("functions."), value)


def listed(text: str, types: Types) -> Found:
    """Reads ``<|tool_call|>[{"name": ..., "arguments": {...}}]``: Granite."""
    opens = "<|tool_call|>"
    at = text.find(opens)
    while at >= 0:
        value, end, wrong = json_at(text, at + len(opens))
        yield from [wrong] if wrong else _each(value)
        at = text.find(opens, end if not wrong else at + len(opens))


def _hermes_text(calls: Sequence[Call]) -> str:
    return "\n".join(f"<tool_call>{_written(call)}</tool_call>" for call in calls)


def _listed_text(calls: Sequence[Call]) -> str:
    return f"<|tool_call|>[{', '.join(map(_written, calls))}]"


def _deepseek_text(calls: Sequence[Call]) -> str:
    each = [
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call.name}\n```json\n"
        f"{json.dumps(dict(call.arguments), ensure_ascii=False)}\n```<｜tool▁call▁end｜>"
        for call in calls
    ]
    return "<｜tool▁calls▁begin｜>" + "\n".join(each) + "<｜tool▁calls▁end｜>"


def _written(call: Call) -> str:
    return json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)


HERMES = CallFormat("Hermes", ("<tool_call>",), hermes, write=_hermes_text)
FORMATS = (
    CallFormat("gpt-oss", ("<|channel|>commentary",), harmony, ("",)),
    CallFormat(
        "Kimi", ("<|tool_call_argument_begin|>",), kimi, ("<|tool_calls_section_begin|>", "<|tool_call_begin|>")
    ),
    CallFormat(
        "DeepSeek",
        ("<｜tool▁call▁begin｜>",),
        deepseek,
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        _deepseek_text,
    ),
    CallFormat("Mistral", ("[TOOL_CALLS]",), mistral, ("[TOOL_CALLS]",)),
    CallFormat("Qwen3-Coder", ("<function=",), xml_functions, ("<tool_call>", "<function=")),
    CallFormat("MiniMax", ('<invoke name="',), invoked(""), ("<minimax:tool_call>", "<invoke name=")),
    CallFormat(
        "DeepSeek-V3.2",
        ("<｜DSML｜invoke",),
        invoked("｜DSML｜"),
        ("<｜DSML｜function_calls>", "<｜DSML｜invoke name="),
    ),
    CallFormat("GLM", ("<arg_key>",), glm),
    HERMES,
    CallFormat("Granite", ("<|tool_call|>",), listed, ("<|tool_call|>",), _listed_text),
    CallFormat(
        "LFM2",
        ("<|tool_call_start|>",),
        pythonic("<|tool_call_start|>", "<|tool_call_end|>"),
        ("<|tool_call_start|>",),
        lambda calls: f"<|tool_call_start|>{pythonic_text(calls)}<|tool_call_end|>",
    ),
    CallFormat(
        "OLMo 3", ("<function_calls>",), pythonic("<function_calls>", "</function_calls>"), ("<function_calls>",)
    ),
    CallFormat("Llama 3", ("<|python_tag|>", '"parameters":'), llama, ("<|python_tag|>", "{", "[")),
)
"""In the order in which their signs are looked for."""


def _first(text: str, *marks: str) -> str:
    for mark in marks:
        text = text.partition(mark)[0]
    return text.strip()


def _inner(value: str) -> str:
    """A value without the line break that the template writes on either side."""
    return value.removeprefix("\n").removesuffix("\n")


def _each(value: Any) -> Found:
    values = value if isinstance(value, list) else [value]
    if not values:
        yield "the list of calls is empty"
    for each in values:
        yield call_of(each)
