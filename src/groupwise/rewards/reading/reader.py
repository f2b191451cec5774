"""One reader for references and for completions: which span of a text is its answer, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from groupwise.errors import UserError
from groupwise.rewards.reading.conventions import CONVENTIONS, Span, ends_in_output
from groupwise.rewards.reading.endings import ending_spans, last_number
from groupwise.rewards.reading.equality import compare_values
from groupwise.rewards.reading.intervals import in_brackets, is_interval
from groupwise.rewards.reading.notation import ANSWER_CHARACTERS, unescaped, with_western_digits, within_bounds
from groupwise.rewards.reading.parsing import understand
from groupwise.rewards.reading.quantities import Quantity
from groupwise.rewards.reading.spans import Reference, candidates, in_prose, is_answer, read_span
from groupwise.rewards.reading.structure import TEXT_CHARACTERS, without_struck, without_thinking
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.reading.values import RANGE, TO, Formula, Items, Kind, Prose, Value, Words, kind_of

DEFAULT_ORDER = tuple(CONVENTIONS)
END = "end"
"""What the spans at the end of a text that nothing marks are called."""
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


@dataclass(frozen=True)
class Reader:
    """The order in which conventions are tried, as a value. The first reading of the reference's kind is the answer."""

    order: tuple[str, ...] = DEFAULT_ORDER
    begins_in_thinking: bool = False

    def __post_init__(self) -> None:
        for name in self.order:
            if name not in CONVENTIONS:
                raise UserError(f"unknown convention {name!r}; expected some of {', '.join(CONVENTIONS)}")

    def spans(self, text: str, with_end: bool = False) -> Iterator[tuple[str, Span]]:
        """Yields convention and span, likeliest first, of a text without its thinking."""
        for name in self.order:
            yield from ((name, span) for span in CONVENTIONS[name](text))
        if with_end and text.strip() and not ("output" in self.order and ends_in_output(text)):
            yield from ((END, span) for span in ending_spans(text))

    def answer(self, text: str, reference: Reference, unmarked: bool, inside: bool = False) -> Value | None:
        """Returns what a completion answers, None where it does not; inequalities as intervals, where the reference
        is one, and several ways to write one number as that number."""
        value = self._answer(text, reference, unmarked, inside)
        if value is None or not reference.values:
            return value
        if is_interval(reference.values[0]) and (written := in_brackets(value)) is not None:
            return understand(written)
        return value

    def _answer(self, text: str, reference: Reference, unmarked: bool, inside: bool) -> Value | None:
        """Returns what a completion answers, None where it does not.

        Of each convention the last span that can be read counts, whatever stands before it. Of the conventions the
        first whose reading has the reference's kind; where none has, the first that can be read. So the *value* of
        the reference chooses nothing: who names two answers is read as naming one of them, or a list.
        """
        text = without_struck(without_thinking(text, inside or self.begins_in_thinking))
        text = unescaped(with_western_digits(text))
        kind = kind_of(reference.values[0]) if reference.values else "prose"
        read: list[Value] = []
        later: list[Value] = []
        done: set[str] = set()
        for name, span in self.spans(text, unmarked):
            if name == END and (later or done & {"boxes", "tags", "hashes"}):
                break
            if name in done:
                continue
            value = read_span(span, kind, reference)
            if name in ("boxes", "tags") or (value is not None and name != END):
                done.add(name)
            if value is None:
                continue
            if isinstance(value, Items) and value.brackets in ("", RANGE, TO) and kind in ("number", "choice"):
                return _one_number(value) or value  # several answers where one was asked for
            if span.heads and not reference.has_hashes and _may_be_heading(value):
                later.append(value)
            elif _fits(value, kind):
                return value
            else:
                read.append(value)
        if later and _fits(later[0], kind):
            return later[0]
        if done & {"boxes", "tags"} and not read:
            return None
        if unmarked and not read and kind not in ("number", "choice"):
            return _prose(text.strip()[-ANSWER_CHARACTERS:])
        return read[0] if read else None


def _one_number(value: Items) -> Quantity | None:
    """``0.75`` of ``0.75 or 3/4``: a list whose numbers are all the same."""
    numbers = [one for one in value.items if isinstance(one, Quantity)]
    if value.brackets or len(numbers) < len(value.items):
        return None
    same = all(compare_values(numbers[0], one, tolerance("exact")) == "equal" for one in numbers[1:])
    return numbers[0] if same else None


def _prose(end: str) -> Prose | None:
    """The end of a text, where algebra may find something in it."""
    has_mathematics = any(mark in end for mark in ("$", "\\", *"0123456789"))
    return Prose(end) if has_mathematics and within_bounds(end) else None


def _may_be_heading(value: Value) -> bool:
    """``#### 3 steps`` and ``#### Check`` look like an answer and like a heading: other conventions go first."""
    return isinstance(value, Words) or (isinstance(value, Quantity) and bool(value.unit))


def _fits(value: Value, kind: Kind) -> bool:
    """Whether a value may be the reference's, by its kind alone."""
    found = kind_of(value)
    if found not in _COMPATIBLE[kind]:
        return False
    if kind == "number" and isinstance(value, Formula):
        letters = {
            letter for letter in _LETTER.findall(value.latex) if not letter.startswith("\\") or letter in _CONSTANTS
        }
        right_side = value.latex.rpartition("=")[2]
        return letters <= _CONSTANTS or (
            "=" in value.latex and {*re.findall(r"(?<!\\)\b[a-zA-Z]\b", right_side)} <= _CONSTANTS
        )
    return True


def marked_answer(text: str, unmarked: bool = False) -> str | None:
    """The answer as written, by the first convention whose span can be read; see ``rewards.final_answer``."""
    text = without_struck(without_thinking(text[-TEXT_CHARACTERS:]))
    first = None
    done: set[str] = set()
    for name, span in Reader().spans(text):
        if name in done or (span.heads and not is_answer(span.text, None)):
            first = first or (span.text if span.heads and len(span.text.split()) == 1 else None)
            continue
        for candidate in candidates(span):
            if understand(candidate, span.is_marked) is not None:
                return candidate.strip(" *:") if not span.is_marked else candidate
        if (value := in_prose(span.text) if not span.is_marked else None) is not None:
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
