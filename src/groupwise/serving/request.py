"""This module reads what a client asks: every parameter of OpenAI's interface has its meaning here, has none that
could matter, or is refused by its name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.serving.messages import STRICT, read_messages, read_tools
from groupwise.serving.refusal import Refusal
from groupwise.types import Message

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "functions": ([],),
}
"""Parameters that are not offered, with the values that ask for nothing."""
UNHEARD = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key")
"""Parameters that change no answer; the header ``X-Ignored`` of the reply names those that were given."""
COMMON = (
    *("model", "n", "temperature", "top_p", "max_tokens", "stop", "seed", "stream", "stream_options", "logprobs"),
    "return_token_ids",
)
CHAT = ("messages", "tools", "tool_choice", "max_completion_tokens", "chat_template_kwargs")
TEXT = ("prompt",)
MOST_CHOICES, MOST_STOPS, STOP_LETTERS = 128, 16, 256


@dataclass(frozen=True)
class ClientRequest:
    """This is what a client asks, read and checked: either messages, or text, or ids."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Any, ...] = ()
    template_arguments: Mapping[str, Any] | None = None
    text: str | None = None
    ids: tuple[int, ...] | None = None
    choices: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    """None: what the context leaves."""
    stops: tuple[str, ...] = ()
    seed: int | None = None
    streams: bool = False
    streams_usage: bool = False
    """Whether the last piece of a stream says how many tokens there were."""
    logprobs: bool = False
    shows_ids: bool = False
    """Whether the answer holds token ids: of the prompt, and of each choice."""
    ignored: tuple[str, ...] = ()

    @property
    def is_chat(self) -> bool:
        """Says whether it asks for a message."""
        return bool(self.messages)


