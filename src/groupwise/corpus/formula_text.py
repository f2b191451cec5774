"""This module leaves formulas out of text, for a classifier that learns of the words around them."""

from __future__ import annotations

import re

MARK = re.compile(r"\\[()\[\]]|\$\$?")
COMMAND = re.compile(r"\\[a-zA-Z]+")
CLOSES = {"\\(": "\\)", "\\[": "\\]", "$": "$", "$$": "$$"}
LONGEST_FORMULA = 4000  # letters


def without_formulas(text: str) -> str:
    """Returns the text without formulas between marks and without commands of LaTeX, in one pass over its marks."""
    pieces: list[str] = []
    start, opened, begun = 0, "", 0
    for found in MARK.finditer(text):
        mark = found[0]
        if opened and CLOSES[opened] == mark and found.start() - begun <= LONGEST_FORMULA:
            pieces += [text[start:begun], " "]
            start, opened = found.end(), ""
        elif mark in CLOSES:
            opened, begun = mark, found.start()
    return COMMAND.sub(" ", "".join([*pieces, text[start:]]))
