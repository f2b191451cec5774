"""The environment of tools: it runs what a turn of the model's calls and says the results, until a turn calls nothing.

    def calculate(expression: str) -> str:
        \"\"\"Evaluates a product.

        Args:
            expression: Two numbers and a star, such as 12*34.
        \"\"\"
        left, right = expression.split("*")
        return str(int(left) * int(right))

    sums = Tools((calculate,))

Whatever goes wrong with a call is answered in a message, so that the model may try again: a name that is no tool's,
arguments that are missing or of a wrong type, a call that cannot be read, an exception in the tool, a result that has
no text. The episode's result counts them: ``tools/calls``, ``tools/failed``, ``tools/malformed``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from random import Random
from typing import Annotated, Any

from groupwise.environments.arguments import Schema, checked, function_of, short
from groupwise.environments.plain import WrongWordsError, number
from groupwise.environments.plain import shortened as plain_repr
from groupwise.environments.protocol import TOOLS, Call, Ended, Reply, Says, Utterance, beside
from groupwise.environments.results import Result, result_of, shortened
from groupwise.environments.tool import Tool, Use, settings_of, tools_of, value_of
from groupwise.errors import UserError

NO_WAITING = "it waits for something, but is no async function; write async def"
MOST_WAITS = 100  # that are refused in one turn

Episode = Generator[Utterance, Reply, Any] | AsyncGenerator[Utterance | Ended, Reply]


@dataclass(frozen=True)
class Tools:
    """An environment of tools alone. The rewards of the task judge what the model says in the end."""

    given: Sequence[Any]
    """See ``tool.tool_of`` for what a tool may be."""
    max_parallel_calls: Annotated[int, "[1, inf)"] = 16
    """Calls of one turn that are run; a message says how many were not."""
    result_characters: Annotated[int, "[1, inf)"] = 8192
    """A longer result is shortened in its middle, and says so."""

    def __post_init__(self) -> None:
        if min(self.max_parallel_calls, self.result_characters) < 1:
            raise UserError("max_parallel_calls and result_characters are at least 1")
        _ = self.tools

    @property
    def judges(self) -> bool:
        """Says whether it says how good an episode was: a tool may, where it is an object that calculates rewards."""
        return False

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """Returns the tools, each once."""
        return tools_of(self.given)

    def schemas(self, row: Mapping[str, Any]) -> list[Schema]:
        """Returns what the model of this row may call, for the chat template."""
        return [tool.schema for tool in self.selected(row)]

    def selected(self, row: Mapping[str, Any]) -> list[Tool]:
        """The tools of a row: all, or those that verl's ``extra_info.tool_selection`` names. Raises UserError."""
        given = settings_of(row, "tool_selection")
        names = ([given] if given else []) if isinstance(given, str | None) else _listed(given)
        if not names:
            return list(self.tools)
        by_name = {function_of(tool.schema)["name"]: tool for tool in self.tools}
        unknown = next((name for name in names if name not in by_name), None)
        if unknown is not None:
            raise UserError(f"tool_selection names {unknown}; the task's tools are {', '.join(by_name)}")
        return [by_name[name] for name in names]

    def __call__(self, row: Mapping[str, Any], random: Random) -> Episode:
        toolbox = Toolbox(self.selected(row), settings_of(row, "tools_kwargs"), self)
        return toolbox.episode()


def _listed(given: Any) -> list[str]:
    """The names that a row's column lists. Raises UserError for anything else than names."""
    names = list(given) if isinstance(given, Iterable) else [given]
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None:
        raise UserError(f"tool_selection holds {short(wrong)!r}; expected the names of tools")
    return names


