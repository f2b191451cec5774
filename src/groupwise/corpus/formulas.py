"""This module keeps the formulas of a page as LaTeX: MathML, KaTeX, MathJax's scripts, images with LaTeX beside them.

It works on the page's markup before a parser sees it, so that what reads the page's text finds formulas as text. Every
step is linear in the length of the page. What MathJax itself reads, ``\\( \\)`` and ``$$``, is text already.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from groupwise.corpus.mathml import latex_of

SCRIPT = re.compile(
    r"<script\b[^<>]{0,500}?\btype\s*=\s*[\"']?math/(?P<kind>tex|latex|katex|mml|asciimath)"
    r"(?P<display>[^\"'<>]{0,100}mode\s*=\s*display)?[^<>]{0,500}>",
    re.IGNORECASE,
)
END_SCRIPT = re.compile(r"</script\s*>", re.IGNORECASE)
IMAGE = re.compile(r"<img\b(?:[^<>\"']|\"[^\"]{0,20000}+\"|'[^']{0,20000}+')*+>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"([\w:-]{1,40})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
COMMAND = re.compile(r"\\[a-zA-Z]+|[_^]\{")
MATH_CLASS = re.compile(r"(?:^|[\s_-])(?:math|latex|tex|mwe-math\S*|eqn|formula)(?:$|[\s_-])", re.IGNORECASE)
HIDDEN = re.compile(
    r"(<span\b[^<>]{0,200}?mwe-math-mathml[^<>]{0,200}?)\sstyle\s*=\s*\"[^\"<>]{0,200}\"", re.IGNORECASE
)
SERVED = re.compile(
    r"(?:latex\.codecogs\.com/[^?]{0,100}\?|(?:mathtex|mimetex)(?:\.cgi)?\?|[?&](?:latex|tex)=|cht=tx&(?:[^&]{0,50}&){0,5}?chl=)"
    r"(?P<tex>.*)",
    re.IGNORECASE | re.DOTALL,
)
"""Addresses of pictures that are drawn of the LaTeX in them."""
SAYS_NOTHING = re.compile(r"[a-zA-Z\s.:-]*")
"""Such as ``equation``."""
DRAWN = re.compile(r"^(?:\\(?:inline|dpi\s*\{?\d+\}?|bg_?\w*|fn_?\w*|large|huge|small|tiny|displaystyle)\s*)+")
"""How it is drawn."""
ALTERNATIVE = re.compile(r"<(?:\w{1,20}:)?math\b[^<>]{0,500}?\balttext\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
FALLBACKS = ".mwe-math-fallback-image-inline, .mwe-math-fallback-image-display, .MathJax_Preview, .MathJax_SVG > svg"
RENDERED = "span.MathJax, .MathJax_Display, .MathJax_SVG, .MathJax_CHTML, .mjx-chtml"
OPEN = re.compile(r"<(?:\w{1,20}:)?math[\s>]", re.IGNORECASE)
CLOSE = re.compile(r"</(?:\w{1,20}:)?math\s*>", re.IGNORECASE)
LONGEST = 50_000
"""Letters of a formula's markup beyond which it is none."""
REMEMBERED = 50_000


@dataclass
class Formulas:
    """These are the counts of one page: formulas seen, and those kept as LaTeX."""

    seen: int = 0
    kept: int = 0


Pattern: TypeAlias = re.Pattern[str]
Match: TypeAlias = re.Match[str]
Maker = Callable[[str, Match, Formulas], str]
_known: dict[str, str] = {}
"""LaTeX by MathML, as pages repeat their formulas; one process for many pages."""


def with_latex(page: str, count: Formulas) -> str:
    """The page's markup with every formula as LaTeX between dollars, where a text belongs."""
    if "<" not in page:
        return page
    if re.search("math/(?:tex|latex|katex|mml|asciimath)", page, re.IGNORECASE):
        page = _replaced(page, SCRIPT, END_SCRIPT, _script, count)
    if "mwe-math" in page:
        page = HIDDEN.sub(r"\1", page)
    if OPEN.search(page):
        page = _replaced(page, OPEN, CLOSE, _mathml, count)
    if "<img" in page or "<IMG" in page:
        page = IMAGE.sub(lambda found: _image(found[0], count), page)
    return page


