"""This module reads rows of several answers with ranks, scores or a vote: the best and the worst of them are a pair."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.columns import ANSWERS, Columns
from groupwise.tasks.preference import Preference
from groupwise.tasks.values import cell, shown
from groupwise.types import Example
from groupwise.values.finite import is_finite
from groupwise.values.spelled import structure_of

Judged = list[tuple[Any, float]]
"""Answers, and how good each is."""

PAIR = ("chosen", "rejected")
LOOKED_AT = 20
_RATINGS = ("overall_score", "fine-grained_score", "score", "rating", "reward")
_NUMBER = re.compile(r"[-+]?[0-9]{1,12}(?:\.[0-9]{1,12})?")
_WINNERS = {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0), "a": (1.0, 0.0), "b": (0.0, 1.0)}


@dataclass(frozen=True)
class Shape:
    """A shape of rows that judge several answers."""

    prompt: str
    """The column of the question; empty: what the answers' conversations begin with."""
    columns: tuple[str, ...]
    """All of them tell the shape, and are read."""
    judged: Callable[[str, Mapping[str, Any]], Judged]


@dataclass(frozen=True)
class Ranked:
    """This convention has several answers to one prompt, and says how good each is: the best is chosen, the worst
    rejected. Where they are equally good the row is none to learn from."""

    shape: Shape

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        prompt = self.shape.prompt or "what the answers begin with"
        first, *beside = self.shape.columns
        said = f"ranked answers: {', '.join(self.shape.columns)}, the best and the worst are a pair; prompt: {prompt}"
        hint = f" (where {first} are all right, name it as answer_column)" if first == "answers" and beside else ""
        return said + hint

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return (*filter(None, [self.shape.prompt]), *self.shape.columns)

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        judged = self.shape.judged(id, row)
        if len(judged) < 2:
            raise UserError(f"{id}: {len(judged)} answers to compare; expected two and more")
        best, worst = max(judged, key=lambda one: one[1]), min(judged, key=lambda one: one[1])
        is_tie = best[1] == worst[1]
        pair = dict(zip(PAIR, (best[0], judged[-1][0] if is_tie else worst[0]), strict=True))
        prompt = (self.shape.prompt,) if self.shape.prompt else ()
        question = row.get(self.shape.prompt)
        told = {self.shape.prompt: question["full_text"]} if isinstance(question, Mapping) else {}
        found = Preference(prompt, *PAIR).example(id, {**row, **told, **pair})
        return replace(found, completion=None, is_bad=True) if is_tie else found


def ranked(rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns) -> Ranked | None:
    """Returns the convention of rows that judge several answers; None of others, of columns with these names whose
    first rows hold something else, and of rows that have a reference answer: samples beside it are no pairs."""
    names = set(seen.names)
    known = (
        shape
        for shape in SHAPES
        if {*shape.columns, *filter(None, [shape.prompt])} <= names
        and seen.first(ANSWERS, without=(shape.prompt, *shape.columns)) is None
    )
    return next((Ranked(shape) for shape in known if any(_fits(shape, *row) for row in rows[:LOOKED_AT])), None)


def _fits(shape: Shape, id: str, row: Mapping[str, Any]) -> bool:
    try:
        return len(shape.judged(id, row)) > 1
    except UserError:
        return False


def _number(value: Any, where: str) -> float:
    value = structure_of(value)
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)  # a cell of csv
    if not is_finite(value):
        raise UserError(f"{where} is {shown(value)}; expected a number")
    return float(value)


def _objects(column: str, text: str, ranks: Sequence[str], sign: float) -> Callable[[str, Mapping[str, Any]], Judged]:
    """A list of objects, each an answer with its rank or rating."""

    def judged(id: str, row: Mapping[str, Any]) -> Judged:
        listed = structure_of(cell(id, row, column))
        if not isinstance(listed, list | tuple) or not all(isinstance(one, Mapping) and text in one for one in listed):
            raise UserError(f"{id}: {column} is {shown(listed)}; expected objects with {text} and {ranks[0]}")
        known = next((name for name in ranks if all(one.get(name) is not None for one in listed)), ranks[0])
        where = f"{id}: {column}: {known}"
        return [(one[text], sign * _number(one.get(known), where)) for one in listed]

    return judged


