"""What an environment is told of a row, and what the row's model may call in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
