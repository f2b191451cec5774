"""This module leads from a span of text to the value that it says."""

from __future__ import annotations

import re

from groupwise.rewards.reading.bases import in_base
from groupwise.rewards.reading.environments import end_of_chain, rows_of
from groupwise.rewards.reading.formulas import TEXT, formula, is_formula, is_name, is_product, with_plain_unit
from groupwise.rewards.reading.intervals import joined, with_usual_brackets
from groupwise.rewards.reading.moments import moment
from groupwise.rewards.reading.notation import ANSWER_CHARACTERS, tidy
from groupwise.rewards.reading.number_words import ORDINALS
from groupwise.rewards.reading.quantities import NUMBER_CHARACTERS, quantity, tidy_quantity
from groupwise.rewards.reading.values import RANGE, TO, Choice, Formula, Grid, Items, Value, Words

MOST_ITEMS = 64
PHRASES = {
    **dict.fromkeys(
        ("no solution", "no solutions", "empty set", "无解", "no real solution", "no real solutions"), "no solution"
    ),
    **dict.fromkeys(("no real root", "no real roots"), "no real roots"),
    **dict.fromkeys(("does not exist", "doesn't exist", "dne", "不存在"), "does not exist"),
    **dict.fromkeys(("infinitely many", "infinitely many solutions"), "infinitely many"),
    **dict.fromkeys(("cannot be determined", "can't be determined", "can not be determined"), "cannot be determined"),
    **dict.fromkeys(("not possible", "impossible"), "impossible"),
    **{phrase: phrase for phrase in ("not enough information", "undefined", "all real numbers")},
}
"""Answers of several words, as they are written, and their one spelling."""


_CHOICE = re.compile(
    r"(?:\\(?:text|mathrm|textbf|mathbf|mbox)\{)?\s*+\(?\s*+(?:\\(?:text|mathrm|textbf|mathbf)\{)?\s*+\(?"
    r"(?:[Oo]ption |[Cc]hoice |选项)?\s*+(?P<letter>[A-J])\s*+[.:]?\s*+\)?\s*+\}?\s*+\)?\s*+\}?[.:]?"
    r"(?:选项)?(?:\s*+(?:is\s++(?:the\s++)?(?:correct|right)(?:\s++(?:answer|option|choice|one))?|是?正确的?(?:答案|选项)?)[.!]?)?"
)
_SMALL_CHOICE = re.compile(r"(?:\\(?:text|mathrm)\{)?\(\s*(?P<letter>[a-j])\s*\)\}?")
_CHOICE_WITH_TEXT = re.compile(r"\(?(?P<letter>[A-J])(?:\)\s*|[.:]\s+)(?=\S)[^\n]{1,200}")
_ALL_TEXT = re.compile(r"\s*(?:\\(?:text|mbox|textbf|textit|textrm)\s*\{[^{}]*\}[\s.,]*)+")
HALVES_OF_A_DAY = (("am",), ("pm",))
_RANGE = re.compile(
    r"(?P<between>(?:between|from)\s+)?(?P<start>[$€£¥]?[0-9]{1,12}(?:\.[0-9]{1,12})?%?)"
    r"(?P<joint>-|\s?(?:to|and|比|至|到)\s?)(?P<end>[$€£¥]?[0-9]{1,12}(?:\.[0-9]{1,12})?)(?P<unit>\s?[a-zA-Z%\\{}\u4e00-\u9fff][^0-9+*/=^-]{0,40})?"
)
_COMPOUND = re.compile(r"[0-9.]{1,12}\s+[a-z]{1,12}(?:,?\s+(?:and\s+)?[0-9.]{1,12}\s+[a-z]{1,12}){1,3}")
_PROPORTION = re.compile(r"[0-9.]+(?:\s*:\s*[0-9.]+){2,8}")
_AND = re.compile(
    r"\s*+(?:,\s*+)?(?:\\text\{\s*+(?:,\s*+)?(?:and|or|和|或)\s*,?\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|和|或者?|以及|与)\s*(?:,\s*)?|\s*;\s*|\s*\\(?:quad|qquad)\s*"
)
_NAMES_BEFORE = re.compile(
    r"\(\s*[a-zA-Z](?:_\{?\w\}?)?(?:\s*,\s*[a-zA-Z](?:_\{?\w\}?)?){1,5}\s*\)\s*=\s*|[a-zA-Z](?:_\{?\w\}?)?\s*(?:\\in|=)\s*(?=[\[({\\])"
)
_INTERVAL_JOIN = re.compile(
    r"\\(?:cup|cap|setminus|times|cdot|in(?![a-z]))|(?<=[)\]])\s*[-+*/^=]|[-+*/^=<>]\s*(?=[(\[])"
)
_ROMAN = re.compile(r"X{0,3}(?:IX|IV|V?I{0,3})")
"""Roman numerals up to 39: ``IV`` is not ``VI``."""
_ORDINAL = re.compile(r"[0-9]{1,4}\s?(?:\^\s?\{?)?(?:\\text\s?\{\s?)?(?:st|nd|rd|th)\s?\}?\}?")
_ARTICLE = re.compile(r"^\s*(?:the|an?)\s+(?=\w\w)")
_VOWELS = frozenset("aeiouy")
"""``a cat`` is a word behind its article, ``a bc`` a product."""


