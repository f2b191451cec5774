"""This module turns a page's bytes into text with its formulas as LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from groupwise.corpus.charsets import decoded
from groupwise.corpus.formulas import Formulas, shown_twice, with_latex
from groupwise.corpus.lone_signs import with_lone_signs
from groupwise.corpus.superscripts import with_scripts

CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""What is neither seen nor a part of any word: controls, soft hyphens, spaces of no width, marks of direction."""
READINGS = ("rt", "rp", "rtc")
"""How East Asian words are said, in small letters above them: said again in the middle of the word."""
BLANK_LINES = re.compile(r"\n\s*\n\s*")


@dataclass(frozen=True)
class Extract:
    """This value says how text is taken out of a page, and within which limits."""

    formulas: bool = True
    """Whether MathML, MathJax's scripts, KaTeX and images with LaTeX beside them become LaTeX, and exponents
    and indices (``<sup>``, ``<sub>``) are written as LaTeX does."""
    main: bool = True
    """Whether navigation and the like are left out."""
    seconds: Annotated[float, "(0, inf)"] = 5.0
    """Of the processor's time, for one page; then its process is ended and the page dropped."""
    megabytes: Annotated[int, "[64, inf)"] = 768
    """Memory of the process that reads pages."""


@dataclass(frozen=True)
class Text:
    """The text of a page, its language as resiliparse names it, and its formulas: seen, and kept as LaTeX."""

    text: str
    language: str = ""
    seen: int = 0
    kept: int = 0


def text_of(body: bytes, charset: str, extract: Extract) -> Text:
    """The text of a page. May take long, and much memory, for a hostile one: call it where that can be ended."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.lang import detect_fast

    count = Formulas()
    page = CONTROL.sub("", decoded(body, charset))
    skipped = [*((extract.formulas and shown_twice(page)) or ()), *(READINGS if "<rt" in page or "<RT" in page else ())]
    if extract.formulas:
        page = with_scripts(with_latex(page, count))
    if extract.main:
        page = with_lone_signs(page)
    text = extract_plain_text(page, main_content=extract.main, alt_texts=False, skip_elements=skipped or None)
    text = BLANK_LINES.sub("\n\n", CONTROL.sub("", text)).strip()
    language, _ = detect_fast(text[:5000]) if text else ("", 0)
    return Text(text, language, count.seen, count.kept)