@dataclass
class Toolbox:
    """The tools of one episode, and what has been counted in it."""

    tools: Sequence[Tool]
    settings: Any
    limits: Tools
    counts: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    reward: float | None = None

    def __post_init__(self) -> None:
        self._tools = {str(function_of(tool.schema)["name"]): tool for tool in self.tools}
        own = self.settings if isinstance(self.settings, Mapping) else {}
        self._uses: dict[str, Use] = {name: tool.begin(own.get(name) or {}) for name, tool in self._tools.items()}
        self.counts.update({"tools/calls": 0, "tools/failed": 0, "tools/malformed": 0})

    def episode(self, opening: Utterance = None) -> Episode:
        """Begins with ``opening``, goes on as long as the model calls something."""
        is_async = any(tool.is_async for tool in self.tools)
        talk = self._talk(opening, is_async)
        return talk if is_async else driven(talk)

    async def answers(self, reply: Reply, side_by_side: bool) -> tuple[list[Says], Ended | None]:
        """A message for each call, in the order of the calls, and what ended the episode. A call that is not run
        because another of its turn ended the episode has none."""
        calls = reply.calls[: self.limits.max_parallel_calls]
        self.counts["tools/calls"] += len(reply.calls)
        if side_by_side:
            results = await asyncio.gather(*(self._result(call) for call in calls))
        else:
            results = []
            for call in calls:
                results.append(await self._result(call))
                if results[-1].ended:
                    break
        said = [self._message(call, result) for call, result in zip(calls, results, strict=False)]
        said += self._unread(reply, len(calls))
        return said, next((result.ended for result in results if result.ended), None)

    async def close(self) -> None:
        """Asks each tool for its reward of the episode, and lets it go. Raises WrongWordsError, once all are closed,
        for a reward that is no number."""
        wrong = ""
        for name, use in self._uses.items():
            try:
                reward = await value_of(use.close())
            except (Exception, SystemExit):
                self._count("tools/failed", name)
                continue
            earned = number(reward)
            if earned is not None:
                self.reward = (self.reward or 0.0) + earned
            elif reward is not None:
                wrong = wrong or f"the tool {name} gave the episode the reward {plain_repr(reward)}"
        if wrong:
            raise WrongWordsError(f"{wrong}; expected a finite number, or None")

    def returned(self, ended: Ended | None = None, said: Sequence[Says] = ()) -> dict[str, Any]:
        """Returns what the episode returns: the counts, tools' own numbers, and a reward where a tool gave one; beside
        what ``ended`` it says, whose own reward goes before that. ``said`` are messages that nobody hears any more."""
        for message in said:
            self.reward = (self.reward or 0.0) + message.reward if message.reward else self.reward
        result = ended.result if ended is not None else None
        own = result if isinstance(result, Mapping) else {"reward": result}
        own = {name: value for name, value in own.items() if value is not None}
        judged = self.reward is None or "score" in own
        return {**self.metrics, **self.counts, **({} if judged else {"reward": self.reward}), **own}

    async def _talk(self, opening: Utterance, side_by_side: bool) -> AsyncGenerator[Utterance | Ended, Reply]:
        try:
            reply = yield opening
            ended = None
            while (reply.calls or reply.malformed) and ended is None:
                said, ended = await self.answers(reply, side_by_side)
                if ended is None:
                    reply = yield said
        finally:
            await self.close()
        yield Ended(self.returned(ended, said if ended is not None else ()))

    async def _result(self, call: Call) -> Result:
        tool = self._tools.get(call.name)
        if tool is None:
            near = get_close_matches(call.name[:64], self._tools, n=1)
            hint = f", perhaps {near[0]}" if near else ""
            return Result(f"there is no tool {short(call.name)}{hint}; there is {', '.join(self._tools)}", failed=True)
        arguments, wrong = checked(tool.schema, call.arguments)
        if wrong:
            return Result(f"{call.name}: {wrong}", failed=True)
        try:
            returned = await value_of(self._uses[call.name].call(arguments))
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())
            return Result(f"{call.name} failed: {type(error).__name__}{': ' if said else ''}{said}", failed=True)
        if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            return Result(f"{call.name} failed: it returned a generator", failed=True)
        return result_of(returned)

    def _message(self, call: Call, result: Result) -> Says:
        if result.failed:
            self._count("tools/failed", call.name)
        for each, value in result.metrics.items():
            name = beside(each, TOOLS)
            self.metrics[name] = self.metrics.get(name, 0.0) + value
        text = shortened(result.text, self.limits.result_characters)
        if result.failed:
            text = f"error: {text}"
        return Says(
            text, reward=result.reward or 0.0, role="tool", name=call.name if call.name in self._tools else None
        )

    def _unread(self, reply: Reply, run: int) -> list[Says]:
        """Messages about calls that were not run and such that could not be read."""
        said = []
        if len(reply.calls) > run:
            self._count("tools/failed", "", len(reply.calls) - run)
            more = f"error: {len(reply.calls) - run} more calls were not run: at most {run} in a turn"
            said.append(Says(more, role="tool"))
        if reply.malformed:
            self._count("tools/malformed", "")
            said.append(Says(f"error: the call cannot be read: {reply.malformed}", role="tool"))
        return said

    def _count(self, kind: str, name: str, times: int = 1) -> None:
        self.counts[kind] += times
        if name in self._tools:
            self.counts[f"{kind}/{name}"] += times


def driven(talk: AsyncGenerator[Utterance | Ended, Reply]) -> Generator[Utterance, Reply, Any]:
    """An asynchronous generator that never waits for anything, as an ordinary one."""
    said = _stepped(talk.asend(None))  # type: ignore[arg-type]
    try:
        while not isinstance(said, Ended):
            reply = yield said
            said = _stepped(talk.asend(reply))
        return said.result
    finally:
        _stepped(talk.aclose())


def _stepped(step: Any) -> Any:
    """What it comes to. Whoever waits for something in it is told that nobody lets it, and may answer with that."""
    try:
        step.send(None)
        for _ in range(MOST_WAITS):
            step.throw(RuntimeError(NO_WAITING))
    except StopIteration as stop:
        return stop.value
    raise RuntimeError(NO_WAITING)
