"""This module turns text into the tokens and n-grams by which copies are found, so that no disguise hides one.

A token is a run of letters, or one of digits (``25cm`` is two, as ``25 cm`` is); in scripts that put no space between
words (Chinese, Japanese, Thai ...) every character is one. The text is ``plain_text.plain`` before.
"""

from __future__ import annotations

import hashlib
import re
from itertools import islice
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
PUNCTUATION = re.compile(r"[^\w\s]|_")
INSIDE_NUMBERS = re.compile(r"(?<=\d)\s+(?=\d)")
BASE = numpy.uint64(0x9E3779B97F4A7C15)
NUMBER_TOKEN = "0"
LEAST_LINES, MOST_BEGUN = 3, 5
"""Lines of a text that begin alike, and tokens that they begin with: with so many they are the same line."""
ENGLISH_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
)
NUMBER_WORDS = frozenset(ENGLISH_NUMBERS.split()) | frozenset("零〇一二三四五六七八九十百千万亿两")


def separated(text: str) -> list[str]:
    """The tokens of a plain text where punctuation divides words: ``janet``, ``s``."""
    return TOKEN.findall(text)


def joined(text: str) -> list[str]:
    """The tokens of a plain text as they are once its punctuation was deleted, and what stands between digits:
    ``janets``, ``1000``."""
    return TOKEN.findall(INSIDE_NUMBERS.sub("", PUNCTUATION.sub("", text)))


def unlined(text: str) -> str:
    """The text without what its lines begin with, as those around them do: ``print("``, ``REM``, ``Ann:``, numbers that
    go up."""
    lines = text.split("\n")
    if len(lines) < LEAST_LINES:
        return text
    begun = [[(found[0], found.end()) for found in islice(TOKEN.finditer(line), MOST_BEGUN)] for line in lines]
    kept = []
    for place, line in enumerate(lines):
        same = max(
            _same(begun[place], begun[other])
            for other in range(max(place - 2, 0), min(place + 3, len(lines)))
            if other != place
        )
        kept.append(line[begun[place][same - 1][1] :] if same else line)
    return "\n".join(kept)


def _same(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> int:
    """How many tokens two lines begin with alike; of two that begin with numbers, one."""
    if one and other and one[0][0].isdecimal() and other[0][0].isdecimal():
        return int(0 < abs(int(one[0][0][:9]) - int(other[0][0][:9])) <= LEAST_LINES)
    count = 0
    for mine, its in zip(one, other, strict=False):
        if mine[0] != its[0]:
            break
        count += 1
    return count if count < MOST_BEGUN else 0


def numbers_as_one(text: str) -> list[str]:
    """The tokens of a plain text with every number the same, be it digits or words, and several in a row one."""
    found: list[str] = []
    for token in TOKEN.findall(NUMBER.sub(f" {NUMBER_TOKEN} ", text)):
        if token not in NUMBER_WORDS and token != NUMBER_TOKEN:
            found.append(token)
        elif not found or found[-1] != NUMBER_TOKEN:
            found.append(NUMBER_TOKEN)
    return found


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
