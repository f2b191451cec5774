"""One reader for references and for completions: which span of a text is its answer, and what it says."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from groupwise.errors import UserError
from groupwise.rewards.reading.conventions import CONVENTIONS, Span, math_pieces, without_fillers
from groupwise.rewards.reading.endings import ending_spans, last_number
from groupwise.rewards.reading.notation import unescaped
from groupwise.rewards.reading.quantities import Quantity, quantity
from groupwise.rewards.reading.structure import TEXT_CHARACTERS, without_thinking
from groupwise.rewards.reading.values import (
    ANSWER_CHARACTERS,
    Choice,
    Formula,
    Items,
    Kind,
    Prose,
    Value,
    Words,
    is_formula,
    kind_of,
    parts_before_prose,
    understand,
    within_bounds,
)

DEFAULT_ORDER = tuple(CONVENTIONS)
END = "end"
"""Beside the names of ``CONVENTIONS``: the end of a text that nothing marks."""
_COMPATIBLE: dict[Kind, tuple[Kind, ...]] = {
    "number": ("number", "formula"),
    "choice": ("choice",),
    "words": ("words", "choice", "formula"),
    "list": ("list", "formula", "grid"),
    "grid": ("grid", "formula", "list"),
    "formula": ("formula", "number", "list", "grid", "words"),
    "prose": ("number", "choice", "words", "list", "grid", "formula"),
}
"""A reference's kind -> kinds of answer that may be it."""
_LETTER = re.compile(r"\\(?:[a-zA-Z]+)|[a-zA-Z]")
_CONSTANTS = frozenset({"e", "i", r"\pi", r"\infty"})
_DENIAL = re.compile(r"\bnot\b|n't\b|\bnever\b|\bneither\b|\bunknown\b|不是|并非|没有", re.IGNORECASE)
_NUMBER_IN_PROSE = re.compile(
    r"(?<![A-Za-z0-9_.,])-?[$€£¥]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:\s?/\s?[0-9]+)?%?"
)
_NUMBERED = re.compile(r"[0-9]{1,2}\s?[.)、:]\s+\S")
"""``1. Compute``, the beginning of a heading."""
_WORD_AFTER = re.compile(r"\s?(?:[\u4e00-\u9fff]{1,6}|[a-zA-Z]{1,14})?")


@dataclass(frozen=True)
class Reference:
    """A row's answer as it was read: any one of ``values`` is right. Without values: why, in a few words."""

    values: tuple[Value, ...] = ()
    has_hashes: bool = False
    """The row itself marks its answer with ``####``."""
    why: str = ""
    text: str = ""


@dataclass(frozen=True)
class Reader:
    """The order in which conventions are tried, as a value. The first reading of the reference's kind is the answer."""

    order: tuple[str, ...] = DEFAULT_ORDER
    begins_in_thinking: bool = False

    def __post_init__(self) -> None:
        for name in self.order:
            if name not in (*CONVENTIONS, END):
                raise UserError(f"unknown convention {name!r}; expected some of {', '.join((*CONVENTIONS, END))}")

    def spans(self, text: str, with_end: bool = False) -> Iterator[tuple[str, Span]]:
        """Convention and span, likeliest first, of a text without its thinking."""
        for name in self.order:
            if name in CONVENTIONS:
                yield from ((name, span) for span in CONVENTIONS[name](text))
        if with_end and text.strip():
            yield from ((END, span) for span in ending_spans(text))

    def answer(self, text: str, reference: Reference, unmarked: bool, inside: bool = False) -> Value | None:
        """What a completion answers, None where it does not.

        Of each convention the last span that can be read counts, whatever stands before it. Of the conventions the first
        whose reading has the reference's kind; where none has, the first that can be read. So the *value* of the
        reference chooses nothing: who names two answers is read as naming one of them, or a list.
        """
        text = unescaped(without_thinking(text, inside or self.begins_in_thinking))
        kind = kind_of(reference.values[0]) if reference.values else "prose"
        read: list[Value] = []
        later: list[Value] = []
        done: set[str] = set()
        for name, span in self.spans(text, unmarked or END in self.order):
            if name == END and (later or done & {"boxes", "tags", "hashes"}):
                break
            if name in done:
                continue
            value = read_span(span, kind, reference)
            if name in ("boxes", "tags") or value is not None and name != END:
                done.add(name)
            if value is None:
                continue
            if span.heads and not reference.has_hashes and _may_be_heading(value):
                later.append(value)
            elif _fits(value, kind):
                return value
            else:
                read.append(value)
                if name == END and isinstance(value, Items):
                    break
        if later and _fits(later[0], kind):
            return later[0]
        if done & {"boxes", "tags"} and not read:
            return None
        if unmarked and kind not in ("number", "choice") and text.strip() and (end := text.strip()[-ANSWER_CHARACTERS:]):
            if not read and within_bounds(end) and any(mark in end for mark in ("$", "\\", *"0123456789")):
                return Prose(end)
        return read[0] if read else None


