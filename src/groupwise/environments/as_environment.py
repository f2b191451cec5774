"""This module takes anything that somebody wrote as an environment as one: by what it has, without its package."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from groupwise.environments.arguments import Schema
from groupwise.environments.forms.gymnasium import Gymnasium
from groupwise.environments.forms.openenv import OpenEnv
from groupwise.environments.forms.openrlhf import OpenRLHF
from groupwise.environments.forms.skyrl_gym import SkyRLGym
from groupwise.environments.forms.textarena import TextArena
from groupwise.environments.forms.trl import TRL
from groupwise.environments.plain import raised
from groupwise.environments.protocol import Ended, Environment, Reply, Says, Utterance
from groupwise.environments.schemas import name_of
from groupwise.environments.tools import Episode, Toolbox, Tools, driven
from groupwise.errors import UserError

FORMS = (
    "a generator function f(row, random) that yields what it says and returns the reward, sync or async; a TRL class "
    "with reset(**row) and public methods as tools, or several by name; a Gymnasium environment (reset(seed=), "
    "step(action) with five values); a TextArena game (reset(num_players, seed), get_observation()); a SkyRL-gym "
    "environment (init(prompt), step(text) with a dictionary); an OpenRLHF agent (async reset(states), step(states)); "
    "a function that makes one of these; an id such as gymnasium:FrozenLake-v1, textarena:GuessTheNumber-v0, "
    "skyrl_gym:gsm8k; an OpenEnv server's URL"
)


def as_environment(given: Any, tools: Sequence[Any] = (), rewards: Sequence[Callable[..., Any]] = ()) -> Environment:
    """An environment of any of the forms; ``tools`` may be called in it, or are all of it where ``given`` is None.

    ``rewards`` are TRL's that ask for ``environments``. Raises UserError, with the forms, for anything else.
    """
    if given is None:
        if not tools:
            raise UserError(f"no environment and no tools; expected {FORMS}")
        return Tools(tools)
    found = _of(given)
    if rewards:
        if not isinstance(found, TRL):
            raise UserError(f"reward '{name_of(rewards[0])}' asks for environments, which only TRL's classes are")
        found = TRL(found.factory, tuple(rewards))
    return WithTools(found, Tools(tools)) if tools else found


@dataclass(frozen=True)
class NamedEnvironment:
    """This is an environment with what metrics call it, and whether it gives rewards itself."""

    name: str
    environment: Environment
    judges: bool = True


def resolved(given: Any, tools: Sequence[Any] = (), rewards: Sequence[Callable[..., Any]] = ()) -> NamedEnvironment:
    """The environment of a task, with a name. Raises UserError for what is none."""
    name = "tools" if given is None else given if isinstance(given, str) else "environments"
    if given is not None and not isinstance(given, str | Mapping):
        name = name_of(given.factory if isinstance(given, TRL) and callable(given.factory) else given)
    found = as_environment(given, tools, rewards)
    inner = found.environment if isinstance(found, WithTools) else found
    return NamedEnvironment(name, found, inner.judges if isinstance(inner, Tools | TRL) else True)


def schemas_of(environment: Any, row: Mapping[str, Any]) -> list[Schema]:
    """Returns what a model may call in a row's episode, for the chat template; empty where nothing. Raises UserError
    where the environment has to be made for that, and cannot be."""
    if not hasattr(environment, "schemas"):
        return []
    try:
        return list(environment.schemas(row))
    except UserError:
        raise
    except Exception as error:  # whatever a user's class raises when it is made
        maker = getattr(environment, "factory", environment)
        name = "environment" if isinstance(maker, Mapping) else f"environment {name_of(maker)}"
        raise UserError(
            f"the {name} cannot be made, which says what a model may call: {raised(error, maker)}; expected a class "
            "that is made without arguments, or a function that makes one"
        ) from error


@dataclass(frozen=True)
class WithTools:
    """An environment in which tools may be called: it hears a turn only when that calls none of them."""

    environment: Any
    tools: Tools

    def schemas(self, row: Mapping[str, Any]) -> list[Schema]:
        """Returns what the model of a row may call, for the chat template."""
        return [*self.tools.schemas(row), *schemas_of(self.environment, row)]

    def __call__(self, row: Mapping[str, Any], random: Random) -> Episode:
        inner = self.environment(row, random)
        toolbox = Toolbox(self.tools.selected(row), None, self.tools)
        is_async = inspect.isasyncgen(inner) or any(tool.is_async for tool in toolbox.tools)
        talk = self._talk(inner, toolbox, is_async)
        return talk if is_async else driven(talk)

    async def _talk(self, inner: Any, toolbox: Toolbox, is_async: bool) -> AsyncGenerator[Utterance | Ended, Reply]:
        names = {str(schema["function"]["name"]) for schema in (tool.schema for tool in toolbox.tools)}
        reply: Reply | None = None
        ended: Ended | None = None
        answers: list[Says] = []
        try:
            while ended is None:
                said = await _sent(inner, reply)
                if isinstance(said, Ended):
                    ended = said
                    break
                reply = yield said
                while ended is None and (reply.malformed or any(call.name in names for call in reply.calls)):
                    answers, ended = await toolbox.answers(reply, is_async)
                    if ended is None:
                        reply = yield answers
                        answers = []
        finally:
            try:
                await toolbox.close()
            finally:
                await inner.aclose() if inspect.isasyncgen(inner) else inner.close()
        yield Ended(toolbox.returned(ended, answers))


@dataclass(frozen=True)
class LazyEnvironment:
    """This is an environment that a function makes when it is first asked: which form that is shows only then."""

    factory: Callable[..., Any]

    def schemas(self, row: Mapping[str, Any]) -> list[Schema]:
        """Returns what the model of a row may call, for the chat template."""
        return schemas_of(self._form(row), row)

    def __call__(self, row: Mapping[str, Any], random: Random) -> Episode:
        return self._form(row)(row, random)

    def _form(self, row: Mapping[str, Any]) -> Any:
        def make(*_: Any) -> Any:
            return self.factory(row) if inspect.signature(self.factory).parameters else self.factory()

        form = _form_of(make())
        if form is None:
            raise UserError(f"{name_of(self.factory)} makes no environment; expected {FORMS}")
        return form(make)


def _of(given: Any) -> Any:
    if isinstance(given, str):
        return _by_name(given)
    if isinstance(given, Mapping):
        return _routed(given)
    if inspect.isclass(given):
        form = _form_of(given)
        if form is None:
            raise UserError(f"the class {given.__name__} is no environment; expected {FORMS}")
        return form(given)
    call = given if inspect.isroutine(given) else getattr(given, "__call__", None)  # noqa: B004 - its own, not whether
    if _yields(given) or _yields(call) or hasattr(given, "schemas") or type(given) in _OURS:
        return _checked(given)
    if _form_of(given) is not None:
        return _remade(given)
    if callable(given):
        return _checked(given) if _is_called_as_one(given) else LazyEnvironment(given)
    raise UserError(f"an environment is {type(given).__name__} {str(given)[:60]!r}; expected {FORMS}")


_OURS = (Gymnasium, OpenEnv, OpenRLHF, SkyRLGym, TextArena, TRL, Tools, WithTools, LazyEnvironment)


def _by_name(name: str) -> Any:
    from groupwise.environments.forms import gymnasium, skyrl_gym, textarena

    kind, colon, rest = name.partition(":")
    if kind in ("http", "https", "ws", "wss"):
        return OpenEnv(name)
    makers = {"gymnasium": gymnasium.by_id, "textarena": textarena.by_id, "skyrl_gym": skyrl_gym.by_id}
    if not colon or kind not in makers:
        raise UserError(f"the environment {name!r} is unknown; expected {FORMS}")
    try:
        return makers[kind](rest)
    except ImportError as error:
        extra = "groupwise[games]" if kind != "skyrl_gym" else "skyrl-gym"
        raise UserError(f"{name} needs the package {kind}: pip install '{extra}' ({error})") from error


def _routed(given: Mapping[Any, Any]) -> TRL:
    if not given:
        raise UserError("an environment is an empty mapping; expected a class by each name")
    wrong = next((name for name, each in given.items() if not callable(each)), None)
    if wrong is not None:
        raise UserError(f"the environment {wrong} is {type(given.get(wrong)).__name__}; expected a class by each name")
    return TRL(dict(given))


def _form_of(thing: Any) -> Callable[[Any], Any] | None:
    """Which form a class or an instance has."""
    has = {name for name in ("reset", "step", "init", "get_observation", "action_space") if _has(thing, name)}
    if {"reset", "get_observation"} <= has:
        return TextArena
    if {"init", "step"} <= has and "reset" not in has:
        return SkyRLGym
    if {"reset", "step"} <= has and ("action_space" in has or "seed" in _parameters(thing, "reset")):
        return Gymnasium
    if {"reset", "step"} <= has and (_parameters(thing, "step") & {"states", "state_dict"}):
        return OpenRLHF
    return TRL if "reset" in has else None


def _has(thing: Any, name: str) -> bool:
    kind = thing if inspect.isclass(thing) else type(thing)
    return hasattr(thing, name) or any(name in inspect.get_annotations(base) for base in kind.__mro__)


def _parameters(thing: Any, name: str) -> set[str]:
    return set(inspect.signature(getattr(thing, name)).parameters)


def _remade(instance: Any) -> Any:
    """An instance that can say how another is made. Raises UserError for any other: episodes share nothing."""
    spec: Any = getattr(instance, "spec", None)
    if hasattr(spec, "make"):
        return Gymnasium(spec.make)
    raise UserError(
        f"the environment is one {type(instance).__name__}, and every episode needs its own; give its class, or a "
        f"function that makes one: lambda: {type(instance).__name__}(...)"
    )


def _yields(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _checked(given: Any) -> Any:
    """Raises UserError where it does not take a row and a random generator."""
    try:
        inspect.signature(given).bind({}, Random(0))
    except TypeError as error:
        raise UserError(
            f"the environment {name_of(given)}{inspect.signature(given)} cannot be called with a row and a random "
            "generator; expected f(row, random)"
        ) from error
    return given


def _is_called_as_one(function: Callable[..., Any]) -> bool:
    """Says whether it takes a row and a random generator, as an environment does: then it gives a generator, whatever
    it is itself. One that makes an environment takes a row at most."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return False
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.default is each.empty and each.kind in placed for each in parameters) > 1


async def _sent(inner: Any, reply: Reply | None) -> Any:
    """The next thing that an environment says; what it returns as ``Ended``."""
    if inspect.isasyncgen(inner):
        return await inner.asend(reply)  # type: ignore[arg-type]
    try:
        return inner.send(reply)
    except StopIteration as stop:
        return Ended(stop.value)
