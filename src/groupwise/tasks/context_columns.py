"""This module reads what stands around a prompt in columns of its own: system message, history, context, tools,
template arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from groupwise.errors import UserError
from groupwise.tasks import columns
from groupwise.tasks.columns import Columns
from groupwise.tasks.messages import turns_of
from groupwise.tasks.values import is_nothing, shown, text_of
from groupwise.types import Example, Message, Text
from groupwise.values.spelled import structure_of


class Convention(Protocol):
    """A convention says how a row becomes an example."""

    @property
    def description(self) -> str:
        """Says in one line what was detected: what was detected."""
        ...

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that it reads."""
        ...

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Raises UserError, naming row and column, for what is missing, null, empty or of a wrong type."""
        ...


@dataclass(frozen=True)
class ContextColumns:
    """A convention, and the columns around its prompt. Cells that say nothing change nothing."""

    convention: Convention
    system: str | None = None
    """Becomes a system message before the conversation."""
    history: str | None = None
    """Becomes the turns before the prompt."""
    context: str | None = None
    """Stands before the question, a blank line between."""
    tools: str | None = None
    """Goes to the chat template, as the column ``tools``."""
    arguments: str | None = None
    """Goes to the chat template, as the column ``chat_template_kwargs``."""
    media: tuple[str, ...] = ()
    """Nothing here can show them: a row that has any is an error."""
    unused: tuple[str, ...] = ()
    """Columns whose names mean something and that nothing reads."""

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        around = {"system message": self.system, "earlier turns": self.history, "context": self.context}
        around |= {"tools": self.tools, "template arguments": self.arguments}
        parts = [self.convention.description, *(f"{what}: {column}" for what, column in around.items() if column)]
        return "; ".join([*parts, *([f"not used: {', '.join(self.unused)}"] if self.unused else [])])

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        around = (self.system, self.history, self.context, self.tools, self.arguments)
        return (*self.convention.used, *filter(None, around))

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        for column in self.media:
            if not is_nothing(row.get(column)):
                raise UserError(
                    f"{id}: {column} is not empty, and nothing here can show it to a model; take rows without it, or "
                    f"name the column in ignore_columns where the question needs none"
                )
        found = self.convention.example(id, row)
        around = dict(found.columns)
        if self.tools and (tools := _objects(row.get(self.tools), f"{id}: {self.tools}")) is not None:
            around[columns.TOOLS[0]] = tools
        if self.arguments and (arguments := row.get(self.arguments)) is not None:
            around[columns.ARGUMENTS[0]] = _arguments(arguments, f"{id}: {self.arguments}")
        return replace(found, prompt=self._prompt(id, row, found.prompt), columns=around)

    def _prompt(self, id: str, row: Mapping[str, Any], prompt: Text) -> Text:
        said = {name: row.get(name) for name in (self.context, self.history, self.system) if name}
        said = {name: value for name, value in said.items() if not is_nothing(value)}
        if self.context in said:
            prompt = _with_context(prompt, _texts(said[self.context], f"{id}: {self.context}"))
        if self.history in said:
            turns = turns_of(said[self.history], f"{id}: {self.history}")
            prompt = _before(prompt, turns)
        if self.system in said:
            prompt = _with_system(prompt, text_of(said[self.system], f"{id}: {self.system}"), f"{id}: {self.system}")
        return prompt


def with_context_columns(convention: Convention, seen: Columns) -> Convention:
    """Returns a convention with the columns around its prompt, and those whose names mean something and that it
    leaves."""
    used = convention.used
    media = seen.of(columns.MEDIA, used)
    names = (columns.SYSTEM, columns.HISTORY, columns.CONTEXT, columns.TOOLS, columns.ARGUMENTS)
    system, history, context, tools, arguments = (seen.first(each, without=used) for each in names)
    unused = seen.of(columns.MEANINGFUL, (*used, *filter(None, (system, history, context))))
    if not any((system, history, context, tools, arguments, media, unused)):
        return convention
    return ContextColumns(convention, system, history, context, tools, arguments, media, unused)


def _messages(prompt: Text) -> tuple[Message, ...]:
    return ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt


def _with_system(prompt: Text, system: str, where: str) -> Text:
    messages = _messages(prompt)
    if messages[0]["role"] != "system":
        return ({"role": "system", "content": system}, *messages)
    if messages[0]["content"].strip() != system.strip():
        raise UserError(f"{where}: the conversation has another system message already; expected one of them")
    return prompt


def _before(prompt: Text, turns: tuple[Message, ...]) -> Text:
    messages = _messages(prompt)
    first = 1 if messages[0]["role"] == "system" and turns[0]["role"] != "system" else 0
    return (*messages[:first], *turns, *messages[first:])


def _with_context(prompt: Text, context: str) -> Text:
    if isinstance(prompt, str):
        return prompt if context in prompt else f"{context}\n\n{prompt}"
    asked = max((place for place, message in enumerate(prompt) if message["role"] == "user"), default=None)
    if asked is None or any(context in message["content"] for message in prompt):
        return prompt
    question = {**prompt[asked], "content": f"{context}\n\n{prompt[asked]['content']}"}
    return (*prompt[:asked], question, *prompt[asked + 1 :])


def _texts(value: Any, where: str) -> str:
    value = structure_of(value)
    if isinstance(value, list | tuple):
        return "\n\n".join(text_of(each, f"{where}[{number}]") for number, each in enumerate(value))
    if isinstance(value, Mapping):
        raise UserError(
            f"{where} is an object with the fields {', '.join(map(str, value))}; expected text or a list of texts: "
            "write it out, or name the column in ignore_columns where the question needs none"
        )
    return text_of(value, where)


def _objects(value: Any, where: str) -> list[Any] | None:
    """A list of objects; None where there are none."""
    value = structure_of(value)
    if is_nothing(value):
        return None
    if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
        return list(value)
    raise UserError(f"{where} is {shown(value)}; expected a list of JSON schemas")


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """Without those that are null: tables made by arrow have every name in every row."""
    value = structure_of(value)
    if is_nothing(value):
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {shown(value)}; expected an object of arguments for the chat template")
    return {name: argument for name, argument in value.items() if argument is not None}
