"""This module keeps signs that stand alone between two tags: resiliparse takes a text of three bytes of UTF-8 for an
icon and leaves it out of a page's main content, so that ``<i>x</i> ∈ <i>A</i>`` would become ``xA``."""

from __future__ import annotations

import html
import re
import unicodedata

KEEPER = "\u2060"
"""Joins words and is not seen. Beside a sign it makes a text of more than three bytes; whoever extracts removes it."""
KINDS = ("L", "M", "N", "P", "Sm", "Sc")
"""Of Unicode: letters, marks, numbers, punctuation, signs of mathematics and of money. The others are icons."""
BULLETS = "•‣⁃‹›"

_LONE = re.compile(
    r">[ \t\n\r]{0,9}"
    r"(?P<sign>[\u0800-\ud7ff\uf900-\uffff]|&(?:#[0-9]{4,5}|#[xX][0-9a-fA-F]{3,4}|[a-zA-Z]{2,24});)"
    r"[ \t\n\r]{0,9}(?=<)"
)


def with_lone_signs(page: str) -> str:
    """The page's markup, in which a sign that stands alone is followed by ``KEEPER``."""
    return _LONE.sub(_kept, page)


def _kept(found: re.Match[str]) -> str:
    sign = html.unescape(found["sign"])
    return found[0] + KEEPER if len(sign) == 1 and _is_word(sign) else found[0]


def _is_word(sign: str) -> bool:
    return sign >= "\u0800" and sign not in BULLETS and unicodedata.category(sign).startswith(KINDS)
