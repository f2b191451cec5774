"""This module says what a span of text says, for a reference of a kind: all of it, or what is left without the words
around it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from groupwise.rewards.reading.conventions import CONVENTIONS, Span, math_pieces, without_fillers, without_shout
from groupwise.rewards.reading.endings import GOES_ON, is_denied, sign_word
from groupwise.rewards.reading.formulas import is_formula
from groupwise.rewards.reading.intervals import bound_in_words, unknown_of
from groupwise.rewards.reading.number_words import in_digits, number_in_words
from groupwise.rewards.reading.parsing import understand
from groupwise.rewards.reading.quantities import Quantity, quantity, with_other_commas
from groupwise.rewards.reading.units import UNIT_AFTER
from groupwise.rewards.reading.values import Choice, Formula, Kind, Value, Words

_DENIAL = re.compile(r"\bnot\b|n't\b|\bnever\b|\bneither\b|\bunknown\b|不是|并非|没有", re.IGNORECASE)
_NUMBER_IN_PROSE = re.compile(r"(?<![A-Za-z0-9_.,])-?[$€£¥]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:\s?/\s?[0-9]+)?%?")
_NUMBERED = re.compile(r"[0-9]{1,2}\s?[.)、:]\s+\S")
"""``1. Compute``, the beginning of a heading."""
_LETTERED = re.compile(
    r"\(?(?P<letter>[A-J])(?:\)\s*|[.:](?:\s|\\[ ,;])+|\s+\()(?=\S)(?!.*(?:\bor\b|\band\b|[,;、]\s*\(?[A-J]\b))"
)
"""``(B) 12``, ``B. Paris``: a choice with its text, and no other choice."""
_SMALL_LETTER = re.compile(r"[\s*(\[]*+(?P<letter>[a-j])[\s*)\].]*+")
_AMC = re.compile(
    r"\s*\$?\\text(?:bf)?\{\s*(?:\((?P<letter>[A-J])\)|(?P<bare>[A-J])[.):])\s*\}"
    r"(?:\\[ ,;!]|~|\s|\\q?quad)*(?=[^\s$])"
)
"""``\\textbf{(A)}\\ 5``: a choice and what it says."""
_ONE_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|textrm)\s?\{(?P<inner>[^{}\n]{1,100})\}\.?")
_LABEL = re.compile(
    r"\s*\\(?:text|mbox|textbf|textrm)\s?\{(?P<label>[^{}\n]{0,60}(?:[:：=]|(?<![a-z])(?:is|are|equals))\s*)\}\s*(?=\S)"
)
"""``\text{The answer is }12`` in a box."""
_OTHER_LABEL = re.compile(
    r"\b(?:not|never|no|wrong|incorrect|false|than|least|most|over|under|above|below|between|except|without)\b|n't\b",
    re.IGNORECASE,
)
"""What follows such a label is no answer: ``\\text{More than: }12``."""
_OPERATOR = re.compile(r"[\w)}\]]\s?[-+*/^]\s?$")
_WORD_AFTER = re.compile(rf"\s?{UNIT_AFTER}?")


_CLAUSE = re.compile(
    r",\s+(?:car|denn|da)\b|(?:,|(?<!\s))\s+(?:ya que|porque|parce que|weil|так как|потому что"
    r"|because|although|though|whereas|since|not|rather|instead|as|so|which|where|when|given|after|if|who|that|hence|thus|therefore|for|by|using|from|\u2014|--?)\b"
    r"|(?<!\s)\s*[(\[（](?!\s*-?[0-9a-zA-Z.]+\s*[,)])|(?<!\s)\s+[-\u2013\u2014]{1,3}\s(?!\s?[-0-9($\\])"
    r"|,\s+(?:i\.e|namely|that is)\b|，|,\s*(?:所以|因为|因此|即)|因为|[\u2014]{1,2}",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?<!\b[A-Za-z])(?<!\betc)(?:[.]|!(?!\s*[=!]))(?=\s+[^\s0-9]|\s*$)|(?<=[0-9A-Za-z$)}\]])[.](?=\s)|[。；;](?=\s*\S)|\n|[。；]"
)


@dataclass(frozen=True)
class Reference:
    """A row's answer as it was read: any one of ``values`` is right. Without values: why, in a few words."""

    values: tuple[Value, ...] = ()
    has_hashes: bool = False
    """The row itself marks its answer with ``####``."""
    why: str = ""
    text: str = ""


