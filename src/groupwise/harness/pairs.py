"""This module makes texts pairs of what is read and what is predicted, as lm-eval defines them."""

from __future__ import annotations

from typing import Any

Pair = tuple[tuple[int, ...], tuple[int, ...]]


def pair(tokenizer: Any, first: int, context: str, text: str) -> Pair:
    """The ids of a context and of what goes on from it.

    Blanks at the context's end belong to what follows, and the whole is encoded at once. Without a context ``first``
    stands before the text, unless it begins with it.
    """
    if not context:
        ids = tuple(tokenizer.encode(text, add_special_tokens=False))
        return (ids[:1], ids[1:]) if ids[:1] == (first,) else ((first,), ids)
    bare = context.rstrip()
    if not bare:
        return pair(tokenizer, first, "", context + text)
    before = encoded(tokenizer, bare)
    return before, encoded(tokenizer, bare + context[len(bare) :] + text)[len(before) :]


def encoded(tokenizer: Any, text: str) -> tuple[int, ...]:
    """The ids of a prompt; what the tokenizer puts before a text is there once."""
    begins = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return tuple(tokenizer.encode(text, add_special_tokens=False) if begins else tokenizer.encode(text))
