"""This module takes matrices, cases and aligned equations of LaTeX apart into the texts of their rows."""

from __future__ import annotations

import re

_ENVIRONMENT = re.compile(
    r"\\begin\{(?P<name>(?:[pbB]|small)?matrix|cases|array|aligned|gathered|align|split)\*?\}"
    r"(?:\{[lcr| ]{0,20}\}|\[[lcr]\])?(?P<body>.*)"
    r"\\end\{(?P=name)\*?\}",
    re.DOTALL,
)
_ALIGNED = ("aligned", "gathered", "align", "split")
_ROW_END = re.compile(r"\\(?:\\(?:\[[^\]]{0,10}\])?|(?:cr|newline)(?![a-zA-Z]))")
_IF = re.compile(r"^\s*+(?:\\(?:text|mbox|mathrm)\{\s*+(?:if|for|when|where)\s*+\}|(?:if|for|when|where)\b)(?=\s*\S)")


def rows_of(plain: str) -> list[list[str]] | None:
    """Returns the cells of each row, of cases without ``if`` before the condition; None of a text that is no
    environment, or holds a second one."""
    match = _match(plain)
    if match is None:
        return None
    rows = [row for row in _ROW_END.split(match["body"]) if row.strip()]
    return [[_IF.sub("", cell) for cell in row.split("&") if cell.strip()] for row in rows]


def end_of_chain(plain: str) -> str | None:
    r"""Returns the last side of equations of which each goes on with the one before: ``9`` of ``x &= 4 + 5 \\ &= 9``;
    None of any other text."""
    match = _match(plain)
    if match is None or match["name"] not in _ALIGNED:
        return None
    rows = [row.replace("&", " ").strip() for row in _ROW_END.split(match["body"]) if row.strip(" \n&")]
    goes_on = bool(rows) and "=" in rows[0] and all(row.startswith("=") for row in rows[1:])
    return rows[-1].rpartition("=")[2] if goes_on else None


def _match(plain: str) -> re.Match[str] | None:
    match = _ENVIRONMENT.fullmatch(_without_brackets(plain)) if r"\begin" in plain else None
    return match if match and r"\end{" not in match["body"] else None


def _without_brackets(plain: str) -> str:
    """``(\\begin{smallmatrix} ... )`` without its round or square brackets: they are the matrix's."""
    inner = plain[1:-1].strip()
    is_around = plain[:1] + plain[-1:] in ("()", "[]") and inner.startswith(r"\begin{") and inner.endswith("}")
    return inner if is_around else plain
