"""The choices of a question, in the shapes that public sets keep them in.

======================================================  ===============================================================
columns                                                 sets
======================================================  ===============================================================
``choices: {"text": [...], "label": [...]}``            ARC, CommonsenseQA, OpenBookQA, QASC
``choices: [...]``, ``options``, ``endings``            MMLU, MMLU-Pro, HellaSwag, RACE, AQuA-RAT, LogiQA
``options: {"A": ..., "B": ...}``, lists of objects     MedQA
``A, B, C, D``; ``opa ..``; ``option1 ..``; ``sol1 ..``  C-Eval, CMMLU, MedMCQA, WinoGrande, PIQA, COPA, SWAG
``mc1_targets: {"choices": [...], "labels": [...]}``    TruthfulQA; the right one stands first, so they are shuffled
``Correct Answer, Incorrect Answer 1 ..``               GPQA, SciQ (``distractor1``); shuffled
======================================================  ===============================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import Any, Protocol

from groupwise.errors import UserError
from groupwise.tasks.columns import Columns
from groupwise.tasks.golds import answer_of
from groupwise.tasks.values import is_nothing, shown
from groupwise.values.spelled import structure_of

IN_ONE = ("choices", "options", "endings", "answer_choices", "answer_options", "option")
SERIES = (
    *("option", "option_", "options_", "choice", "choice_", "op", "op_", "ending", "ending_"),
    *("sol", "sol_", "alternative", "alternative_"),
)
"""What stands before a, b, c ... or 1, 2, 3 ... in the names of columns that hold one choice each."""
LETTERED = (("answer", 2), ("answer_", 2), ("", 4))
"""The same of a, b, c ... alone, and the fewest."""
RIGHT = ("correct answer", "correct_answer", "right_answer")
WRONG = ("incorrect answer ", "incorrect_answer_", "incorrect_answer", "distractor", "distractor_", "wrong_answer_")
WRONG_LISTS = ("incorrect_answers", "wrong_answers", "distractors")
TARGETS = ("mc1_targets",)
MOST = len(ascii_uppercase)
LETTERS = "abcdefghij"
_OWN_LETTER = re.compile(r"\s*\(?([A-Za-z])\s?[).:、．]\s*")


@dataclass(frozen=True)
class RowChoices:
    """The choices of one row, in the order that they are shown in."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """What the row calls them; without, they have none but their places."""
    right: int | None = None
    """The right one's place, where its column says it."""
    are_numbers: bool = False
    """Whether the row keeps them as numbers."""


class ChoiceColumns(Protocol):
    """These are the columns in which a row's choices stand."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that they are read from."""
        ...

    @property
    def words(self) -> str:
        """Says what the first line of a run says of them."""
        ...

    @property
    def says_right(self) -> bool:
        """Says whether they say themselves which one is right."""
        return False

    @property
    def uncertain(self) -> bool:
        """Says whether their names may mean anything, so that only a gold shows that they are choices."""
        return False

    def read(self, row: Mapping[str, Any], where: str) -> RowChoices | None:
        """Reads a row's choices; None where the row has none. Raises UserError for choices that cannot be shown."""
        ...


@dataclass(frozen=True)
class ListedChoices(ChoiceColumns):
    """A list of texts, a mapping of letters to texts, lists ``text`` and ``label``, or a list of such objects."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names the columns that hold the choices."""
        return (self.column,)

    @property
    def words(self) -> str:
        """Says in words what the columns hold."""
        return f"choices: {self.column}"

    def read(self, row: Mapping[str, Any], where: str) -> RowChoices | None:
        """Returns a row's choices; None where it has none. Raises UserError for values that are none."""
        found = _listed(row.get(self.column))
        if is_nothing(found):
            return None
        where = f"{where}: {self.column}"
        if isinstance(found, Mapping) and {"text", "label"} <= set(found):
            return _offer(found["text"], where, found["label"])
        if isinstance(found, Mapping):
            return _offer(list(found.values()), where, list(found))
        if isinstance(found, list | tuple) and all(isinstance(each, Mapping) for each in found):
            return _offer([each.get("text") for each in found], where, [each.get("label") for each in found])
        return _offer(found, where)


@dataclass(frozen=True)
class ChoicePerColumn(ChoiceColumns):
    """A column for each choice, named by letters or numbers; the last may be empty."""

    each: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names the columns that hold the choices."""
        return self.each

    @property
    def words(self) -> str:
        """Says in words what the columns hold."""
        return f"choices: {', '.join(self.each)}"

    @property
    def uncertain(self) -> bool:
        """Says whether other data may have such columns, too."""
        return len(self.each[0]) == 1

    def read(self, row: Mapping[str, Any], where: str) -> RowChoices | None:
        """Returns a row's choices; None where it has none. Raises UserError for values that are none."""
        values = [row.get(column) for column in self.each]
        while values and is_nothing(values[-1]):
            values.pop()
        if not values:
            return None
        own = [column[-1] for column in self.each]
        return _offer(values, where, own if own[0].isalpha() else None)


