"""This module reads what a tool returned as a message: text, a reward, numbers, and whether the episode is over."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import ItemsView, KeysView, Mapping, Sequence, Set, ValuesView
from dataclasses import dataclass, field
from typing import Any

from groupwise.environments.protocol import Ended, Says

NOTHING = "(no result)"
BLOCKS = ("text", "image", "image_url", "audio", "video", "resource", "resource_link")
"""Types of the parts of a message."""
_MEDIA = ("data", "image", "image_url", "audio", "input_audio", "video", "video_url", "source", "blob")
"""Where such a part holds what is no text."""
_OF_MEDIA = {"type", *_MEDIA, "mimeType", "mime_type", "media_type", "detail", "annotations", "_meta"}
"""All that a part without text has."""
_PLACE = re.compile(r" at 0x[0-9a-fA-F]+>")
"""Where in memory an object lies: another place each time."""


@dataclass(frozen=True)
class Result:
    """This is one tool's answer to one call."""

    text: str
    reward: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    ended: Ended | None = None
    """Where the tool ended the episode: what it returned."""
    failed: bool = False


def result_of(returned: Any) -> Result:
    """Of whatever a tool returns: text; anything that JSON can say; bytes; None; content blocks; ``Says`` with a
    reward; verl's ``(response, reward)`` and ``(response, reward, metrics)`` and its ``ToolResponse``; ``Ended``.

    What has no text of its own (a generator, an object that only says where in memory it lies) has failed.
    """
    try:
        return _read(returned)
    except Exception as error:  # whatever an object raises that is looked at
        said = " ".join(_words(error).split())[:200]
        return Result(f"the tool returned what cannot be shown ({type(returned).__name__}: {said})", failed=True)


def shortened(text: str, characters: int) -> str:
    """The text where it has at most so many characters, else its head and its tail with a line between them that says
    how much is left out."""
    if len(text) <= characters:
        return text
    note = f"\n... ({len(text) - characters:,} of {len(text):,} characters left out) ...\n"
    head = -(-characters // 2)
    return text[:head] + note + text[len(text) - (characters - head) :]


def plain(text: str) -> str:
    """The text with a ``?`` for each lone surrogate, which no tokenizer takes."""
    return str(text).encode("utf-8", "replace").decode()


def _read(returned: Any) -> Result:
    """Raises whatever looking at it raises."""
    if isinstance(returned, Ended):
        return Result(NOTHING, ended=returned)
    if isinstance(returned, Says):
        return Result(plain(returned.text), returned.reward)
    if _is_triple(returned):
        response, reward, *metrics = returned
        given = {str(name): _number(value) for name, value in ((metrics or [None])[0] or {}).items()}
        numbers = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(result_of(response), reward=_number(reward), metrics=numbers)
    return Result(_text(returned))


def _words(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # a user's exception may not even be able to show itself
        return type(error).__name__


def _is_triple(returned: Any) -> bool:
    """verl's tuple. A point (1, 2) is none: its first part is no response."""
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        return False
    response, reward, *metrics = returned
    shows = response is None or isinstance(response, str | Mapping) or hasattr(response, "text")
    is_paid = reward is None or _number(reward) is not None
    return shows and is_paid and all(each is None or isinstance(each, Mapping) for each in metrics)


def _number(value: Any) -> float | None:
    """A number, numpy's and torch's scalars included; None of anything else."""
    if hasattr(value, "item") and hasattr(value, "ndim") and value.ndim == 0:
        value = value.item()
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return plain(value) or NOTHING
    if value is None:
        return NOTHING
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode() or NOTHING
        except UnicodeDecodeError:
            return f"({len(value):,} bytes that are no text)"
    if isinstance(value, Mapping) and _is_block(value) and (set(value) == {"type", "text"} or _holds_media(value)):
        return _block(value)
    if isinstance(value, list) and value and all(_is_block(each) for each in value):
        return "\n".join(_block(each) for each in value)
    if hasattr(value, "text") and (value.text is None or isinstance(value.text, str)):
        shown = [f"({kind} that cannot be shown)" for kind in ("image", "video") if getattr(value, kind, None)]
        return "\n".join([*([plain(value.text)] if value.text else []), *shown]) or NOTHING
    simple = value if isinstance(value, dict | list | tuple | int | float) else _simple(value)
    return plain(simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False, default=_simple))


def _is_block(value: Any) -> bool:
    """A part of a message, as TRL and MCP have them."""
    return isinstance(value, Mapping) and value.get("type") in BLOCKS and len(value) > 1


def _holds_media(part: Mapping[str, Any]) -> bool:
    """Says whether it is a part by itself, of what is no text, and not data that have such a type and say more."""
    shows = part["type"] not in ("text", "resource", "resource_link") and set(part) <= _OF_MEDIA
    return shows and any(isinstance(part.get(name), str | bytes | Mapping) for name in _MEDIA)


def _block(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    return plain(text) if isinstance(text, str) else f"({part['type']} that cannot be shown)"


def _simple(value: Any) -> Any:
    """What JSON has no word for. Raises TypeError where it cannot be told from another of its kind."""
    if isinstance(value, Set) and not isinstance(value, KeysView | ItemsView):
        return sorted(value, key=str)
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set | ValuesView | deque) and not isinstance(value, str):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if type(value).__str__ is not object.__str__ or type(value).__repr__ is not object.__repr__:
        if hasattr(value, "__next__") or isinstance(value, type) or callable(value):
            raise TypeError("return text, or what JSON can say")
        if not _PLACE.search(text := str(value)):
            return text
    raise TypeError("return text, or what JSON can say")