def understand(text: str, is_marked: bool = True) -> Value | None:
    """Returns what the whole of a span says, or None: prose, nothing, or out of bounds.

    ``is_marked``: it stands in a box, a tag or between dollars, where any words are an answer; elsewhere one word is.
    """
    if len(text) <= NUMBER_CHARACTERS and (found := quantity(text)) is not None:
        is_moment = found.unit in HALVES_OF_A_DAY or (found.unit and moment(_bare(tidy(text))) is not None)
        return _in_words(tidy(text)) if is_moment else found
    if len(text) > ANSWER_CHARACTERS:
        return None
    explicit = is_marked or _is_wrapped(text.strip().rstrip(". "))
    plain = tidy(text)
    return _value(plain, explicit) if plain else None


def _is_wrapped(text: str) -> bool:
    """Whether all of a text stands between delimiters of mathematics, or is LaTeX text."""
    if text.startswith("$") and text.endswith("$") and len(text) > 2:
        return "$" not in text.strip("$")
    pairs = (("\\(", "\\)"), ("\\[", "\\]"), ("\\text{", "}"), ("\\boxed{", "}"))
    return any(text.startswith(opening) and text.endswith(closing) for opening, closing in pairs)


def _value(plain: str, explicit: bool, depth: int = 0) -> Value | None:
    if depth > 4:
        return Formula(plain) if explicit else None
    if (phrase := PHRASES.get(_words(plain))) is not None:
        return Words(phrase)
    if match := _CHOICE.fullmatch(plain):
        return Choice(match["letter"])
    if match := _SMALL_CHOICE.fullmatch(plain):
        return Choice(match["letter"].upper())
    if (found := moment(_bare(plain).replace("{:}", ":"))) is not None:
        return Words(found)
    if ("_" in plain or "base" in plain or plain[:1] == "0") and (based := in_base(" ".join(_bare(plain).split()))):
        return based
    if _PROPORTION.fullmatch(plain):
        return _items(plain.split(":"), "::", depth)
    if (two := _two_ends(_bare(plain))) is not None:
        return two
    if (number := tidy_quantity(plain)) is not None:
        return number
    if (chain := end_of_chain(plain)) is not None:
        return _value(tidy(chain), explicit, depth + 1)
    if (rows := rows_of(plain)) is not None:
        return _grid(rows, depth)
    if _ALL_TEXT.fullmatch(plain):
        inner = " ".join(match["inner"] for match in TEXT.finditer(plain))
        return _value(tidy(inner), True, depth + 1) or Words(_words(inner))
    if _COMPOUND.fullmatch(bare := " ".join(_bare(plain).split())):
        return _items(re.split(r",?\s+(?:and\s+)?(?=[0-9])", bare), "", depth)
    if (statement := joined(plain)) is not None:
        return Formula(statement)
    if (several := _several(plain, depth)) is not None:
        return several
    return _words_or_formula(plain, explicit)


def _words_or_formula(plain: str, explicit: bool) -> Value | None:
    """What is no number, list or matrix."""
    if _ORDINAL.fullmatch(plain):
        return Words("".join(filter(str.isdigit, plain)))
    article = _ARTICLE.match(plain.casefold())
    if article and (noun := plain[article.end() :]).isalpha() and not _VOWELS.isdisjoint(noun.lower()):
        return Words(_words(plain))
    if _ROMAN.fullmatch(plain) and len(plain) > 1:
        return Words(_words(plain))
    if plain.isalpha() and (len(plain) > 1 or plain > "\u3000") and (not is_product(plain) or is_name(plain)):
        return Words(_words(plain))
    if (measured := with_plain_unit(plain)) is not None:
        return measured
    if is_formula(plain):
        return formula(plain)
    if (match := _CHOICE_WITH_TEXT.fullmatch(plain)) and not explicit:
        return Choice(match["letter"])
    return Words(_words(plain)) if explicit and not any(mark in plain for mark in "\\=$^_{}") else None


def _two_ends(plain: str) -> Items | None:
    """A range, ``3-5`` and ``between 3 and 5``, or two numbers that ``to`` joins: a range as well, or a ratio."""
    match = _RANGE.fullmatch(plain)
    if match is None:
        return None
    joint, unit = match["joint"].strip(), match["unit"] or ""
    low, high = quantity(match["start"] + unit), quantity(match["end"] + unit)
    if low is None or high is None or (joint == "and" and not match["between"]):
        return None
    if joint == "-" and low.value >= high.value:
        return None
    return Items((low, high), RANGE if match["between"] or joint == "-" else TO)


