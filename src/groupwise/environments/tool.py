"""A tool is a plain typed function, or an object that lives as long as an episode (verl's ``BaseTool``)."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from groupwise.environments.arguments import Schema, function_of
from groupwise.environments.hints import built, hints_of, is_built
from groupwise.environments.schemas import name_of, schema_of
from groupwise.errors import UserError
from groupwise.values.spelled import structure_of

FORMS = (
    "a plain function with type hints and a docstring with a section Args:, an object with execute(instance_id, "
    "parameters) and tool_schema (verl's BaseTool), or an MCP server (gw.environments.MCP)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class Use(Protocol):
    """A tool in one episode. What its methods return may have to be awaited."""

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Runs the tool, and returns what ``results.result_of`` reads."""
        ...

    def close(self) -> Any:
        """Returns the tool's reward for the whole episode, or None. It is called once, last."""
        ...


class Tool(Protocol):
    """A tool is what a model may call."""

    @property
    def schema(self) -> Schema:
        """Returns the JSON schema that the model is shown."""

    @property
    def is_async(self) -> bool:
        """Says whether its calls are awaited: those of one turn then run side by side."""
        ...

    def begin(self, settings: Mapping[str, Any]) -> Use:
        """The tool for one episode; ``settings`` are the row's own (``create_kwargs`` and its like)."""
        ...


@dataclass(frozen=True)
class FunctionTool:
    """This tool is a function, which keeps nothing of an episode."""

    function: Callable[..., Any]
    schema: Schema

    @property
    def is_async(self) -> bool:
        """Says whether its calls are awaited."""
        return awaits(self.function)

    def begin(self, settings: Mapping[str, Any]) -> Use:
        """Returns itself: a function keeps nothing from episode to episode."""
        return self

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Calls the function with the arguments that the model gave and returns what it says."""
        kinds = self._kinds
        made = {name: built(kinds[name], value) if name in kinds else value for name, value in arguments.items()}
        return self.function(**made)

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        """The hints of arguments that JSON has no word for."""
        return {name: hint for name, hint in hints_of(self.function).items() if is_built(hint)}

    def close(self) -> None:
        """Does nothing: a function gives no reward of its own."""
        return None


@dataclass(frozen=True)
class ObjectTool:
    """An object with ``create``, ``execute``, ``calc_reward`` and ``release``: one instance an episode, made at its
    first call. ``extra_info.tools_kwargs`` of a row has ``{name: {"create_kwargs": {...}, "execute_kwargs": ...}}``."""

    tool: Any
    schema: Schema

    @property
    def is_async(self) -> bool:
        """Says whether its calls are awaited."""
        return any(awaits(getattr(self.tool, name, None)) for name in ("create", "execute", "calc_reward", "release"))

    def begin(self, settings: Mapping[str, Any]) -> Use:
        """Returns an object of its own for the episode."""
        return _Instance(self.tool, settings)


@dataclass
class _Instance:
    """This is one episode's use of a tool, which is created when it is first called."""

    tool: Any
    settings: Mapping[str, Any]
    made: list[Any] = field(default_factory=list)

    async def call(self, arguments: Mapping[str, Any]) -> Any:
        if not self.made:
            self.made.append(await self._create())
        given = self._given("execute_kwargs", self.tool.execute, agent_data=None)
        return await value_of(self.tool.execute(self.made[0], dict(arguments), **given))

    async def close(self) -> Any:
        if not self.made:
            return None
        reward = None
        if hasattr(self.tool, "calc_reward"):
            given = self._given("calc_reward_kwargs", self.tool.calc_reward)
            reward = await value_of(self.tool.calc_reward(self.made[0], **given))
        if hasattr(self.tool, "release"):
            await value_of(self.tool.release(self.made[0], **self._given("release_kwargs", self.tool.release)))
        return reward

    async def _create(self) -> Any:
        if not hasattr(self.tool, "create"):
            return "0"
        own = dict(self.settings.get("create_kwargs") or {})
        made = await value_of(self.tool.create(**_accepted(self.tool.create, {"create_kwargs": own, **own})))
        return made[0] if isinstance(made, tuple) and made else made

    def _given(self, kind: str, function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
        named = inspect.signature(function).parameters
        own = dict(self.settings.get(kind) or {})
        return {**{name: value for name, value in offered.items() if name in named}, **own}


def tool_of(given: Any) -> Tool:
    """A function or one of the other forms as a tool. Raises UserError, with the forms, for anything else."""
    if hasattr(given, "begin") and hasattr(given, "schema"):
        found: Tool = given
    elif inspect.isclass(given):
        raise UserError(
            f"tool {given.__name__} is a class; a class with reset() is an environment (environment=), and of a tool "
            "class an instance is expected"
        )
    elif hasattr(given, "execute") and (hasattr(given, "tool_schema") or hasattr(given, "get_openai_tool_schema")):
        schema = given.tool_schema if hasattr(given, "tool_schema") else given.get_openai_tool_schema()
        found = ObjectTool(given, _plain(schema))
    elif hasattr(given, "fn") and hasattr(given, "tool_schema"):  # what verl's @function_tool registers
        found = FunctionTool(given.fn, _plain(given.tool_schema))
    elif callable(given):
        found = FunctionTool(given, schema_of(given))
    else:
        raise UserError(f"a tool is {type(given).__name__} {str(given)[:60]!r}; expected {FORMS}")
    name = function_of(found.schema).get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"tool {name_of(given)}: its name is {str(name)[:80]!r}; expected at most 64 letters, digits, _ . or -"
        )
    return found


def tools_of(given: Any) -> tuple[Tool, ...]:
    """Of a sequence of tools and of servers that have several, each tool once. Raises UserError."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise UserError(f"tools is {type(given).__name__}; expected a list, of {FORMS}")
    found: list[Tool] = []
    for each in given:
        several = hasattr(each, "tools") and callable(each.tools)
        found += tools_of(each.tools()) if several else [tool_of(each)]
    names = [function_of(tool.schema)["name"] for tool in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"two tools are called {twice}; expected another name for each")
    return tuple(found)


def settings_of(row: Mapping[str, Any], name: str) -> Any:
    """Returns verl's ``extra_info.tools_kwargs`` or ``extra_info.tool_selection`` of a row, or the column of that
    name."""
    extra = structure_of(row.get("extra_info"))
    found = row.get(name) if row.get(name) is not None else (extra.get(name) if isinstance(extra, Mapping) else None)
    return structure_of(found)


async def value_of(given: Any) -> Any:
    """Returns what was returned, awaited where it has to be."""
    return await given if inspect.isawaitable(given) else given


def awaits(function: Any) -> bool:
    """Says whether a function's calls are coroutines."""
    while isinstance(function, functools.partial):
        function = function.func
    is_object = not inspect.isroutine(function) and callable(function)
    return inspect.iscoroutinefunction(function.__call__ if is_object else function)


def _accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in parameters}


def _plain(schema: Any) -> Schema:
    """A schema as a plain dictionary; verl's is a pydantic model."""
    found = schema.model_dump(exclude_none=True) if hasattr(schema, "model_dump") else schema
    if not isinstance(found, Mapping):
        raise UserError(f"a tool's schema is {type(found).__name__}; expected a JSON schema of a function")
    return found