@dataclass(frozen=True)
class TargetChoices(ChoiceColumns):
    """These are choices with 1 beside the right one and 0 beside the others."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names the columns that hold the choices."""
        return (self.column,)

    @property
    def words(self) -> str:
        """Says in words what the columns hold."""
        return f"choices: {self.column}, in an order of their own in each row"

    @property
    def says_right(self) -> bool:
        """Says whether the choices themselves name the right one."""
        return True

    def read(self, row: Mapping[str, Any], where: str) -> RowChoices | None:
        """Returns a row's choices; None where it has none. Raises UserError for values that are none."""
        found, where = _listed(row.get(self.column)), f"{where}: {self.column}"
        if is_nothing(found):
            return None
        if not isinstance(found, Mapping) or not {"choices", "labels"} <= set(found):
            raise UserError(f"{where} is {shown(found)}; expected an object with choices and labels")
        offer, labels = _offer(found["choices"], where), list(found["labels"])
        if len(labels) != len(offer.texts) or sum(map(bool, labels)) != 1:
            raise UserError(f"{where} has {sum(map(bool, labels))} right choices; expected one")
        return shuffled(offer.texts, labels.index(next(filter(None, labels))))


@dataclass(frozen=True)
class RightAndWrongChoices(ChoiceColumns):
    """A column with the right answer, and one or several with wrong ones."""

    right: str
    wrong: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names the columns that hold the choices."""
        return (self.right, *self.wrong)

    @property
    def words(self) -> str:
        """Says in words what the columns hold."""
        return f"choices: {self.right} and {', '.join(self.wrong)}, in an order of their own in each row"

    @property
    def says_right(self) -> bool:
        """Says whether the choices themselves name the right one."""
        return True

    def read(self, row: Mapping[str, Any], where: str) -> RowChoices | None:
        """Returns a row's choices; None where it has none. Raises UserError for values that are none."""
        values = [_listed(row.get(column)) for column in self.wrong]
        wrong = [text for value in values for text in (value if isinstance(value, list | tuple) else [value])]
        wrong = [text for text in wrong if not is_nothing(text)]
        if not wrong:
            return None
        return shuffled(_offer([row.get(self.right), *wrong], where).texts, 0)


def choice_columns_of(rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns) -> ChoiceColumns | None:
    """Finds where the choices of these rows stand; None where they have none."""
    one = seen.first(IN_ONE)
    if one is not None and all(_are_choices(_listed(row.get(one))) for _, row in rows):
        return ListedChoices(one)
    target = seen.first(TARGETS)
    if target is not None:
        return TargetChoices(target)
    for start in WRONG:
        wrong = seen.series(start, "123456789")
        right = seen.first(RIGHT)
        if wrong and right:
            return RightAndWrongChoices(right, wrong)
    lists, right = seen.first(WRONG_LISTS), seen.first(("correct_answer", "correct answer"))
    if lists and right:
        return RightAndWrongChoices(right, (lists,))
    series = [(start, names, 2) for start in SERIES for names in (LETTERS, "0123456789", "123456789")]
    series += [(start, LETTERS, fewest) for start, fewest in LETTERED]
    found = next((each for start, names, least in series if len(each := seen.series(start, names)) >= least), None)
    return ChoicePerColumn(found) if found else None


def shuffled(texts: Sequence[str], right: int) -> RowChoices:
    """Puts them in an order that the texts themselves decide, so that the right one stands anywhere, and always
    there."""
    order = list(range(len(texts)))
    Random(f"choices/{'/'.join(sorted(texts))}").shuffle(order)
    return RowChoices(tuple(texts[place] for place in order), right=order.index(right))


def _offer(values: Any, where: str, labels: Any = None) -> RowChoices:
    if not isinstance(values, list | tuple) or not 2 <= len(values) <= MOST:
        raise UserError(f"{where} is {shown(values)}; expected 2 to {MOST} choices")
    texts = [answer_of(value, f"{where}, choice {place}").strip() for place, value in enumerate(values)]
    empty = next((place for place, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise UserError(f"{where}, choice {empty} is empty; expected text")
    own = [_OWN_LETTER.match(text) for text in texts]
    letters = [found[1].upper() for found in own if found]
    if "".join(letters) == ascii_uppercase[: len(texts)]:
        texts = [text[found.end() :] for text, found in zip(texts, own, strict=True) if found]
    named = tuple(str(label).strip().upper() for label in labels[: len(texts)]) if labels is not None else ()
    if named and (len(named) != len(texts) or len(set(named)) < len(named)):
        raise UserError(f"{where} has the labels {', '.join(named)} for {len(texts)} choices; expected one for each")
    return RowChoices(tuple(texts), named, are_numbers=all(isinstance(value, int | float) for value in values))


def _listed(value: Any) -> Any:
    """The list or object that a text spells, as JSON or as Python writes it."""
    return structure_of(value)


def _are_choices(value: Any) -> bool:
    """Says whether it could be the choices of a row, or says that the row has none."""
    if is_nothing(value):
        return True
    if isinstance(value, Mapping):
        lists = isinstance(value.get("text"), list | tuple) and isinstance(value.get("label"), list | tuple)
        return lists or (len(value) > 1 and all(len(str(key)) <= 2 for key in value))
    if not isinstance(value, list | tuple):
        return False
    return all(not isinstance(each, Mapping) or {"text", "label"} <= set(each) for each in value)
