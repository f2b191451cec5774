"""This module makes text of a model's, or of anybody's data, fit for a terminal."""

from __future__ import annotations

import unicodedata

from groupwise.output.masking import masked

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes the first bytes of a character to; and what stands for what cannot be shown."""


def visible(text: str) -> str:
    """Returns text that a terminal may be sent: control characters and those that turn the direction of writing are
    shown instead of obeyed, so that nothing a model writes moves the cursor, sets colours or hides what stands there.
    Keys and passwords are masked."""
    text = masked(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    code = ord(letter)
    if letter in "\n\t":
        return letter
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    turns = unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return UNFINISHED if turns or unicodedata.category(letter) in ("Cc", "Cs") else letter
