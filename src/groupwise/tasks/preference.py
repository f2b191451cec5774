"""This module reads preference rows: one prompt, a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.golds import Structured, answer_of
from groupwise.tasks.messages import (
    completion_of,
    conversation_of,
    is_conversation,
    learn_flags,
    mentions,
    prompt_of,
    unspelled,
)
from groupwise.tasks.values import cell, is_nothing, text_of
from groupwise.types import Example, Text

_ASSISTANT = ("\n\nAssistant:", "\nAssistant:")


@dataclass(frozen=True)
class Preference:
    """This convention has a chosen and a rejected completion after one prompt; without a column for it, it is what both
    begin with.

    What follows the prompt stands in ``Example.columns`` as ``chosen`` and ``rejected``: the text of the assistant's
    turn, or where they part earlier several messages that begin and end with it.
    """

    prompt: tuple[str, ...] = ()
    """Columns, joined by a blank line; those that are empty are left out."""
    chosen: str = "chosen"
    rejected: str = "rejected"
    answer: str | None = None
    structured: Structured = "error"

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        parts = [f"TRL preference: {self.chosen}, {self.rejected}"]
        parts += [f"prompt: {' + '.join(self.prompt) or 'what both begin with'}"]
        return "; ".join([*parts, *([f"answer: {self.answer}"] if self.answer else [])])

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return (*self.prompt, self.chosen, self.rejected, *([self.answer] if self.answer else []))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        names = (self.chosen, self.rejected)
        chosen, rejected = (unspelled(cell(id, row, name), f"{id}: {name}") for name in names)
        chosen, rejected = (_one(side, f"{id}: {name}") for side, name in zip((chosen, rejected), names, strict=True))
        said = [learn_flags(side, id) if is_conversation(side) else () for side in (chosen, rejected)]
        prompt: Text | None = joined_prompt(id, row, self.prompt) if self.prompt else None
        if prompt is None or opens_with_prompt(chosen):
            given = prompt
            prompt, chosen, rejected = common_prompt(chosen, rejected, id, names)
            if isinstance(given, str) and not isinstance(prompt, str) and not mentions(prompt, given):
                raise UserError(
                    f"{id}: {' + '.join(self.prompt)} is not what the conversations ask; expected one prompt: leave "
                    "the column out, or name it in ignore_columns"
                )
        sides = {
            "chosen": completion_of(chosen, f"{id}: {self.chosen}"),
            "rejected": completion_of(rejected, f"{id}: {self.rejected}"),
        }
        for name, side, own in zip(names, sides.values(), said, strict=True):
            if False in own[-1 if isinstance(side, str) else -len(side) :]:
                raise UserError(
                    f"{id}: {name}: a turn after the prompt has weight 0; a pair is learned from all of them"
                )
        answer = None
        if self.answer and not is_nothing(row.get(self.answer)):
            answer = answer_of(row[self.answer], f"{id}: {self.answer}", self.structured)
        return Example(id, prompt, sides["chosen"], answer, {**row, **sides})


def _one(side: Any, where: str) -> Any:
    """Returns the answer of a list of one text. Raises UserError for several (RewardBench 2)."""
    if not isinstance(side, list | tuple) or not side or not all(isinstance(each, str) for each in side):
        return side
    if len(side) > 1:
        raise UserError(
            f"{where} lists {len(side)} answers; expected one: write a row for each pair, or keep all answers in a "
            "column completions, and a column scores that says how good each is"
        )
    return side[0]


def joined_prompt(id: str, row: Mapping[str, Any], columns: Sequence[str]) -> Text:
    """Returns the prompt of one column, or the text of several. Raises UserError."""
    if len(columns) == 1:
        return prompt_of(cell(id, row, columns[0]), f"{id}: {columns[0]}")
    values = [cell(id, row, column) for column in columns]
    where = f"{id}: {' + '.join(columns)}"
    for column, value in zip(columns, values, strict=True):
        if not is_nothing(value) and not isinstance(value, str):
            text_of(value, f"{id}: {column}")
    return text_of("\n\n".join(value for value in values if not is_nothing(value)), where)


def opens_with_prompt(chosen: Any) -> bool:
    """Says whether a chosen conversation holds its prompt, too."""
    return is_conversation(chosen) and conversation_of(chosen[:1], "chosen")[0]["role"] != "assistant"


def common_prompt(
    chosen: Any, rejected: Any, id: str, names: tuple[str, str] = ("chosen", "rejected")
) -> tuple[Text, Any, Any]:
    """Returns what both begin with, and what follows it in each; a text is cut only where a word begins. Raises
    UserError where they have no common beginning, and where messages part at another's turn than the assistant's."""
    beginning = f"{id}: the common beginning of {names[0]} and {names[1]}"
    if isinstance(chosen, str) and isinstance(rejected, str):
        same = chosen[: _agreeing(chosen, rejected)]
        size = _end_of_dialogue(same) or len(same[: max(map(same.rfind, " \n\t")) + 1].rstrip())
        prompt: Text = text_of(chosen[:size], beginning)
        return prompt, chosen[size:], rejected[size:]
    ours, theirs = conversation_of(chosen, f"{id}: {names[0]}"), conversation_of(rejected, f"{id}: {names[1]}")
    size = _agreeing(ours[:-1], theirs[:-1])
    if size and {side[size]["role"] for side in (ours, theirs)} != {"assistant"}:
        raise UserError(
            f"{id}: {names[0]} and {names[1]} part at message {size}, which is not the assistant's in both; expected "
            "the same prompt, and then two answers"
        )
    return conversation_of(ours[:size], beginning), ours[size:], theirs[size:]


def _end_of_dialogue(same: str) -> int:
    """Where the last turn of the assistant's begins in a dialogue as text (HH): two answers may begin with the same
    words, which are no part of the prompt. 0 where it is none."""
    if not same.lstrip().startswith(("Human:", "User:")):
        return 0
    return max(same.rfind(mark) + len(mark) if mark in same else 0 for mark in _ASSISTANT)


def _agreeing(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items at the beginning are the same."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
