"""Plays an environment with scripted replies, as the loop that samples does."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from groupwise.environments import Call, Ended, Reply, Says


def calling(name: str, **arguments: Any) -> Reply:
    return Reply(f"<{name}>", [Call(name, arguments)])


def play(
    environment: Any,
    replies: Sequence[Reply | str] | Callable[[str], Reply | str],
    row: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[list[list[Says]], Any]:
    """All that was said, turn by turn, and what the episode returned; None where the replies ran out first.

    Replies are a list, or a function of the last text that was said.
    """
    random.seed(seed)  # as the process that hosts episodes does
    talk = environment(dict(row or {}), Random(seed))
    given = iter(replies) if not callable(replies) else None

    def answer(said: list[Says]) -> Reply | None:
        text = said[-1].text if said else ""
        found = replies(text) if callable(replies) else next(given, None)
        return Reply(found) if isinstance(found, str) and not isinstance(found, Reply) else found

    return asyncio.run(_async(talk, answer)) if inspect.isasyncgen(talk) else _sync(talk, answer)


def _sync(talk: Any, answer: Callable[[list[Says]], Reply | None]) -> tuple[list[list[Says]], Any]:
    heard: list[list[Says]] = []
    reply = None
    while True:
        try:
            heard.append(messages(talk.send(reply)))
        except StopIteration as stop:
            return heard, stop.value
        reply = answer(heard[-1])
        if reply is None:
            talk.close()
            return heard, None


async def _async(talk: Any, answer: Callable[[list[Says]], Reply | None]) -> tuple[list[list[Says]], Any]:
    heard: list[list[Says]] = []
    reply = None
    while True:
        said = await talk.asend(reply)
        if isinstance(said, Ended):
            await talk.aclose()
            return heard, said.result
        heard.append(messages(said))
        reply = answer(heard[-1])
        if reply is None:
            await talk.aclose()
            return heard, None


def messages(said: Any) -> list[Says]:
    if said is None:
        return []
    if isinstance(said, str):
        return [Says(said)]
    return [said] if isinstance(said, Says) else list(said)


def texts(heard: list[list[Says]]) -> list[str]:
    return [each.text for said in heard for each in said]