def read_span(span: Span, kind: Kind, reference: Reference | None = None) -> Value | None:
    """What a span says, for a reference of this kind; None where it cannot be read."""
    if span.heads and not _is_answer(span.text, reference):
        return None
    if len({*span.joined}) > 1 and span.is_marked and (kind in ("list", "prose") or span.is_list):
        if (value := understand(", ".join(span.joined))) is not None:
            return value
    loose = kind == "number" and (not span.is_marked or has_unit(reference))
    for text in candidates(span):
        if loose and (found := quantity(text, is_loose=True)) is not None:
            return found
        if (value := understand(text, span.is_marked)) is not None:
            return value
    if len(span.joined) == 1:
        return understand(span.joined[0])
    return _in_prose(span.text) if not span.is_marked and not span.heads else None


def has_unit(reference: Reference | None) -> bool:
    """Whether the reference is a number with a unit."""
    return reference is not None and any(isinstance(value, Quantity) and value.unit for value in reference.values)


def candidates(span: Span) -> Iterator[str]:
    """The texts that a span may mean, the whole of it first."""
    text = span.text
    if "\\boxed" in text or "\\fbox" in text:
        for box in CONVENTIONS["boxes"](text):
            yield ", ".join(box.joined) if box.is_list else box.text
            break
    if span.is_marked and (len(text) > 20 or "\n" in text or "####" in text):
        for name in ("hashes", "phrases"):
            for inner in CONVENTIONS[name](text):
                yield from candidates(inner)
                break
    parts = [text] if span.is_marked else parts_before_prose(text)
    for part in parts:
        yield part
        if not span.is_marked:
            yield from _shorter(part)
    equals = parts[-1].rfind("=")
    if not span.is_marked and equals > 0 and parts[-1][equals - 1] not in "<>!:":
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
        if len(pieces) == 1 or all(part[a[1] : b[0]].strip() in (",", "and", "or", ", and", ", or", "和", "或", "、", "，", ";") for a, b in zip(pieces, pieces[1:], strict=False)):
            if rest and len(rest) < 40:
                yield f"{inside} {rest}"
            if len(rest) == 0 or " " in rest or len(pieces) == 1:
                yield inside


def _in_prose(text: str) -> Value | None:
    """The one number of a sentence, with the word after it; None of a sentence with several or that denies it."""
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
            if before[-1:].isalpha() and before[-1:].isascii():
                return None
            word = _WORD_AFTER.match(part, number.end())
            return quantity(number[0].rstrip(",") + (word[0] if word else "")) or quantity(number[0].rstrip(","))
        if numbers:
            return None
    return None


def _is_answer(text: str, reference: Reference | None) -> bool:
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
    return not isinstance(value, Words) and not (isinstance(value, Choice) and len(text) > 8 and not text.startswith("\\"))


def _may_be_heading(value: Value) -> bool:
    """``#### 3 steps`` and ``#### Check`` look like an answer and like a heading: other conventions go first."""
    return isinstance(value, Words) or (isinstance(value, Quantity) and bool(value.unit))


def _fits(value: Value, kind: Kind) -> bool:
    """Whether a value may be the reference's, by its kind alone."""
    found = kind_of(value)
    if found not in _COMPATIBLE[kind]:
        return False
    if kind == "number" and isinstance(value, Formula):
        letters = {letter for letter in _LETTER.findall(value.latex) if not letter.startswith("\\") or letter in _CONSTANTS}
        right_side = value.latex.rpartition("=")[2]
        return letters <= _CONSTANTS or "=" in value.latex and {*re.findall(r"(?<!\\)\b[a-zA-Z]\b", right_side)} <= _CONSTANTS
    return True


