"""This module calls a user's function and says what happened, call by call: in a process of its own, or here where it
must share our state."""

from __future__ import annotations

import asyncio
import functools
import inspect
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.neighbours import folder_of, importable
from groupwise.rewards.notes import Notes, finite, remarks_of

Answer = dict[str, Any]
"""Plain JSON: ``value`` (a number, or None where the reward does not apply), ``failed`` (why), ``timeout``, ``memory``;
beside a value ``logged``, ``extras`` and ``dated`` (``types.Score``); of a call about several completions ``all``, a
list of these."""


@dataclass(frozen=True)
class Calls:
    """A function, and what its values may look like. ``fork_server_child.Respond``."""

    function: Callable[..., Any]
    batch: bool = False
    """One call about all completions, which returns a list."""
    mappings: bool = False
    """A dictionary with ``score`` is a value."""

    @property
    def together(self) -> bool:
        """Says whether its calls run side by side, in one event loop: one that blocks the loop costs them all."""
        return is_async(self.function)

    def __call__(self, calls: Sequence[tuple[int, dict[str, Any]]], seconds: float) -> Iterator[tuple[int, Answer]]:
        """Yields of each call ``(number of completions, arguments)`` its number and answer as soon as they are known.

        A function that raises, returns another number of values than it got completions, or no finite number, bool or
        None (numpy's and torch's scalars are numbers) has failed; so has what a coroutine left undone.
        """
        with importable(folder_of(self.function)):
            if self.together:
                yield from enumerate(_run(self._gather(calls, seconds)))
                return
            for number, (count, arguments) in enumerate(calls):
                notes = Notes(count)
                try:
                    answer = self._answer(self.function(**notes.given(arguments)), notes)
                except (Exception, SystemExit) as error:
                    answer = self._raised(error)
                yield number, answer

    async def _gather(self, calls: Sequence[tuple[int, dict[str, Any]]], seconds: float) -> list[Answer]:
        async def call(count: int, arguments: dict[str, Any]) -> Answer:
            notes = Notes(count)
            try:
                returned = await asyncio.wait_for(self.function(**notes.given(arguments)), seconds)
                return self._answer(returned, notes)
            except TimeoutError as error:
                return self._raised(error) if _frames(error, self.function) else {"timeout": True}
            except (Exception, SystemExit) as error:
                return self._raised(error)

        return await asyncio.gather(*(call(*each) for each in calls))

    def _answer(self, returned: Any, notes: Notes) -> Answer:
        if not self.batch:
            return _joined(self._checked(returned), notes.of(0))
        if self.mappings and isinstance(returned, Mapping) and "rewards" in returned:
            returned = _logged(returned, notes)
        if hasattr(returned, "tolist") and len(returned.shape) == 1:
            returned = returned.tolist()
        count = notes.count
        if not isinstance(returned, list | tuple):
            wrong = f"{shortened(returned)} ({type(returned).__name__})"
            return {
                "failed": f"returned {wrong} for {count} completions; expected a list with a number or None for each"
            }
        if len(returned) != count:
            return {"failed": f"returned {len(returned)} values for {count} completions; expected one for each"}
        return {"all": [_joined(self._checked(value), notes.of(row)) for row, value in enumerate(returned)]}

    def _checked(self, value: Any) -> Answer:
        is_mapping = self.mappings and isinstance(value, Mapping) and "score" in value
        number = value["score"] if is_mapping else value
        said = remarks_of(value) if is_mapping else {}
        if number is None:
            return {"value": None, **said}
        if (found := finite(number)) is not None:
            return {"value": found, **said}
        return {
            "failed": f"returned {shortened(value)} ({type(value).__name__}); expected a finite number, a bool or None"
        }

    def _raised(self, error: BaseException) -> Answer:
        message = " ".join(str(error).split())[:200]
        reason = f"raised {type(error).__name__}: {message} at {place(error, self.function)}"
        if "forked subprocess" in message:
            reason += "; a function that uses CUDA takes as_reward(function, isolated=False)"
        return {"memory" if isinstance(error, MemoryError) else "failed": reason}


def is_async(function: Callable[..., Any]) -> bool:
    """Says whether calling the function gives a coroutine, also behind ``functools.partial`` or on an object."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def shortened(value: Any) -> str:
    """Returns its ``repr``, of at most 80 characters."""
    try:
        text = repr(value[:200] if isinstance(value, str) else value)
    except Exception:  # a user's object may not even be able to show itself
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"


def _run(coroutine: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Runs a coroutine to its end, from a notebook too, where an event loop already runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def place(error: BaseException, function: Callable[..., Any] | None) -> str:
    """Returns file:line of the innermost frame in the function's own file, or of the innermost one at all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = _frames(error, function)
    frame = own[-1] if own else frames[-1]
    return f"{frame.filename}:{frame.lineno}"


def _frames(error: BaseException, function: Callable[..., Any] | None) -> list[traceback.FrameSummary]:
    """Returns the frames of a traceback that lie in the user's own file."""
    file = inspect.unwrap(function).__code__.co_filename if inspect.isfunction(function) else None
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]


def _joined(answer: Answer, noted: Answer) -> Answer:
    """An answer with what was noted during its call."""
    maps = {name: {**answer.get(name, {}), **noted.get(name, {})} for name in ("logged", "extras")}
    return answer | noted | {name: values for name, values in maps.items() if values}


def _logged(returned: Mapping[str, Any], notes: Notes) -> Any:
    """The rewards of OpenRLHF's dictionary, whose ``extra_logs`` has numbers, or one for each completion."""
    for name, values in dict(returned.get("extra_logs") or {}).items():
        listed = values.tolist() if hasattr(values, "tolist") else values
        if isinstance(listed, list | tuple):
            notes.log_extra(name, listed)
            known = [number for number in map(finite, listed) if number is not None]
            listed = sum(known) / len(known) if known else None
        if finite(listed) is not None:
            notes.log_metric(name, listed)
    return returned["rewards"]