def read_span(span: Span, kind: Kind, reference: Reference | None = None) -> Value | None:
    """Returns what a span says, for a reference of this kind; None where it cannot be read."""
    asked = reference.values[0] if reference is not None and reference.values else None
    if asked is not None and (name := unknown_of(asked)) is not None and (bound := bound_in_words(span.text, name)):
        return understand(bound)
    if kind == "formula" and isinstance(asked, Formula) and asked.latex.endswith("!") and span.text.endswith("!"):
        return understand(span.text, span.is_marked)
    value = _read_span(span, kind, reference)
    if isinstance(value, Words) and kind == "number" and value.text.isdigit() and value.text in span.text:
        return quantity(value.text)  # of "3rd", but not of "first"
    if isinstance(value, Words) and span.may_be_sentence and kind == "number":
        if (digits := in_digits(value.text)) and (said := quantity(digits, is_loose=True)) is not None:
            return said
        inner = _ONE_TEXT.fullmatch(span.text)
        sentence = replace(span, text=inner["inner"] if inner else span.text, is_marked=False)
        if (counted := number_in_words(sentence.text)) and not is_denied(*counted[:2]):
            return one_number(counted[2], True) or value
        return _read_span(sentence, kind, reference) or in_prose(sentence.text) or value
    return value


def _read_span(span: Span, kind: Kind, reference: Reference | None) -> Value | None:
    if span.heads and not is_answer(span.text, reference):
        return None
    may_be_list = len({*span.joined}) > 1 and span.is_marked and (kind in ("list", "prose") or span.is_list)
    if may_be_list and (value := understand(", ".join(span.joined))) is not None:
        return value
    if kind == "choice" and (match := _LETTERED.match(span.text.strip(" *")) or _SMALL_LETTER.fullmatch(span.text)):
        return Choice(match["letter"].upper())
    if kind == "choice" and (match := _AMC.match(span.text)):
        return Choice(match["letter"] or match["bare"])
    if kind == "number" and not span.is_marked and not span.is_end:
        for part in parts_before_prose(span.text):
            if (found := one_number(without_fillers(part), True, not span.heads)) is not None:
                return found
    loose = kind == "number" and (not span.is_marked or has_unit(reference))
    for text in candidates(span):
        if kind == "number" and (found := one_number(text, loose, not span.heads)) is not None:
            return found
        if (value := understand(text, span.is_marked)) is not None:
            return value
    if len(span.joined) == 1:
        return understand(span.joined[0])
    return in_prose(span.text) if not (span.is_marked or span.heads or span.is_end) else None


def one_number(text: str, is_loose: bool, in_words: bool = True) -> Quantity | None:
    """The number that a text is, where one is expected: also in words (``seven apples``), but not after ``####``, and
    with the commas of other countries (``0,5``)."""
    if is_loose and (found := quantity(text, is_loose=True)) is not None:
        return found
    words = _ONE_TEXT.fullmatch(text.strip(" $"))
    for other in (with_other_commas(text), in_digits(words["inner"] if words else text) if in_words else None):
        if other is not None and (found := quantity(other, is_loose=True)) is not None:
            return found
    return None


def has_unit(reference: Reference | None) -> bool:
    """Whether the reference is a number with a unit."""
    return reference is not None and any(isinstance(value, Quantity) and value.unit for value in reference.values)