@functools.lru_cache(maxsize=4096)
def read_reference(text: str, several: str = "") -> Reference:
    """A row's answer: the answer itself, a whole solution that ends with it, or a JSON list of answers.

    ``several`` says what a list of several means: ``any`` of them is right, or ``all`` are the answer together.
    """
    text = unescaped(text.strip())
    if not text:
        return Reference(why="it is empty")
    if text[:1] in "[{" and (listed := _json(text, several)) is not None:
        return listed
    if (number := quantity(text)) is not None:
        return Reference((number,), text=text)
    body = without_thinking(text[-TEXT_CHARACTERS:]) or text
    hashes = "####" in body
    gold = Reference(has_hashes=hashes)
    whole = None if hashes else understand(body, is_marked=False)
    if whole is not None and "\\boxed" not in body:
        return Reference((whole,), text=text)
    for _, span in Reader().spans(body):
        if (value := read_span(span, "prose", gold)) is not None:
            return Reference((value,), hashes, text=span.text)
    if whole is not None and not isinstance(whole, Words):
        return Reference((whole,), hashes, text=text)
    pieces = math_pieces(body)
    if pieces and within_bounds(body[-ANSWER_CHARACTERS:]):
        return Reference((Prose(body[-ANSWER_CHARACTERS:]),), hashes, text=text)
    return Reference(why=_why(text), text=text)


def _why(text: str) -> str:
    if not within_bounds(text):
        return "it is too long, too deeply nested or holds a number too large to write down"
    return f"{text[:60]!r} is neither a number, a choice, a list nor mathematics"


def _json(text: str, several: str) -> Reference | None:
    """A reference that is a JSON list of texts, or an object; None where it is neither."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, dict) and parsed:
        return Reference(why=f"it is an object with {', '.join(map(str, parsed))}; name the field that holds the answer")
    if not isinstance(parsed, list) or not (all(isinstance(one, str) for one in parsed) or len(parsed) == 1):
        return None
    found = [read_reference(str(one)) for one in parsed]
    unread = next((one for one in found if not one.values), None)
    if unread or not found:
        return Reference(why=unread.why if unread else "it is an empty list")
    values = tuple(one.values[0] for one in found)
    if len(values) == 1 or several == "any":
        return Reference(values, text=text)
    if several == "all":
        return Reference((Items(values),), text=text)
    return Reference(
        why=f"it lists {len(values)} answers; say by several='any' that each of them is right, or by 'all' that they are one answer"
    )


def marked_answer(text: str, unmarked: bool = False) -> str | None:
    """The answer as written, by the first convention whose span can be read; see ``rewards.final_answer``."""
    text = without_thinking(text[-TEXT_CHARACTERS:])
    first = None
    done: set[str] = set()
    for name, span in Reader().spans(text):
        if name in done or (span.heads and not _is_answer(span.text, None)):
            first = first or (span.text if span.heads and len(span.text.split()) == 1 else None)
            continue
        for candidate in candidates(span):
            if understand(candidate, span.is_marked) is not None:
                return candidate.strip(" *:") if not span.is_marked else candidate
        if (value := _in_prose(span.text) if not span.is_marked else None) is not None:
            return _written(value)
        if span.is_marked:
            return span.text
        done.add(name)
        first = first or span.text
    if first is not None:
        return first
    return last_number(text) if unmarked else None


def _written(value: Value) -> str:
    """A value as plain text."""
    if isinstance(value, Quantity):
        return str(value.value)
    return value.latex if isinstance(value, Formula) else str(value)


def as_item(value: Value) -> object:
    """Plain JSON of a value, for the process that does algebra."""
    match value:
        case Quantity():
            return ["number", _latex(value)]
        case Formula(latex) | Prose(latex):
            return ["prose" if isinstance(value, Prose) else "formula", latex]
        case Words(text):
            return ["formula" if not any(map(str.isalpha, text)) else "words", text]
        case Choice(letter):
            return ["words", letter]
        case Items(items, brackets):
            return ["items", brackets, [as_item(one) for one in items]]
    return ["grid", [[as_item(cell) for cell in row] for row in value.rows]]


def _latex(value: Quantity) -> str:
    number = value.value
    if value.decimals > 0:
        digits = str(abs(number.numerator * 10**value.decimals // number.denominator)).rjust(value.decimals + 1, "0")
        plain = f"{'-' if number < 0 else ''}{digits[: -value.decimals]}.{digits[-value.decimals :]}"
    else:
        plain = str(number.numerator) if number.denominator == 1 else rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
    if value.percent:
        plain += r"\%"
    return f"{value.name} = {plain}" if value.name.isalpha() and len(value.name) == 1 else plain


def distinct(values: Sequence[Value | None]) -> list[Value]:
    """Each value once, in order."""
    return list(dict.fromkeys(value for value in values if value is not None))
