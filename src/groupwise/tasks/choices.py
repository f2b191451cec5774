"""This module reads questions with choices: ARC, MMLU, HellaSwag and their kind become a question with lettered
choices, and a letter.

    Which gas do plants take in?

    A. oxygen
    B. carbon dioxide

The gold is ``B``, whatever the file calls it: its letter, its place, its label or its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.tasks import columns as usual
from groupwise.tasks.choice_columns import ChoiceColumns, RowChoices, choice_columns_of
from groupwise.tasks.columns import Columns
from groupwise.tasks.context_columns import Convention
from groupwise.tasks.preference import joined_prompt
from groupwise.tasks.values import cell, is_nothing, place_of, shown, text_of
from groupwise.types import Example, Text

STEMS = (*usual.PROMPTS, "question_stem", "ctx", "sentence", "goal", "startphrase", "stem", "premise")
BEFORE = ("article", "document", "paragraph", "story", "premise")
"""Without these a question about them cannot be answered."""
GOLDS = (
    *("answerkey", "answer_key", "answer_letter", "correct_letter", "answer", "gold", "correct", "correct_answer"),
    *("answer_idx", "answer_index", "correct_option", "correct_index", "correct_choice", "correct_answer_idx"),
    *("cop", "label", "gold_index", "answer_label", "target", "final_answer", "ground_truth", "expected_answer"),
)
By = Literal["letter", "place", "text", "any"]
"""A gold is the letter or the label of a choice, its place, its text; or in each row another of them."""
WAYS: tuple[By, ...] = ("letter", "place", "text")
_LETTERED = re.compile(r"\(?([A-Z])(?:[).:、．]\s*(.*)|\s*)", re.DOTALL)


@dataclass(frozen=True)
class Choices:
    """A question, its choices and which of them is right."""

    stem: tuple[str, ...]
    offers: ChoiceColumns
    gold: str | None
    """None: the choices' own column says which is right, or nothing does."""
    completion: str | None = None
    """Learned by demonstration; None: the letter is."""
    by: By = "any"
    """What golds are."""
    first: int = 0
    """What a gold that is a place calls the first choice."""
    otherwise: Convention | None = None
    """Of rows that have no choices."""

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        parts = [f"prompt: {' + '.join(self.stem)} and lettered choices", self.offers.words]
        parts += [f"completion: {self.completion}"] if self.completion else []
        counted = f", counted from {self.first}" if self.by == "place" else ""
        said = f"{self.gold}{counted}" if self.gold else "the right one" if self.offers.says_right else "none is named"
        return "; ".join([*parts, f"answer, a letter: {said}"])

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return tuple(filter(None, (*self.stem, *self.offers.columns, self.gold, self.completion)))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        offer = self.offers.read(row, id)
        if offer is None:
            if self.otherwise is None:
                raise UserError(f"{id}: {', '.join(self.offers.columns)} is empty; expected choices")
            return self.otherwise.example(id, row)
        right = offer.right if self.gold is None else self._right(id, row, offer)
        answer = None if right is None else ascii_uppercase[right]
        completion = answer
        if self.completion is not None:
            value = row.get(self.completion)
            completion = None if is_nothing(value) else text_of(value, f"{id}: {self.completion}")
        return Example(id, with_choices(joined_prompt(id, row, self.stem), offer.texts), completion, answer, dict(row))

    def _right(self, id: str, row: Mapping[str, Any], offer: RowChoices) -> int:
        value, where = cell(id, row, str(self.gold)), f"{id}: {self.gold}"
        if is_nothing(value) or place_of(value) == -1:
            raise UserError(
                f"{where} is {shown(value)}: no choice is named as right, as in the test split of a public set; take a "
                "split with answers"
            )
        found = places_of(value, offer, self.first)
        chosen = {found[self.by]} if self.by in found else set(found.values()) if self.by == "any" else set()
        if len(chosen) == 1:
            return chosen.pop()
        letters = ", ".join(offer.labels or ascii_uppercase[: len(offer.texts)])
        if chosen:
            both = " or ".join(ascii_uppercase[place] for place in sorted(chosen))
            raise UserError(f"{where} is {shown(value)}, which may mean the choice {both}; expected one of {letters}")
        last = len(offer.texts) - 1 + self.first
        raise UserError(
            f"{where} is {shown(value)}; expected one of {letters}, a number from {self.first} to {last}, or the text "
            f"of a choice; to read rows without them name {', '.join(self.offers.columns)} in ignore_columns"
        )


