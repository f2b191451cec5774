"""This module says which token holds which character: the text of tokens, each with its own share of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet one."""

LONGEST_WAIT = 32
"""So many tokens may pass without the end of a character: what comes then are bytes that never make one."""


class Pieces:
    """This splits what a tokenizer decodes among its tokens, exactly: the pieces together are the text.

    A character that several tokens make up belongs to the last of them; the others have less or nothing. Time is linear
    where the tokenizer decodes token by token or character by character, as byte-level and SentencePiece ones do.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # Behind another token: at the beginning of a text some decoders drop a token's space.
        self._anchor: list[int] = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._anchor_size = len(self._decode(self._anchor))
        self._alone: dict[int, str] = {}

    def of(self, tokens: Sequence[int]) -> list[str]:
        """Returns a piece a token. None of them may be special: they show no text."""
        text = self._decode(tokens)
        pieces: list[str] = []
        for whole, grouped in groupby(tokens, key=lambda token: UNKNOWN not in self._piece(token)):
            run = list(grouped)
            pieces += map(self._piece, run) if whole else self._parts(run)
        if pieces:
            pieces[0] = pieces[0][max(0, sum(map(len, pieces)) - len(text)) :]
        return pieces if "".join(pieces) == text else self._by_prefix(tokens, text)

    def spelled(self, size: int) -> tuple[bytes, ...]:
        """Returns the bytes of each of the ids 0 .. size - 1 of the vocabulary adds to a text, in UTF-8; nothing where
        it is special.

        Of a token that is part of a character its own bytes where the vocabulary is byte-level, else one byte that no
        text has.
        """
        special = {id for id, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        words = self._tokenizer.convert_ids_to_tokens(list(range(size)))
        return tuple(b"" if id in special else self._bytes(id, word) for id, word in enumerate(words))

    def _bytes(self, token: int, word: str) -> bytes:
        piece = self._piece(token)
        if UNKNOWN not in piece:
            return piece.encode()
        table = _byte_letters()
        return bytes(table[letter] for letter in word) if set(word) <= set(table) else b"\xff"

    def _decode(self, tokens: Sequence[int]) -> str:
        decoded = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)

    def _piece(self, token: int) -> str:
        if token not in self._alone:
            self._alone[token] = self._decode([*self._anchor, token])[self._anchor_size :]
        return self._alone[token]

    def _parts(self, run: list[int]) -> list[str]:
        """Of tokens that may be parts of characters: a character where its last token is."""
        pieces, start, shown = [], 0, 0
        for place in range(len(run)):
            text = self._decode([*self._anchor, *run[start : place + 1]])[self._anchor_size :]
            last = place == len(run) - 1 or place - start == LONGEST_WAIT
            sure = text if last else text.rstrip(UNKNOWN)
            pieces.append(sure[shown:])
            start, shown = (place + 1, 0) if sure == text else (start, max(shown, len(sure)))
        return pieces

    def _by_prefix(self, tokens: Sequence[int], text: str) -> list[str]:
        """For a decoder that looks further than a character: quadratic, and as exact."""
        pieces, reached = [], 0
        for size in range(1, len(tokens) + 1):
            same = _agreement(self._decode(tokens[:size]), text) if size < len(tokens) else len(text)
            pieces.append(text[reached:same])
            reached = max(reached, same)
        return pieces


@cache
def _byte_letters() -> dict[str, int]:
    """The printable letter that stands for each byte in byte-level vocabularies (GPT-2's), and the byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _agreement(beginning: str, text: str) -> int:
    """How many first characters are the same."""
    size = min(len(beginning), len(text))
    return next((place for place in range(size) if beginning[place] != text[place]), size)
