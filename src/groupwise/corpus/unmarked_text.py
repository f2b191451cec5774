"""This module takes marks out of text: of HTML, LaTeX, Markdown, wikis and subtitles.

Marks inside of words leave nothing, others a space. What is not shown and can hold a sentence all the same, such as
comments and attributes, stands behind the rest, so that it is searched and parts nothing. Every step is linear.
"""

from __future__ import annotations

import re

INLINE = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|em|font|i|ins|kbd|mark|q|ruby|s|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*'|[\"'])*+)?/?>",
    re.IGNORECASE,
)
"""Markup inside words and lines: what it divides belongs together."""
MARKUP = re.compile(r"</?[a-zA-Z](?:[^<>\"']|\"[^\"<]*\"|'[^'<]*'|[\"'])*+>")
VALUE = re.compile(r"=\s?(?:\"([^\"]{20,}+)\"|'([^']{20,}+)')")
ASIDE = re.compile(r"<(rt|rp|script|style|ref)\b[^<>]*+>", re.IGNORECASE)
"""How a character is spoken, programs, styles, sources: no part of a sentence that they stand in."""
RAISED_MARK = re.compile(r"(?<=[^\W\d_]{2})<sup\b[^<>]*+>\s{0,3}\[?\d{1,3}\]?\s{0,3}</sup\s?>", re.IGNORECASE)
FOOTNOTE = re.compile("(?<=[^\\W\\d_]{2})(?:\\[\\^?\\d{1,3}\\]|[\u00b9\u00b2\u00b3\u2070-\u2079]{1,3})")
"""Marks of footnotes, behind a word without a space."""
ENUMERATED = re.compile(r"(?<!\S)\((?:[a-z]|[ivx]{2,4}|\d{1,2})\)(?=\s)", re.IGNORECASE)
LINK = re.compile(r"(?<=\])\((?:https?:|/|#|www\.)[^\s()]{0,500}(?:\s\"[^\"\n]{0,200}\")?\)")
WIKI_LINK = re.compile(r"\[\[[^\[\]|\n]{0,200}\|(?=[^\[\]|\n]{1,200}\]\])")
EMPHASIS = re.compile(r"(?<=\w)(?:\*\*|__|\*|`)(?=\w)")
"""Marks of Markdown in the middle of a word."""
CODE = re.compile(r"\[/?(?:b|i|u|s|url|color|size|font|quote|center)(?:=[^\[\]\s]{0,100})?\]", re.IGNORECASE)
CUE = re.compile(r"^(?:[ \t]*\d{1,6}[ \t]*\r?\n)?[ \t]*(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3} --> [^\n]{0,100}$", re.MULTILINE)
"""A line of subtitles that says when: in the middle of a sentence, mostly."""
STAMP = re.compile(r"^[ \t]*[\[(]?(?:\d{1,2}:)?\d{1,2}:\d\d(?:[.,]\d{1,3})?[\])]?(?=\s)", re.MULTILINE)
LATEX_LEFT_OUT = re.compile(
    r"\\(?:footnote(?:mark|text)?|label|ref|eqref|cite[tp]?|[hv]space\*?|vskip|index|url|color|begin|end|href|textcolor"
    r"|hypertarget|pagestyle|setcounter|footnotesize)(?![a-zA-Z])(?:\[[^\[\]{}\n]{0,100}\])?(?:\{[^{}\n]{0,200}\})?"
)
LATEX_BEGIN = re.compile(r"\\begin\{[^{}\n]{0,40}\}(?:\[[^\[\]\n]{0,40}\])?(?:\{[lcrpmbX|@!>< \d.]{1,60}\})?")
FORMATTING = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|sc|normal|style|sl|up|md)?|math(?:bf|rm|it|sf|tt|bb|cal|frak|scr|normal)|operatorname"
    r"|[mhf]box|emph|underline|boldsymbol|bm|bf|it|rm|sl|sc|tt|sf|bfseries|itshape|[dtc]?frac|displaystyle|left|right"
    r"|[bB]igg?[lr]?|q?quad|times|cdot|div|pm|mp|leq?|geq?|neq?|approx|equiv|to|rightarrow|circ|degree|item|hline"
    r"|[tcb]oprule|midrule|bottomrule|noindent|indent|par|newline|linebreak|newpage|centering|small|large|Large|huge|tiny"
    r"|normalsize|section\*?|subsection\*?|paragraph\*?|chapter\*?|l?dots|hfill|vfill|medskip|bigskip|smallskip)"
    r"(?![a-zA-Z])"
)
"""Commands of LaTeX in whose place plain text has a sign or nothing."""
LEAST_HIDDEN = 20
"""Letters of what is hidden, from which on it can hold a question."""


def without_html(text: str) -> str:
    """The text without markup; behind it, long comments and values of attributes."""
    hidden: list[str] = []

    def values(found: re.Match[str]) -> str:
        if "=" in found[0]:
            hidden.extend(first or second for first, second in VALUE.findall(found[0]))
        return ""

    def spaced(found: re.Match[str]) -> str:
        return values(found) or " "

    text = _without_asides(_without_comments(text, hidden))
    text = MARKUP.sub(spaced, INLINE.sub(values, RAISED_MARK.sub("", text)))
    return "\n".join([text, *(each for each in hidden if says_something(each))])


def values_with_escapes(text: str) -> str:
    """Values of attributes with escapes in them, a line each: once these are resolved, nothing says where they end."""
    found = [first or second for first, second in VALUE.findall(text)]
    return "".join(f"\n{each}" for each in found if "&" in each and says_something(each))


def says_something(text: str) -> bool:
    """Whether a hidden text can be a sentence, rather than a name or an address."""
    return len(text) >= LEAST_HIDDEN and (" " in text.strip() or not text.isascii())


def _without_comments(text: str, hidden: list[str]) -> str:
    """Leaves out ``<!-- -->``. A pattern would look for the end of each comment anew where there is none."""
    kept, start = [], 0
    while (begin := text.find("<!--", start)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[start:begin])
        hidden.append(text[begin + 4 : end])
        start = end + 3
    return "".join([*kept, text[start:]])


def _without_asides(text: str) -> str:
    """Leaves out elements that are no part of the sentence around them. One that is never closed stays."""
    pieces, start = [], 0
    ends: dict[str, int] = {}
    lower = text.lower() if ASIDE.search(text) else ""
    for found in ASIDE.finditer(text) if lower else ():
        name = found[1].lower()
        if found.start() < start or found[0].endswith("/>"):
            continue
        if ends.get(name, 0) < found.end():
            place = lower.find(f"</{name}", found.end())
            ends[name] = place if place >= 0 else len(text)
        close = text.find(">", ends[name])
        if close >= 0:
            pieces.append(text[start : found.start()])
            start = close + 1
    return "".join([*pieces, text[start:]])


def without_latex(text: str) -> str:
    """The text without what LaTeX formats with."""
    return FORMATTING.sub(" ", LATEX_LEFT_OUT.sub(" ", LATEX_BEGIN.sub(" ", text)))


def without_marks(text: str) -> str:
    """The text without marks of footnotes, links, emphasis inside words, and times of subtitles."""
    if "[" in text:
        text = CODE.sub("", WIKI_LINK.sub("", LINK.sub("", text)))
    text = ENUMERATED.sub(" ", FOOTNOTE.sub("", text))
    if "*" in text or "_" in text or "`" in text:
        text = EMPHASIS.sub("", text)
    if ":" in text:
        text = STAMP.sub("", CUE.sub("", text) if "-->" in text else text)
    return text