def shown_twice(page: str) -> list[str] | None:
    """Selectors of what shows a formula a second time, on a page as it was sent; None where there is nothing."""
    found = [FALLBACKS] if "mwe-math" in page or "MathJax" in page else []
    found += [".katex-html"] if "katex-mathml" in page else []
    found += [RENDERED] if SCRIPT.search(page) else []  # the scripts hold what was rendered
    return found or None


def _replaced(page: str, opening: Pattern, closing: Pattern, made: Maker, count: Formulas) -> str:
    """The page with every stretch from an opening to the next closing replaced. One that is never closed stays."""
    pieces, start, place = [], 0, 0
    closes = [(found.start(), found.end()) for found in closing.finditer(page)]
    for found in opening.finditer(page):
        if found.start() < start:
            continue  # inside of one that was read
        while place < len(closes) and closes[place][0] < found.start():
            place += 1
        if place == len(closes):
            count.seen += 1
            break
        last = closes[place][1]
        pieces += [page[start : found.start()], made(page[found.start() : last], found, count)]
        start = last
    return "".join([*pieces, page[start:]])


def _script(markup: str, opening: Match, count: Formulas) -> str:
    inside = markup[len(opening[0]) : markup.rfind("<")]
    if len(inside) > LONGEST:
        return " "
    kind = opening["kind"].lower()
    if kind == "mml":
        return _text(latex_of(inside), bool(opening["display"]), count, escaped=False)
    if kind == "asciimath":
        count.seen += 1
        return f"`{html.escape(html.unescape(inside).strip(), quote=False)}`"
    return _text(inside, bool(opening["display"]), count)


def _mathml(markup: str, opening: Match, count: Formulas) -> str:
    if len(markup) > LONGEST:
        count.seen += 1
        return " "
    tex = _known.get(markup)
    if tex is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[markup] = tex = latex_of(markup) or _alternative(markup)
    return _text(tex, 'display="block"' in markup[:300], count, escaped=False)


def _alternative(markup: str) -> str:
    found = ALTERNATIVE.match(markup)
    return html.unescape(found[1] or found[2] or "") if found else ""


def _image(tag: str, count: Formulas) -> str:
    """An image that carries LaTeX in its ``alt``, or is drawn of LaTeX in its address, is that formula; any other
    stays."""
    found = {name.lower(): first or second or third for name, first, second, third in ATTRIBUTE.findall(tag)}
    if "mwe-math-fallback" in found.get("class", ""):
        return " "  # its MathML is beside it
    source, alt = html.unescape(found.get("src", "")), html.unescape(found.get("alt", ""))
    served = SERVED.search(source)
    if served and SAYS_NOTHING.fullmatch(alt):
        tex = unquote(served["tex"].partition("&")[0])
        return _text(DRAWN.sub("", tex.strip()), False, count, escaped=False)
    marked = bool(MATH_CLASS.search(found.get("class", ""))) or "latex" in source.lower()
    if not alt.strip() or not (COMMAND.search(alt) or marked) or re.search(r"\\\w+\\\w+\.\w{3}$", alt):
        return tag
    return _text(alt, False, count, escaped=False)


def _text(tex: str, display: bool, count: Formulas, escaped: bool = True) -> str:
    count.seen += 1
    bare = (html.unescape(tex) if escaped else tex).strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(bare) > len(opening + closing) and bare.startswith(opening) and bare.endswith(closing):
            bare = bare[len(opening) : -len(closing)].strip()
            break
    bare = bare.removeprefix("\\displaystyle ").strip()
    if not bare:
        return " "
    count.kept += 1
    mark = "$$" if display else "$"
    return f"{mark}{html.escape(bare, quote=False)}{mark}"
