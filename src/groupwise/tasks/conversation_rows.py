"""This module reads rows that hold a whole conversation: OpenAI's messages, ShareGPT's conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.tasks.golds import Structured, alternatives_of, answer_of
from groupwise.tasks.messages import conversation_of, learn_flags
from groupwise.tasks.prompt_completion import split_conversation
from groupwise.tasks.values import cell, truth_of
from groupwise.tasks.weights import Turns
from groupwise.types import Example


@dataclass(frozen=True)
class Messages:
    """This convention is OpenAI's and ShareGPT's: one conversation a row; where the assistant has the last word, that
    is the demonstration."""

    column: str = "messages"
    answer: str | None = None
    label: str | None = None
    """False in this column: the assistant's turns are no demonstration."""
    turns: Turns | None = None
    structured: Structured = "error"
    weighted: bool = False
    """Some messages say themselves whether they are learned."""

    @property
    def description(self) -> str:
        """Says in which column the conversation stands and which of its turns are learned, for a person."""
        learned = ", all turns of the assistant's" if self.turns == "all" else ""
        learned += ", learned or not as their weights say" if self.weighted else ""
        parts = [f"OpenAI messages{'' if self.column == 'messages' else f' in {self.column}'}{learned}"]
        parts += [f"where {self.label} is true"] if self.label else []
        return "; ".join([*parts, *([f"answer: {self.answer}"] if self.answer else [])])

    @property
    def used(self) -> tuple[str, ...]:
        """Returns the columns that are read."""
        return tuple(filter(None, (self.column, self.answer, self.label)))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Makes an example of a row's conversation. Raises UserError where it is none."""
        messages = conversation_of(cell(id, row, self.column), f"{id}: {self.column}")
        answer: str | None = None
        others: tuple[str, ...] = ()
        if self.answer:
            value, where = cell(id, row, self.answer), f"{id}: {self.answer}"
            answer = answer_of(value, where, self.structured)
            others = alternatives_of(value, where, self.structured)
        where = f"{id}: {self.column}"
        found = split_conversation(messages, learn_flags(row[self.column], where), where, self.turns)
        bad = self.label is not None and not truth_of(cell(id, row, self.label), f"{id}: {self.label}")
        completion, context = (None, ()) if bad else (found.completion, found.context_turns)
        bad = bad or found.is_bad
        return Example(id, found.prompt, completion, answer, dict(row), others, bad, context)