def _lists(column: str, values: str, sign: float) -> Callable[[str, Mapping[str, Any]], Judged]:
    """A list of answers, and one of numbers beside it."""

    def judged(id: str, row: Mapping[str, Any]) -> Judged:
        answers, numbers = structure_of(cell(id, row, column)), structure_of(cell(id, row, values))
        fits = all(isinstance(one, list | tuple) for one in (answers, numbers)) and len(answers) == len(numbers)
        if not fits:
            raise UserError(f"{id}: {values} is {shown(numbers)}; expected a number for each of {column}")
        where = f"{id}: {values}"
        return [(text, sign * _number(one, where)) for text, one in zip(answers, numbers, strict=True)]

    return judged


def _sides(
    one: str, other: str, better: Callable[[str, Mapping[str, Any]], tuple[float, float]]
) -> Callable[[str, Mapping[str, Any]], Judged]:
    """Two columns of answers, and how good each is."""
    return lambda id, row: list(zip((cell(id, row, one), cell(id, row, other)), better(id, row), strict=True))


def _two_numbers(one: str, other: str) -> Callable[[str, Mapping[str, Any]], tuple[float, float]]:
    return lambda id, row: (_number(row.get(one), f"{id}: {one}"), _number(row.get(other), f"{id}: {other}"))


def _place(column: str, first: float, second: float) -> Callable[[str, Mapping[str, Any]], tuple[float, float]]:
    """The number of the better one."""

    def better(id: str, row: Mapping[str, Any]) -> tuple[float, float]:
        value = _number(row.get(column), f"{id}: {column}")
        if value not in (first, second):
            raise UserError(f"{id}: {column} is {shown(row.get(column))}; expected {first:g} or {second:g}")
        return float(value == first), float(value == second)

    return better


def _winner(id: str, row: Mapping[str, Any]) -> tuple[float, float]:
    """``model_a``, ``model_b`` or some kind of tie."""
    said = str(row.get("winner")).strip().lower()
    if said not in _WINNERS and not any(word in said for word in ("tie", "both_bad", "bothbad")):
        raise UserError(f"{id}: winner is {shown(row.get('winner'))}; expected model_a, model_b or tie")
    return _WINNERS.get(said, (0.0, 0.0))


def _strength(column: str) -> Callable[[str, Mapping[str, Any]], tuple[float, float]]:
    """HelpSteer's: from -3, the first is much better, to 3."""

    def better(id: str, row: Mapping[str, Any]) -> tuple[float, float]:
        value = _number(row.get(column), f"{id}: {column}")
        return -value, value

    return better


SHAPES = (
    Shape("prompt", ("answers",), _objects("answers", "answer", ("rank",), -1.0)),
    Shape("question", ("answers",), _objects("answers", "text", ("pm_score",), 1.0)),
    Shape("instruction", ("completions",), _objects("completions", "response", _RATINGS, 1.0)),
    Shape("prompt", ("completions", "rankings"), _lists("completions", "rankings", -1.0)),
    *(
        Shape(prompt, (answers, values), _lists(answers, values, sign))
        for prompt in ("prompt", "question", "instruction")
        for answers in ("responses", "completions", "answers")
        for values, sign in (("ranks", -1.0), ("rank", -1.0), ("scores", 1.0), ("ratings", 1.0), ("rewards", 1.0))
    ),
    Shape("prompt", ("response_0", "response_1", "better_response_id"),
          _sides("response_0", "response_1", _place("better_response_id", 0, 1))),
    Shape("prompt", ("response_a", "response_b", "winner_model_a", "winner_model_b"),
          _sides("response_a", "response_b", _two_numbers("winner_model_a", "winner_model_b"))),
    Shape("prompt", ("response_a", "response_b", "winner"), _sides("response_a", "response_b", _winner)),
    Shape("", ("conversation_a", "conversation_b", "winner"), _sides("conversation_a", "conversation_b", _winner)),
    Shape("context", ("response1", "response2", "overall_preference"),
          _sides("response1", "response2", _strength("overall_preference"))),
    Shape("prompt", ("response_1", "response_2", "preference_strength"),
          _sides("response_1", "response_2", _strength("preference_strength"))),
    Shape("question", ("answer_0", "answer_1", "score_0", "score_1"),
          _sides("answer_0", "answer_1", _two_numbers("score_0", "score_1"))),
    Shape("history", ("human_ref_A", "human_ref_B", "labels"),
          _sides("human_ref_A", "human_ref_B", _place("labels", 1, 0))),
)  # fmt: skip
"""Nectar, Stack Exchange, UltraFeedback, lists with ranks or scores, PKU-SafeRLHF, LMSYS, Arena, HelpSteer2 and 3,
WebGPT, SHP."""
