"""What happens to a user's function call by call: in a process of its own, or here where it must share our state."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import numbers
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

Answer = dict[str, Any]
"""Plain JSON: ``value`` (a number, or None where the reward does not apply), ``failed`` (why), ``timeout``, ``memory``;
of a call about several completions ``all``, a list of these."""


@dataclass(frozen=True)
class Calls:
    """A function, and what its values may look like. ``guarded_child.Respond``."""

    function: Callable[..., Any]
    batch: bool = False
    """One call about all completions, which returns a list."""
    mappings: bool = False
    """A dictionary with ``score`` is a value."""

    @property
    def together(self) -> bool:
        """Its calls run side by side, in one event loop: one that blocks the loop costs them all."""
        return is_async(self.function)

    def __call__(self, calls: Sequence[tuple[int, dict[str, Any]]], seconds: float) -> Iterator[tuple[int, Answer]]:
        """Of each call, ``(number of completions, arguments)``, its number and answer as soon as they are known.

        A function that raises, returns another number of values than it got completions, or no finite number, bool or
        None (numpy's and torch's scalars are numbers) has failed; so has what a coroutine left undone.
        """
        if self.together:
            yield from enumerate(_run(self._gather(calls, seconds)))
            return
        for number, (count, arguments) in enumerate(calls):
            try:
                answer = self._answer(self.function(**arguments), count)
            except (Exception, SystemExit) as error:
                answer = self._raised(error)
            yield number, answer

    async def _gather(self, calls: Sequence[tuple[int, dict[str, Any]]], seconds: float) -> list[Answer]:
        async def call(count: int, arguments: dict[str, Any]) -> Answer:
            try:
                return self._answer(await asyncio.wait_for(self.function(**arguments), seconds), count)
            except TimeoutError as error:
                return self._raised(error) if _frames(error, self.function) else {"timeout": True}
            except (Exception, SystemExit) as error:
                return self._raised(error)

        return await asyncio.gather(*(call(*each) for each in calls))

    def _answer(self, returned: Any, count: int) -> Answer:
        if not self.batch:
            return self._checked(returned)
        if hasattr(returned, "tolist") and len(returned.shape) == 1:
            returned = returned.tolist()
        if not isinstance(returned, list | tuple):
            wrong = f"{shortened(returned)} ({type(returned).__name__})"
            return {
                "failed": f"returned {wrong} for {count} completions; expected a list with a number or None for each"
            }
        if len(returned) != count:
            return {"failed": f"returned {len(returned)} values for {count} completions; expected one for each"}
        return {"all": [self._checked(value) for value in returned]}

    def _checked(self, value: Any) -> Answer:
        number = value["score"] if self.mappings and isinstance(value, Mapping) and "score" in value else value
        if number is None:
            return {"value": None}
        if (finite := _finite(number)) is not None:
            return {"value": finite}
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
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def shortened(value: Any) -> str:
    """Its ``repr``, of at most 80 characters."""
    try:
        text = repr(value[:200] if isinstance(value, str) else value)
    except Exception:  # a user's object may not even be able to show itself
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"


def _run(coroutine: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """From a notebook too, where an event loop already runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def place(error: BaseException, function: Callable[..., Any] | None) -> str:
    """file:line of the innermost frame in the function's own file, or of the innermost one at all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = _frames(error, function)
    frame = own[-1] if own else frames[-1]
    return f"{frame.filename}:{frame.lineno}"


def _frames(error: BaseException, function: Callable[..., Any] | None) -> list[traceback.FrameSummary]:
    """Those in the user's own file."""
    file = inspect.unwrap(function).__code__.co_filename if inspect.isfunction(function) else None
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]


def _finite(value: Any) -> float | None:
    """Of a number, numpy's and torch's scalars included, its float; None of anything else."""
    if hasattr(value, "item") and hasattr(value, "shape") and tuple(value.shape) == ():
        value = value.item()
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
