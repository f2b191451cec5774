"""This module looks for stop strings: the bytes of tokens, and the end that engines which sample in Python look for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from groupwise.tokens.token_text import Pieces
from groupwise.types import Sampling

Spelling = Callable[[], tuple[bytes, ...]]
"""Returns the bytes that each id adds to a text; ids behind the last add none."""


def spelling_of(tokenizer: Any) -> Spelling:
    """The spelling of a tokenizer's ids, read once, where it is first asked for."""
    return functools.cache(lambda: Pieces(tokenizer).spelled(len(tokenizer)))


def no_spelling() -> tuple[bytes, ...]:
    """Raises ValueError: the engine was opened without a tokenizer."""
    raise ValueError("stop strings: seen an engine without a tokenizer; expected it at Native.open(..., tokenizer)")


class StopText:
    """This text is what one completion has said so far, as far as a stop string may lie in it."""

    def __init__(self, sampling: Sampling, spelling: Spelling) -> None:
        self._stops = [text.encode() for text in sampling.stop_strings]
        self._pieces = spelling()
        self._reach = max(map(len, self._stops), default=1) - 1
        self._text = b""

    def ends_with(self, token: int) -> bool:
        """Says whether a stop string is complete with ``token``, the completion's next."""
        text = self._text + (self._pieces[token] if token < len(self._pieces) else b"")
        self._text = text[-self._reach :] if self._reach else b""
        return any(stop in text for stop in self._stops)
