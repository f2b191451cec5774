"""This module turns a completion's tokens into the text that rewards and people read, whole and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from groupwise.tokens.channels import Channels
from groupwise.tokens.token_text import Pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SHORT, MOST_KNOWN = 8, 4096
"""Turns of so few tokens are said again and again: as many texts of them are remembered."""


class Decoder:
    """A decoder leaves out special tokens, those that end a completion, and of an answer in channels all before its
    final one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_tokens: Sequence[int]) -> None:
        self._known: dict[tuple[int, ...], str] = {}
        self._tokenizer, self._stop_tokens, self._channels = tokenizer, frozenset(stop_tokens), Channels(tokenizer)

    def text(self, tokens: Sequence[int]) -> str:
        """Returns what is shown of the tokens."""
        kept = self.without_ends(tokens[self._channels.start(tokens) :])
        if len(kept) > SHORT:
            return self._decoded(kept)
        if (key := tuple(kept)) not in self._known:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._decoded(kept)
        return self._known[key]

    def _decoded(self, kept: list[int]) -> str:
        return str(self._tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Returns each token's own share of ``text(tokens)``, in order; a token that shows nothing has an empty one."""
        start = self._channels.start(tokens)
        hidden = [place < start or token in self._hidden for place, token in enumerate(tokens)]
        shown = iter(self._pieces.of([token for token, gone in zip(tokens, hidden, strict=True) if not gone]))
        return ["" if gone else next(shown) for gone in hidden]

    def without_ends(self, tokens: Sequence[int]) -> list[int]:
        """Returns the tokens that end no completion."""
        return [token for token in tokens if token not in self._stop_tokens]

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """What ``text`` leaves out wherever it stands."""
        added = self._tokenizer.added_tokens_decoder.items()
        special = {id for id, token in added if token.special} | set(self._tokenizer.all_special_ids)
        return self._stop_tokens | special

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self._tokenizer)
