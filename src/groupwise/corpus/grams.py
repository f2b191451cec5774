"""This module turns text into the tokens and n-grams by which copies are found, so that no disguise hides one.

A token is a run of letters, or one of digits (``25cm`` is two, as ``25 cm`` is); in scripts that put no space between
words (Chinese, Japanese, Thai ...) every character is one. Before that, entities are resolved (however often they were
escaped), markup goes, Unicode's compatibility forms (full-width letters, ligatures) become plain ones and case is
dropped.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Hashes = NDArray[numpy.uint64]

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Chinese characters: no space stands between words."""
TOKEN = re.compile(rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]+|\d+")
NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
INLINE = re.compile(
    r"</?(?:a|abbr|b|big|cite|code|em|font|i|ins|kbd|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
"""Markup inside words and lines: what it divides belongs together."""
MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>")
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
HYPHENATED = re.compile(r"(?<=\w)[-\u2010\u2011][^\S\n]*\n\s*(?=\w)")
PUNCTUATION = re.compile(r"[^\w\s]|_")
INSIDE_NUMBERS = re.compile(r"(?<=\d)\s+(?=\d)")
MOST_ESCAPES = 5
BASE = numpy.uint64(0x9E3779B97F4A7C15)
NUMBER_TOKEN = "0"


def _without_comments(text: str) -> str:
    """Leaves out ``<!-- -->``. A pattern would look for the end of each comment anew where there is none."""
    kept, start = [], 0
    while (begin := text.find("<!--", start)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[start:begin])
        start = end + 3
    return "".join([*kept, text[start:]])


def plain(text: str) -> str:
    """Returns the text without what can hide it: entities, markup, compatibility forms, invisible characters, case."""
    for _ in range(MOST_ESCAPES):
        resolved = html.unescape(text) if "&" in text else text
        if resolved == text:
            break
        text = resolved
    if "<" in text:
        text = MARKUP.sub(" ", INLINE.sub("", _without_comments(text)))
    if "\\" in text:
        text = ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        text = text.replace("\\n", "\n").replace("\\t", " ").replace("\\r", " ")
    if not text.isascii():
        text = INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    if "-" in text or "\u2010" in text:
        text = HYPHENATED.sub("", text)
    return text.casefold()


def separated(text: str) -> list[str]:
    """The tokens of a plain text where punctuation divides words: ``janet``, ``s``."""
    return TOKEN.findall(text)


def joined(text: str) -> list[str]:
    """The tokens of a plain text as they are once its punctuation was deleted, and what stands between digits:
    ``janets``, ``1000``."""
    return TOKEN.findall(INSIDE_NUMBERS.sub("", PUNCTUATION.sub("", text)))


def numbers_as_one(text: str) -> list[str]:
    """The tokens of a plain text with every number the same."""
    return TOKEN.findall(NUMBER.sub(f" {NUMBER_TOKEN} ", text))


class TokenHashes(dict[str, int]):
    """This dictionary knows a 64-bit number for every token, the same on every machine, and computes each once."""

    MOST = 1 << 20

    def __missing__(self, token: str) -> int:
        if len(self) >= self.MOST:
            self.clear()
        code = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[token] = value = int.from_bytes(code, "little")
        return value

    def of(self, tokens: Sequence[str]) -> Hashes:
        """Returns the numbers of tokens, ``[T]``."""
        return numpy.fromiter(map(self.__getitem__, tokens), numpy.uint64, len(tokens))


HASHES = TokenHashes()


def grams(hashes: Hashes, size: int) -> Hashes:
    """The numbers of all runs of ``size`` tokens, ``[T - size + 1]``; empty where there are fewer tokens."""
    count = max(len(hashes) - size + 1, 0)
    rolled = numpy.zeros(count, numpy.uint64)
    for place in range(size if count else 0):
        rolled *= BASE
        rolled += hashes[place : place + count]
    rolled ^= rolled >> numpy.uint64(31)
    rolled *= numpy.uint64(0xBF58476D1CE4E5B9)
    return rolled ^ (rolled >> numpy.uint64(29))


def shown(tokens: Sequence[str], most: int = 300) -> str:
    """Tokens as text: spaces between words, none between characters that are tokens of their own."""
    pieces: list[str] = []
    after = False
    for token in tokens:
        alone = bool(re.fullmatch(f"[{UNSPACED}]", token))
        if pieces and not (alone and after):
            pieces.append(" ")
        pieces.append(token)
        after = alone
    text = "".join(pieces)
    return text if len(text) <= most else text[: most - 3] + "..."