def read_request(body: Any, is_chat: bool, model: str) -> ClientRequest:
    """Reads the body of a request; ``model`` is the only name of one that may be asked, or empty. Raises Refusal for
    what has no place in it."""
    if not isinstance(body, dict):
        raise Refusal(400, f"the body is {_kind(body)}; expected a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_unknown(given, (*COMMON, *(CHAT if is_chat else TEXT)))
    if model and given.get("model", model) != model:
        raise Refusal(404, f"model is {given['model']!r}; there is {model!r}", "model")
    read = _Reader(given)
    options = read.one("stream_options", dict, {})
    if set(options) - {"include_usage"}:
        raise Refusal(400, f"stream_options has {', '.join(options)}; expected include_usage", "stream_options")
    common: dict[str, Any] = {
        "choices": read.whole("n", 1, MOST_CHOICES, 1),
        "temperature": read.number("temperature", 0, 100, 1.0),
        "top_p": read.number("top_p", 0, 1, 1.0),
        "max_tokens": _max_tokens(read),
        "stops": _stops(given.get("stop")),
        "seed": read.whole("seed", -(2**63), 2**63 - 1, None),
        "streams": read.one("stream", bool, False),
        "streams_usage": options.get("include_usage") is True,
        "logprobs": read.one("logprobs", bool, False) if is_chat else read.whole("logprobs", 0, 0, None) is not None,
        "shows_ids": read.one("return_token_ids", bool, False),
        "ignored": _unheard(given),
    }
    if common["top_p"] <= 0:
        raise Refusal(400, "top_p is 0; expected more than 0, at most 1", "top_p")
    asked = ClientRequest(**common, **(_chat(given, read) if is_chat else _prompt(given)))
    _refuse_half_characters({name: given.get(name) for name in ("messages", "tools", "chat_template_kwargs")})
    return asked


def _unheard(given: Mapping[str, Any]) -> tuple[str, ...]:
    tools = given.get("tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    is_strict = any(isinstance(each, dict) and each.get(STRICT) for each in functions)
    return (*(name for name in UNHEARD if name in given), *(["tools.strict"] if is_strict else []))


def _chat(given: Mapping[str, Any], read: _Reader) -> dict[str, Any]:
    messages = read_messages(given.get("messages"))
    choice = given.get("tool_choice", "auto")
    if choice not in ("auto", "none"):
        raise Refusal(400, f"tool_choice is {choice!r}; expected auto or none: no call is forced", "tool_choice")
    tools = read_tools(given.get("tools", []))
    arguments = read.one("chat_template_kwargs", dict, {})
    return {
        "messages": messages,
        "tools": tools if choice == "auto" else (),
        "template_arguments": arguments or None,
    }


def _prompt(given: Mapping[str, Any]) -> dict[str, Any]:
    prompt = given.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return {"text": _encodable(prompt, "prompt")}
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return {"ids": tuple(prompt)}
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(each, str | list) for each in prompt):
        raise Refusal(400, f"prompt has {len(prompt)} prompts; expected one a request", "prompt")
    raise Refusal(400, "prompt: expected a text, or a list of token ids", "prompt")


def _refuse_half_characters(given: Mapping[str, Any]) -> None:
    """Raises Refusal for half a surrogate pair in any text that a template may write."""
    for name, value in given.items():
        _encodable(json.dumps(value, ensure_ascii=False), name)


def _max_tokens(read: _Reader) -> int | None:
    most, name = read.whole("max_tokens", 1, 2**31 - 1, None), "max_completion_tokens"
    newer = read.whole(name, 1, 2**31 - 1, None)
    if most is not None and newer is not None and most != newer:
        raise Refusal(400, f"max_tokens is {most} and {name} {newer}; expected one of them", name)
    return most if newer is None else newer


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(stops, list) or not all(isinstance(each, str) and each for each in stops):
        raise Refusal(400, "stop: expected a text that is not empty, or a list of them", "stop")
    if len(stops) > MOST_STOPS:
        raise Refusal(400, f"stop has {len(stops)} texts; at most {MOST_STOPS}", "stop")
    if max(map(len, stops), default=0) > STOP_LETTERS:
        raise Refusal(400, f"stop: a text has {max(map(len, stops))} letters; at most {STOP_LETTERS}", "stop")
    return tuple(_encodable(each, "stop") for each in stops)


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in given.items():
        if name in known or name in UNHEARD:
            continue
        if name not in NEUTRAL:
            raise Refusal(400, f"unknown parameter {name!r}; there are {', '.join(known)}", name)
        if not any((value == neutral and type(value) is not bool) or value is neutral for neutral in NEUTRAL[name]):
            raise Refusal(400, f"{name} is {str(value)[:80]}; it is not offered here, so leave it out", name)


@dataclass(frozen=True)
class _Reader:
    """Reads values by name and type."""

    given: Mapping[str, Any]

    def one(self, name: str, kind: type, default: Any) -> Any:
        value = self.given.get(name, default)
        if not isinstance(value, kind):
            raise Refusal(400, f"{name} is {_kind(value)}; expected {_KINDS[kind]}", name)
        return value

    def number(self, name: str, least: float, most: float, default: Any) -> Any:
        return self._between(name, least, most, default, lambda value: type(value) in (int, float), "a number")

    def whole(self, name: str, least: int, most: int, default: Any) -> Any:
        return self._between(name, least, most, default, lambda value: type(value) is int, "a whole number")

    def _between(
        self, name: str, least: float, most: float, default: Any, fits: Callable[[Any], bool], kind: str
    ) -> Any:
        value = self.given.get(name, default)
        if value is None:
            return None
        if not fits(value) or not is_finite(value) or not least <= value <= most:
            seen = str(value)[:40] if type(value) in (int, float) else _kind(value)
            raise Refusal(400, f"{name} is {seen}; expected {kind} from {least} to {most}", name)
        return value


def is_finite(value: float) -> bool:
    """Says whether it is a number that a float can be."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


_KINDS = {bool: "true or false", dict: "an object", list: "a list", str: "a text"}


def _kind(value: Any) -> str:
    if type(value) in (int, float):
        return "a number"
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal(400, f"{name} holds half a surrogate pair, which is no character", name) from None
    return text
