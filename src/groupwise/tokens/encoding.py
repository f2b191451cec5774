"""This module turns text into token ids, as one text and in parts: no special token by accident, no blank that no text
has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GUARD = "\ufdd0"
"""A Unicode noncharacter. It cuts special-token text in two while the template is filled in, and is gone thereafter."""

ANCHORS = ("\n", "a", ".", "0")
"""What a text may be encoded behind: no vocabulary joins all of them to it."""


class Encoder:
    """An encoder encodes guarded text with one tokenizer.

    SentencePiece tokenizers put a blank before every text. Only a text's beginning may have it: what goes on is encoded
    behind an anchor, which is cut off again.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def guarded(self, text: str, markup: bool = False) -> str:
        """The text with every special token that it spells cut in two by the guard, and with ``markup`` also every
        other added token that looks like a tag (``</tool_call>``)."""
        if self._first_characters.isdisjoint(text):  # most texts spell none, and some tokenizers have hundreds
            return text
        for special in (*self.special_texts, *(self.markup_texts if markup else ())):
            text = text.replace(special, special[0] + GUARD + special[1:])
        return text

    @cached_property
    def _first_characters(self) -> frozenset[str]:
        return frozenset(each[0] for each in (*self.special_texts, *self.markup_texts))

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """Returns what the tokenizer puts before plain text, such as BOS; what it may put behind it is not for a
        prompt."""
        bare = self._tokenizer.encode("a", add_special_tokens=False)
        whole = self._tokenizer.encode("a", add_special_tokens=True)
        return tuple(whole[: whole.index(bare[0])])

    def ids(self, text: str) -> tuple[int, ...]:
        """The ids of a whole text. The parts around a guard are encoded one by one."""
        first, *others = text.split(GUARD)
        return self._plain(first) + tuple(id for part in others for id in self._behind(part))

    def after(self, text: str) -> tuple[int, ...]:
        """The ids of a text that goes on where another one ends."""
        return tuple(id for part in text.split(GUARD) for id in self._behind(part))

    def parts(self, text: str, cuts: Sequence[int]) -> list[tuple[int, ...]]:
        """The ids of what lies before, between and behind the cuts, which are ascending positions in the text.

        Together they are the ids of the whole text, unless its tokens go across a cut: then each part is encoded by
        itself. The first part is ``ids`` of it either way.
        """
        whole, found, start = self.ids(text), [], 0
        for cut in cuts:
            beginning = self.ids(text[:cut])
            if whole[: len(beginning)] != beginning or len(beginning) < start:
                return self._one_by_one(text, cuts)
            found.append(beginning[start:])
            start = len(beginning)
        return [*found, whole[start:]]

    @cached_property
    def special_texts(self) -> list[str]:
        """Returns texts of more than one character that are special tokens, long ones first."""
        added = self._tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(self._tokenizer.all_special_tokens)
        return sorted((text for text in special if len(text) > 1), key=len, reverse=True)

    @cached_property
    def markup_texts(self) -> list[str]:
        """Returns the texts of added tokens that are not special and look like a tag, long ones first."""
        added = [token.content for token in self._tokenizer.added_tokens_decoder.values() if not token.special]
        tags = [text for text in added if len(text) > 2 and text[0] + text[-1] in ("<>", "[]")]
        return sorted(set(tags) - set(self.special_texts), key=len, reverse=True)

    def _one_by_one(self, text: str, cuts: Sequence[int]) -> list[tuple[int, ...]]:
        bounds = [*cuts, len(text)]
        later = [self.after(text[start:end]) for start, end in pairwise(bounds)]
        return [self.ids(text[: bounds[0]]), *later]

    def _plain(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _behind(self, text: str) -> tuple[int, ...]:
        for anchor in self._anchors if text else ():
            size = len(self._plain(anchor))
            ids = self._plain(anchor + text)
            if ids[:size] == self._plain(anchor):
                return ids[size:]
        return self._plain(text)

    @cached_property
    def _anchors(self) -> tuple[str, ...]:
        """None where a text is encoded the same behind another one as by itself."""
        alone = self._plain("x")
        return tuple(anchor for anchor in ANCHORS if self._plain(f"{anchor}x") != self._plain(anchor) + alone)


def same_beginning(one: str, other: str) -> int:
    """Returns how many letters both texts begin with."""
    if other.startswith(one):
        return len(one)
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(map(len, (one, other)))
    )