def choices_of(
    rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns, named: tuple[str, ...], gold: str | None
) -> Choices | None:
    """Says how questions with choices are read; None where the rows have none, or no question. ``named`` and ``gold``
    are the columns that the caller names."""
    offers = choice_columns_of(rows, seen)
    stem = named or tuple(filter(None, [seen.first(STEMS)]))
    if offers is None or not stem or set(stem) & set(offers.columns):
        return None
    before = seen.first(BEFORE, without=stem)
    stem = stem if named or before is None else (before, *stem)
    plain = Choices(stem, offers, None, seen.first(usual.COMPLETIONS, without=(*stem, *offers.columns)))
    if offers.says_right and gold is None:
        return plain
    columns = _golds(seen, gold, stem, offers)
    tried = [found for column in columns if (found := _read_as(replace(plain, gold=column), rows))]
    if not tried and offers.uncertain:
        return None
    return next(iter(tried), replace(plain, gold=next(iter(columns), None)))


def with_choices(prompt: Text, texts: Sequence[str]) -> Text:
    """The question with a line for each choice, unless it holds them already, each behind its letter."""
    if not isinstance(prompt, str):
        asked = max((place for place, message in enumerate(prompt) if message["role"] == "user"), default=0)
        shown_here = {**prompt[asked], "content": str(with_choices(prompt[asked]["content"], texts))}
        return (*prompt[:asked], shown_here, *prompt[asked + 1 :])
    lettered = list(zip(ascii_uppercase, texts, strict=False))
    if all(re.search(rf"(?<![A-Za-z]){letter}\s?[).:、．]\s*{re.escape(text)}", prompt) for letter, text in lettered):
        return prompt
    return "\n".join([f"{prompt}\n", *(f"{letter}. {text}" for letter, text in lettered)])


def places_of(value: Any, offer: RowChoices, first: int) -> dict[By, int]:
    """The choice that a gold means where it is a letter or the row's own label, a text, a place; each where it can."""
    if isinstance(value, list | tuple):
        return places_of(value[0], offer, first) if len(value) == 1 else {}
    if isinstance(value, bool):
        return {}
    text, number = str(value).strip(), place_of(value)
    found: dict[By, int] = {}
    letters = offer.labels or tuple(ascii_uppercase[: len(offer.texts)])
    lettered = _LETTERED.fullmatch(text.removeprefix("Option ").removeprefix("option "))
    if text.upper() in letters:
        return {"letter": letters.index(text.upper())}
    if lettered and lettered[1] in letters:
        place = letters.index(lettered[1])
        if lettered[2] in (None, "", offer.texts[place]):
            found["letter"] = place
    if offer.texts.count(text) == 1 and (offer.are_numbers or isinstance(value, str)):
        found["text"] = offer.texts.index(text)
    if isinstance(number, int) and 0 <= number - first < len(offer.texts):
        found["place"] = number - first
    return found


def _golds(seen: Columns, gold: str | None, stem: Sequence[str], offers: ChoiceColumns) -> list[str]:
    """Columns that may name the right choice, the likeliest first."""
    if gold is not None:
        return [gold]
    names = (seen.first((name,), without=(*stem, *offers.columns)) for name in GOLDS)
    return list(dict.fromkeys(filter(None, names)))


def _read_as(choices: Choices, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Choices | None:
    """With what the golds of all rows are; None where a row has none, or one that is nothing of it.

    Raises UserError where all rows could be read in two ways that differ.
    """
    pairs = [(row.get(str(choices.gold)), choices.offers.read(row, id)) for id, row in rows]
    asked = [(value, offer) for value, offer in pairs if offer is not None]
    if any(is_nothing(value) for value, _ in asked):
        return None
    first = _first(choices.offers, asked)
    found = [places_of(value, offer, first) for value, offer in asked]
    ways: list[By] = [by for by in WAYS if all(by in each for each in found)]
    differ = next((row for row, each in enumerate(found) if len({each[by] for by in ways}) > 1), None)
    if differ is not None:
        value = asked[differ][0]
        raise UserError(
            f"{choices.gold} {shown(value)} is the text of a choice, and the place of another, in all rows; write "
            "letters into it"
        )
    if ways:
        return replace(choices, by=ways[0], first=first)
    return replace(choices, first=first) if all(len(set(each.values())) == 1 for each in found) else None


def _first(offers: ChoiceColumns, asked: Sequence[tuple[Any, RowChoices]]) -> int:
    """The number that golds call the first choice: 0 where one of them is 0, 1 where one is the count of its row's
    choices; where neither is seen, 1 for columns that are numbered from 1, else 0."""
    numbers = [(place_of(value), len(offer.texts)) for value, offer in asked]
    if any(number == 0 for number, _ in numbers):
        return 0
    own = len(offers.columns) > 1 and offers.columns[0].endswith("1")
    return int(own or any(number == count for number, count in numbers))
