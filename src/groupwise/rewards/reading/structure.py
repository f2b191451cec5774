"""The parts of a completion: what stands in a thinking block is no answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from groupwise.types import Text

TEXT_CHARACTERS = 200_000
"""Of a longer completion only the end is read: that is where an answer stands."""

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad|seed:think|analysis"
_BLOCK = re.compile(
    rf"<(?P<close>/)?(?:{_NAMES})>"
    r"|<\|(?P<phase>begin|end)_of_thought\|>"
    r"|<\|(?P<turn>START|END)_THINKING\|>"
    r"|\u25c1(?P<kimi>/)?think\u25b7"
    r"|\[(?P<bracket>/)?THINK\]"
    r"|(?P<channel>\A\s*(?:<\|channel\|>)?analysis(?=[A-Z\s<]))"
    r"|(?P<final>(?:<\|channel\|>|assistant)final(?:<\|message\|>)?)",
    re.IGNORECASE,
)

_STRUCK = re.compile(
    r"(?<![A-Za-z0-9_)\]}~=,;\\{&$])~~(?![\s~]|\\?(?:text|mbox|mathrm|q?quad|and|or)(?![a-z]))[^~\n]{1,200}(?<!\s)~~(?!~)"
    r"|<(?P<tag>del|s|strike)>[^<\n]{0,200}</(?P=tag)>|\\sout\{[^{}\n]{1,100}\}",
    re.IGNORECASE,
)
"""Two ``~`` within a formula are spaces of LaTeX: ``5~~\\text{or}~~7``."""
_MARKS = re.compile(r"<[^<>\s]{1,20}>")
"""Tokens that are no text, such as ``<pad>``."""


def without_thinking(text: str, begins_inside: bool = False) -> str:
    """Returns what follows the last thinking block that closes; empty where the last one never closes.

    Known are ``<think>`` and its usual siblings, ``[THINK]``, the marks of Kimi and OpenThoughts, and the channels of
    gpt-oss. A closing mark without an opening one ends a block that the prompt had opened. ``begins_inside`` says that
    it had: then a text without a closing mark is all thinking.
    """
    text = text[-TEXT_CHARACTERS:]
    is_open, start, has_channel = begins_inside, 0, False
    for mark in _BLOCK.finditer(text):
        if mark["channel"] is not None:
            has_channel = is_open = True
        elif mark["final"] is not None:
            if has_channel:
                is_open, start = False, mark.end()
        elif mark["close"] or mark["kimi"] or mark["bracket"] or (mark["phase"] or mark["turn"] or "").lower() == "end":
            is_open, start = False, mark.end()
        else:
            is_open = True
    return "" if is_open else text[start:]


def without_struck(text: str) -> str:
    """Returns a text without what its writer has struck out: ``~~11~~ 12``. Where ``<s>`` and ``</s>`` stand around all
    of it, they are a tokenizer's begin and end."""
    if not ("~~" in text or "</" in text or "\\sout" in text):
        return text
    bare = _STRUCK.sub("", text)
    is_sequence = "<s>" in text and not _MARKS.sub("", bare).strip()
    return text if is_sequence else bare


def opens_thinking(prompt: Text) -> bool:
    """Whether a prompt, as its row has it, ends inside a thinking block."""
    if not isinstance(prompt, str):
        prompt = _last_content(prompt)
    tail = prompt[-2_000:]
    return bool(_BLOCK.search(tail)) and not without_thinking(f"{tail}x")


def _last_content(messages: Sequence[Mapping[str, str]]) -> str:
    """What the assistant has begun to say, where the conversation ends with that."""
    last = messages[-1] if messages else {}
    content = last.get("content") if last.get("role") == "assistant" else ""
    return content if isinstance(content, str) else ""
