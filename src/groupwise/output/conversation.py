"""An episode as a conversation to look at: who said what, and which tokens are the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.output.masking import masked

MOST_LETTERS = 2000
"""Of a message that is shown; a longer one is cut in its middle."""


@dataclass(frozen=True)
class Part:
    """A part is one message: a turn of the model's, with the place of its tokens, or what it heard."""

    role: str
    text: str
    tool: str = ""
    """The tool whose result it is."""
    begin: int = 0
    end: int = 0
    """Of a turn of the model's: its tokens are those from ``begin`` up to ``end``; of what it heard both are 0."""

    @property
    def is_sampled(self) -> bool:
        """Says whether the model said it."""
        return self.end > 0


def conversation(
    messages: Sequence[Mapping[str, Any]], mask: Sequence[bool], turns: Sequence[int]
) -> tuple[list[Part], list[Part]]:
    """Returns what was said before the model's first turn, and from there on.

    ``messages`` may begin with those before it; ``turns`` are the places of each turn's last token, among ``mask``.
    """
    spoken = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    first = spoken[len(spoken) - len(turns)] if turns else len(messages)
    ends, before = iter(turns), -1
    opening = [_heard(message) for message in messages[:first]]
    parts = []
    for message in messages[first:]:
        if message["role"] != "assistant":
            parts.append(_heard(message))
            continue
        last = next(ends)
        begin = next(place for place in range(before + 1, last + 1) if mask[place])
        parts.append(Part("assistant", _text(message), begin=begin, end=last + 1))
        before = last
    return opening, parts


def _heard(message: Mapping[str, Any]) -> Part:
    return Part(str(message["role"]), shortened(_text(message)), str(message.get("name") or ""))


def _text(message: Mapping[str, Any]) -> str:
    """What it says, without keys and passwords; that of several blocks as it prints."""
    content = message.get("content")
    return masked(content if isinstance(content, str) else "" if content is None else str(content))


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """The text, its middle left out where it is longer than anybody looks at."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} letters left out …\n{text[-half:]}"
