"""This module says what an environment is: a generator that says something, hears what the model answers, and returns
the reward.

One that thinks of a number::

    def guess(row, random):
        answer = yield "I think of a number from 1 to 63."
        for left in range(5, -1, -1):
            if answer.strip() == str(row["secret"]):
                return 1.0
            if left:
                answer = yield "more" if int(answer) < row["secret"] else "less"
        return 0.0
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

TOOLS = "tools/"
"""What begins so among the numbers of an episode counts its calls, and stands among the step's own metrics."""

RESULTS = ("score", "reward", "success")
"""What the numbers of an episode's result are called that say how good it was."""


def beside(name: str, room: str) -> str:
    """Returns a number's name as the result of an episode may hold it: with its room before it where by its own name
    it would say how good the episode was."""
    return f"{room}{name}" if name in RESULTS else name


@dataclass(frozen=True)
class Call:
    """A call is one use of a tool that the model asks for."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default="", compare=False)
    """As the model wrote it, where its calls have one."""


class Reply(str):
    """A reply is what the model said in one turn: its text, and the calls of tools that the renderer read in it."""

    calls: tuple[Call, ...]
    malformed: str
    """Why a call that was begun could not be read, in a few words; empty where there was none."""

    def __new__(cls, text: str, calls: Sequence[Call] = (), malformed: str = "") -> Reply:
        reply = super().__new__(cls, text)
        reply.calls, reply.malformed = tuple(calls), malformed
        return reply

    def __reduce__(self) -> tuple[type[Reply], tuple[str, tuple[Call, ...], str]]:
        return Reply, (str(self), self.calls, self.malformed)


@dataclass(frozen=True)
class Says:
    """This is one message of an environment. ``reward`` is for the turn that it answers; nothing can be earned before
    one."""

    text: str
    reward: float = 0.0
    role: str = "user"
    name: str | None = None
    """Of the tool whose result it is, where the role is ``tool``."""


@dataclass(frozen=True)
class Ended:
    """The last thing that an asynchronous environment yields: what another returns."""

    result: Any = None


Utterance = str | Says | Sequence[Says] | None
"""What an environment may yield: text, a message, several messages, or None where the model is to speak first (or goes
on without a word)."""

Environment = Callable[
    [Mapping[str, Any], Random], Generator[Utterance, Reply, Any] | AsyncGenerator[Utterance | Ended, Reply]
]
"""Called with a row's columns and a random generator, the same for each member of a group, for each episode.

What the generator returns is the reward: a number, None (the reward does not apply), or a mapping with ``score`` or
``reward``, perhaps ``success`` (true or false: the judge's verdict), and named numbers, which become metrics. An
asynchronous generator cannot return; it yields an ``Ended`` last.
"""