def _several(plain: str, depth: int) -> Items | None:
    """A list, set, tuple or interval."""
    if "," not in plain and not _AND.search(plain):
        return None
    named = _NAMES_BEFORE.match(plain)
    body = plain[named.end() :] if named else plain
    if body.startswith(r"\{(") and body.endswith(r")\}") and _closes_at_end(body[2:-2]):
        body = body[2:-2]  # a set of one point
    body = body.replace(r"\langle", "(").replace(r"\rangle", ")").replace(r"\{", "\x02").replace(r"\}", "\x03")
    brackets, body = "", with_usual_brackets(body)
    if body[:1] in "([\x02" and body[-1:] in ")]\x03" and _closes_at_end(body):
        brackets, body = (body[0] + body[-1]).replace("\x02", "{").replace("\x03", "}"), body[1:-1]
    elif body[:1] == "{" and body[-1:] == "}" and _closes_at_end(body):
        body = body[1:-1]  # braces of LaTeX: a bare list
    elif _INTERVAL_JOIN.search(body.replace(" ", "")):
        parts = _split(body)
        if len(parts) < 2 or (any(_INTERVAL_JOIN.search(part) and not part.startswith("(") for part in parts)):
            return None
        return _items(parts, "", depth)
    return _items(_split(body), brackets, depth)


def _items(parts: list[str], brackets: str, depth: int) -> Items | None:
    parts = [part.replace("\x02", r"\{").replace("\x03", r"\}").strip() for part in parts]
    if not 2 <= len(parts) <= MOST_ITEMS or not all(parts):
        return None
    values = [_value(tidy(part), True, depth + 1) for part in parts]
    found = [value for value in values if value is not None]
    if len(found) < len(parts) or (not brackets and any(isinstance(v, Words) and _is_phrase(v.text) for v in found)):
        return None
    if not brackets and len({isinstance(value, Words) for value in found}) > 1:
        return None
    return Items(tuple(found), brackets)


def _is_phrase(text: str) -> bool:
    """More than a word: it has blanks or digits, or is a Chinese clause."""
    return " " in text or any(map(str.isdigit, text)) or (len(text) > 4 and text > "\u3000")


def _closes_at_end(body: str) -> bool:
    """Whether the first bracket is closed by the last."""
    depth = 0
    for position, character in enumerate(body):
        depth += (character in "([{\x02") - (character in ")]}\x03")
        if depth == 0:
            return position == len(body) - 1
    return False


def _split(body: str) -> list[str]:
    """At the commas, semicolons and conjunctions outside brackets; a comma in ``1,234, 5,678`` is no separator."""
    body = re.sub(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?=\.[0-9])", lambda found: found[1].replace(",", ""), body)
    if re.search(r"[0-9],[0-9]{3}(?![0-9])", body) and re.search(r",\s", body):
        body = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", body)
    parts, depth, start, position = [], 0, 0, 0
    while position < len(body):
        character = body[position]
        if depth == 0 and (match := _AND.match(body, position)) and match[0].strip():
            parts.append(body[start:position])
            position = start = match.end()
            continue
        if character == "," and depth == 0:
            parts.append(body[start:position])
            start = position + 1
        depth += (character in "([{\x02") - (character in ")]}\x03")
        position += 1
    parts.append(body[start:])
    return [part for part in parts if part.strip()] if parts[-1].strip() == "" else parts


def _grid(rows: list[list[str]], depth: int) -> Grid | None:
    cells = [[_value(tidy(cell), True, depth + 1) for cell in row] for row in rows]
    if not rows or len(rows) * max(map(len, cells)) > MOST_ITEMS * 4:
        return None
    found = tuple(tuple(cell for cell in row if cell is not None) for row in cells)
    return Grid(found) if [len(row) for row in found] == [len(row) for row in cells] else None


def _bare(text: str) -> str:
    return TEXT.sub(lambda found: found["inner"], text)


def _in_words(text: str) -> Words:
    return Words(moment(_bare(text)) or _words(text))


def _words(text: str) -> str:
    """Small letters, single blanks, no full stops and quotes: ``p.m.`` is ``pm``."""
    plain = re.sub(r"[.,'\"!?*$]+(?=\s|$)|(?<=[ap])\.(?=\s?m)", "", _bare(text).casefold())
    plain = re.sub(r"(?<=[0-9])(?:st|nd|rd|th)\b", "", plain)
    plain = re.sub(r"(?<=[0-9])(?::00)?\s*(?=[ap]m\b)", "", plain)
    return ORDINALS.get(bare := " ".join(_ARTICLE.sub("", plain).split()), bare)
