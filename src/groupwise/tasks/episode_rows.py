"""This module says what an environment is told of a row, and what the row's model may call in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from groupwise.environments.as_environment import schemas_of
from groupwise.environments.protocol import Environment
from groupwise.tokens.calls import TOOLS
from groupwise.types import Example


def row_of(example: Example) -> dict[str, Any]:
    """A row's columns, and its prompt and answer under these names."""
    prompt = example.prompt if isinstance(example.prompt, str) else [dict(message) for message in example.prompt]
    return {"prompt": prompt, "answer": example.answer} | dict(example.columns)


def with_tools(example: Example, environment: Environment) -> Example:
    """The example with a column of what its environment lets the model call, which the chat template reads."""
    schemas = schemas_of(environment, row_of(example))
    return replace(example, columns={**example.columns, TOOLS: schemas}) if schemas else example


@dataclass(frozen=True)
class RowsWithTools(Sequence[Example]):
    """The rows of an environment that has tools, each with its column of them once it is asked for: demonstrations and
    prompts show a model the same tools."""

    rows: Sequence[Example]
    environment: Environment

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [with_tools(row, self.environment) for row in self.rows[index]]
        return with_tools(self.rows[index], self.environment)


def rows_with_tools(rows: Sequence[Example], environment: Environment) -> Sequence[Example]:
    """The rows as the environment's model is asked with them; as they are where it has no tools."""
    if isinstance(rows, RowsWithTools) or not hasattr(environment, "schemas") or not len(rows):
        return rows
    return RowsWithTools(rows, environment)
