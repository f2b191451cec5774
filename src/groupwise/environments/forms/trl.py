"""This module plays environments of TRL: a class with ``reset(**row)``, whose other public methods are tools, and
perhaps ``get_reward()``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from groupwise.environments.arguments import Schema
from groupwise.environments.plain import WrongWordsError, result, shortened
from groupwise.environments.protocol import Ended, Reply, Utterance, beside
from groupwise.environments.results import result_of
from groupwise.environments.schemas import name_of, schema_of
from groupwise.environments.tool import FunctionTool, Tool, value_of
from groupwise.environments.tools import Episode, Toolbox, Tools, driven
from groupwise.errors import UserError

NO_TOOLS = ("reset", "get_reward")
ROUTE = "environment"
"""The column that names a row's environment, where there are several."""


@dataclass(frozen=True)
class TRL:
    """This is TRL's ``environment_factory``: one, or several by name, which a row's column ``environment`` chooses
    from.

    One instance an episode. What ``reset`` says goes behind the prompt's last message. Where the environment has no
    ``get_reward``, the task's rewards judge; ``rewards`` are such that ask for ``environments``, and are called where
    the environment is.
    """

    factory: Callable[[], Any] | Mapping[str, Callable[[], Any]]
    rewards: Sequence[Callable[..., Any]] = ()
    limits: Tools = field(default_factory=lambda: Tools(()))

    @property
    def judges(self) -> bool:
        """Says whether it says how good an episode was."""
        made = self.factory.values() if isinstance(self.factory, Mapping) else [self.factory]
        return bool(self.rewards) or any(hasattr(each, "get_reward") or not inspect.isclass(each) for each in made)

    def schemas(self, row: Mapping[str, Any]) -> list[Schema]:
        """Returns what the model of a row may call, for the chat template."""
        return list(self._schemas(row).values())

    def __call__(self, row: Mapping[str, Any], random: Random) -> Episode:
        instance = self._factory(row)()
        tools = [FunctionTool(getattr(instance, name), schema) for name, schema in self._schemas(row).items()]
        functions = [*(tool.function for tool in tools), instance.reset, getattr(instance, "get_reward", None)]
        is_async = any(map(inspect.iscoroutinefunction, functions))
        talk = self._talk(instance, tools, row, is_async)
        return talk if is_async else driven(talk)

    async def _talk(
        self, instance: Any, tools: Sequence[Tool], row: Mapping[str, Any], is_async: bool
    ) -> AsyncGenerator[Utterance | Ended, Reply]:
        given = {name: value for name, value in row.items() if name != ROUTE or not isinstance(self.factory, Mapping)}
        opening = instance.reset(**_accepted(instance.reset, given))
        opening = await value_of(opening)
        toolbox = Toolbox(tools, None, self.limits)
        completion: list[dict[str, Any]] = []
        try:
            reply = yield None if opening is None else result_of(opening).text
            while reply.calls or reply.malformed:
                completion.append(_turn(reply))
                said, ended = await toolbox.answers(reply, is_async)
                completion += [{"role": each.role, "content": each.text, "name": each.name} for each in said]
                if ended is not None:
                    break
                reply = yield said
            else:
                completion.append(_turn(reply))
            returned = toolbox.returned() | await self._scores(instance, row, completion)
        finally:
            if _closes(instance):
                await value_of(instance.close())
        yield Ended(returned)

    async def _scores(self, instance: Any, row: Mapping[str, Any], completion: list[dict[str, Any]]) -> dict[str, Any]:
        values: dict[str, float | None] = {}
        given: Mapping[str, Any] = {}
        if hasattr(instance, "get_reward"):
            given = result(await value_of(instance.get_reward()))
            values["get_reward"] = given["value"]
        for function in self.rewards:
            columns = {name: [value] for name, value in row.items()}
            offered = {
                **columns,
                "environments": [instance],
                "prompts": columns.get("prompt"),
                "completions": [completion],
            }
            name, scores = name_of(function), await value_of(function(**_accepted(function, offered)))
            if not hasattr(scores, "__len__") or len(scores) != 1:
                raise WrongWordsError(f"the reward {name} gave {shortened(scores)}; expected a list of one")
            values[name] = result(scores[0])["value"]
        told = {name: float(value) for name, value in values.items() if value is not None}
        more = given.get("logged", {}) | {name: given[name] for name in ("success",) if name in given}
        named = {beside(name, "rewards/"): value for name, value in told.items()}
        return {**more, **named, "reward": sum(told.values())} if told else {**more}

    def _schemas(self, row: Mapping[str, Any]) -> dict[str, Schema]:
        key = str(row.get(ROUTE)) if isinstance(self.factory, Mapping) else ""
        if key not in self._known:
            self._known[key] = _methods(self._factory(row)())
        return self._known[key]

    @cached_property
    def _known(self) -> dict[str, dict[str, Schema]]:
        return {}

    def _factory(self, row: Mapping[str, Any]) -> Callable[[], Any]:
        if not isinstance(self.factory, Mapping):
            return self.factory
        name = row.get(ROUTE)
        if name not in self.factory:
            raise UserError(
                f"the row's column {ROUTE} is {str(name)[:60]!r}; expected one of {', '.join(map(str, self.factory))}"
            )
        return self.factory[str(name)]


def _methods(instance: Any) -> dict[str, Schema]:
    """The public methods of an instance that are tools, by name. Raises UserError for one without types or words."""
    found = inspect.getmembers(type(instance), lambda each: inspect.isfunction(each) or inspect.ismethod(each))
    names = [name for name, _ in found if name[0] != "_" and name not in NO_TOOLS]
    return {name: schema_of(getattr(instance, name)) for name in names if not (name == "close" and _closes(instance))}


def _closes(instance: Any) -> bool:
    """Says whether it has a method close without a word of what it does: it is no tool."""
    close = getattr(instance, "close", None)
    return callable(close) and not close.__doc__


def _accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in parameters}


def _turn(reply: Reply) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in reply.calls]
    return {"role": "assistant", "content": str(reply), **({"tool_calls": calls} if calls else {})}