def candidates(span: Span) -> Iterator[str]:
    """The texts that a span may mean, the whole of it first."""
    text = span.text if span.is_marked or span.heads else without_shout(span.text)
    if "\\boxed" in text or "\\fbox" in text:
        for box in CONVENTIONS["boxes"](text):
            yield ", ".join(box.joined) if box.is_list else box.text
            break
    label = _LABEL.match(text) if span.is_marked else None
    if label and not _OTHER_LABEL.search(label["label"]):
        yield text[label.end() :]
    if span.is_marked and not label and (len(text) > 20 or "\n" in text or "####" in text):
        for name in ("hashes", "phrases"):
            for inner in CONVENTIONS[name](text):
                yield from candidates(inner)
                break
    if match := _AMC.match(text):
        yield text[match.end() :]
    parts = [text] if span.is_marked or span.is_end else parts_before_prose(text) or [text]
    for part in parts:
        yield part
        if not span.is_marked:
            yield from _shorter(part)
    equals = parts[-1].rfind("=")
    is_inside = span.is_end and parts[-1].count("$", equals) % 2 == 1
    if not span.is_marked and equals > 0 and parts[-1][equals - 1] not in "<>!:" and not is_inside:
        yield parts[-1][equals + 1 :]
    if span.is_marked and "\n" in text:
        yield text.rpartition("\n")[2]


def _shorter(part: str) -> Iterator[str]:
    bare = without_fillers(part)
    if bare != part:
        yield bare
    pieces = math_pieces(part)
    if pieces and not part[: pieces[0][0]].strip(" *_:"):
        rest = part[pieces[-1][1] :].strip(" .*_")
        inside = ", ".join(piece[2] for piece in pieces)
        if len(pieces) == 1 or all(
            part[a[1] : b[0]].strip() in (",", "and", "or", ", and", ", or", "和", "或", "、", "，", ";")
            for a, b in itertools.pairwise(pieces)
        ):
            if rest and len(rest) < 40:
                yield f"{inside} {rest}"
            if len(rest) == 0 or " " in rest or len(pieces) == 1:
                yield inside


def in_prose(text: str) -> Value | None:
    """Returns the one number of a sentence, with the word after it; None of a sentence with several or that denies
    it."""
    sentence = parts_before_prose(text)
    for part in sentence[:2][::-1]:
        pieces = math_pieces(part)
        if _DENIAL.search(part):
            return None
        if len(pieces) == 1:
            return understand(pieces[0][2]) or None
        numbers = list(_NUMBER_IN_PROSE.finditer(part))
        if len(numbers) == 1:
            number = numbers[0]
            before = part[: number.start()]
            if (before[-1:].isalpha() and before[-1:].isascii() and not sign_word(before)) or _OPERATOR.search(before):
                return None
            if GOES_ON.match(part, number.end()) or is_denied(before, part[number.end() :]):
                return None
            word = _WORD_AFTER.match(part, number.end())
            digits = sign_word(before) + number[0].rstrip(",")
            return quantity(digits + (word[0] if word else "")) or quantity(digits)
        if numbers:
            return None
    return None


def is_answer(text: str, reference: Reference | None) -> bool:
    """Whether what follows ``####`` is an answer and no heading."""
    if reference is not None and reference.has_hashes:
        return True
    if _NUMBERED.match(text):
        return False
    if reference is not None and isinstance(next(iter(reference.values), None), Words):
        return isinstance(understand(text, is_marked=False), Words)
    if text[:1].isalpha() and len(text) > 1 and text.split()[0].rstrip(":.").isalpha() and len(text.split()[0]) > 1:
        return "\\" in text.split()[0] or is_formula(text)
    value = understand(text.strip(" *"), is_marked=False)
    if value is None:
        return any(understand(part, is_marked=False) is not None for part in parts_before_prose(text)[1:])
    return not isinstance(value, Words) and not (
        isinstance(value, Choice) and len(text) > 8 and not text.startswith("\\")
    )


def parts_before_prose(text: str) -> list[str]:
    """A span, then less of it: up to its first full stop, up to a clause that explains (``because``, ``which``, a
    parenthesis)."""
    found = [text]
    if match := _SENTENCE.search(text):
        found.append(text[: match.start()])
    if match := _CLAUSE.search(found[-1]):
        found.append(found[-1][: match.start()])
    return [part.strip() for part in dict.fromkeys(found) if part.strip()]
