"""This module writes text on streams whose encoding lacks letters of it, as on terminals that are not UTF-8: nothing
ends there because of a letter."""

from __future__ import annotations

import codecs
import sys
from typing import TextIO

NAME = "groupwise"
"""Of the handler of such letters, among those of Python."""
SPELLED = {
    "–": "-", "—": "-", "−": "-", "‑": "-", "·": "*", "×": "x", "•": "*", "…": "...", "→": "->", "←": "<-", "↑": "^",
    "↓": "v", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∞": "inf", "√": "sqrt", "Σ": "sum", "∑": "sum", "Π": "prod",
    "∏": "prod", "∂": "d", "∇": "grad ", "∈": " in ", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta",
    "ε": "epsilon", "η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "ψ": "psi", "Δ": "Delta", "Â": "A^", "²": "^2", "₀": "0", "₁": "1", "ₜ": "_t", "ᵢ": "_i", "“": '"', "”": '"',
    "‘": "'", "’": "'", "▁": "_", "█": "#", "●": "*", "✓": "yes", "✗": "no", "\N{REPLACEMENT CHARACTER}": "?",
    "ᵀ": "^T", "½": "1/2", "ö": "oe", "ä": "ae", "ü": "ue",
}  # fmt: skip
"""What letters that this package writes become; others become their number, a backslash, u and four digits."""


def write_any_letter(*streams: TextIO) -> None:
    """Makes streams write letters that their encoding lacks in other ones. Streams of UTF-8, and those that are no
    files, stay as they are."""
    codecs.register_error(NAME, _spelled)
    for stream in streams:
        change, kind = getattr(stream, "reconfigure", None), getattr(stream, "encoding", None) or "utf-8"
        if change is not None and codecs.lookup(kind).name != "utf-8":
            change(errors=NAME)


def standard_streams_write_any_letter() -> None:
    """Does so for what this process says to whoever started it."""
    write_any_letter(*(stream for stream in (sys.stdout, sys.stderr) if stream is not None))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(SPELLED.get(letter) or _number(letter) for letter in found), error.end


def _number(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii")
