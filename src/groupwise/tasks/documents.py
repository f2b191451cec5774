"""This convention is plain text: a document a row, in a column ``text``, with nothing that is asked or answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.columns import Columns
from groupwise.tasks.values import shown
from groupwise.types import Example

TEXTS = ("text", "content", "raw_content")
"""Usual names of the column, where a file has neither prompts nor answers."""

BESIDE = ("code", "test", "tests", "test_list", "label", "labels", "choices", "options", "endings")
"""Beside one of these a text is a question."""


@dataclass(frozen=True)
class PlainText:
    """A row is a document, to be read from its first letter to its last (``Example.is_document``)."""

    column: str

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return f"documents: {self.column}"

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return (self.column,)

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """The row as an example without a prompt. Raises UserError for a cell that is no text."""
        text = row.get(self.column)
        text = "" if text is None else text  # a page may be empty, and is then passed over
        if not isinstance(text, str):
            raise UserError(f"{id}: {self.column} is {shown(text)}; expected text")
        others = {name: value for name, value in row.items() if name != self.column}
        return Example(id, "", text, columns=others)


def plain_text(seen: Columns) -> PlainText | None:
    """The convention where a file has such a column; None where it has none, or one that makes the text a question."""
    column = None if seen.first(BESIDE) else seen.first(TEXTS)
    return None if column is None else PlainText(column)
