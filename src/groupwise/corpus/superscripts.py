"""This module writes raised and lowered letters of a page as LaTeX does: without it ``10<sup>3</sup>`` would become
``103``, another number. What is raised and no exponent, a footnote's number or the end of ``1st``, stays as it is."""

from __future__ import annotations

import html
import re

SIGNS = {"sup": "^", "sub": "_"}
ENDINGS = {
    *("st", "nd", "rd", "th", "er", "re", "e", "ème", "eme", "o", "a", "ª", "º"),
    *("lle", "me", "dr", "tm", "sm", "®", "©", "™"),
}
"""What stands raised behind numbers and names of words; ``e`` and ``a`` are exponents behind letters."""
WORD = 4
"""From so many letters on, what is raised behind them is a footnote's: ``sin`` and ``cm`` have exponents."""
BEFORE = 120
"""Characters of markup in which what a letter is raised above is looked for."""

_TAG = re.compile(r"<[^<>]{0,200}>")
_RAISED = re.compile(
    r"<(?P<kind>sup|sub)(?:\s[^<>]{0,200})?>"
    r"(?P<inside>(?:[^<>]|</?(?:i|em|b|strong|var|span)(?:\s[^<>]{0,80})?>){1,60})"
    r"</(?P=kind)\s{0,9}>",
    re.IGNORECASE,
)
_EXPONENT = re.compile(r"[-+−–]?[\w+\-−–*/,.()′'∗†⊥⊤∞°]{1,24}(?:(?: ?[-+−–*/=] ?|, )[\w.()]{1,24}){0,3}")
_BASE = re.compile(r"(?:[^\W\d_]{1,40}[\u0300-\u036f]?|[\d.,]{0,20}\d|[)\]}|∂∇∑∫∞Δ′'$])\Z")


def with_scripts(page: str) -> str:
    """The page's markup, in which exponents and indices are LaTeX: ``x^2``, ``10^{-3}``, ``a_{ij}``."""
    return _RAISED.sub(_script, page) if "<su" in page or "<SU" in page else page


def _script(found: re.Match[str]) -> str:
    said = html.unescape(_TAG.sub("", found["inside"])).strip()
    kind = found["kind"].lower()
    base = _BASE.search(html.unescape(_TAG.sub("", found.string[max(0, found.start() - BEFORE) : found.start()])))
    if base is None or not _EXPONENT.fullmatch(said) or (kind == "sup" and _is_note(base[0], said)):
        return found[0]
    said = said.replace("−", "-").replace("–", "-")
    return SIGNS[kind] + (html.escape(said) if len(said) == 1 else f"{{{html.escape(said)}}}")


def _is_note(base: str, said: str) -> bool:
    """Says whether what is raised belongs to the sentence, and not to what stands before it."""
    if base[-1].isdigit() or base[-1].isupper():
        return said.lower() in (ENDINGS if base[-1].isdigit() else ENDINGS - {"e", "a", "o"})
    return base.isalpha() and (len(base) >= WORD or said.lower() in ENDINGS - {"e", "a", "o"})
