"""Users write plain functions; their parameter names say which of three conventions they follow."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
import numbers
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.types import Rollout, Score, Text

FORMS = (
    "TRL's f(prompts, completions, **columns) -> list, "
    "verl's f(data_source, solution_str, ground_truth, extra_info=None) -> float or dict, "
    "or f(completion, answer) -> float with any of completion, prompt, answer, tokens, finished and column names"
)
_Form = Literal["trl", "verl", "simple"]
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def as_reward(function: Callable[..., Any] | Reward, name: str | None = None, weight: float = 1.0) -> Reward:
    """A reward of any plain function, by the names of its parameters; a :class:`Reward` comes back as it is.

    * TRL, all completions at once: ``f(prompts, completions, completion_ids, **columns) -> list[float | None]``, any
      part of it, sync or async. A conversation's prompts and completions are lists of messages, otherwise strings.
    * verl, one completion: ``compute_score(data_source, solution_str, ground_truth, extra_info=None)`` -> a number
      or a dictionary with ``score``. ``ground_truth`` is ``reward_model["ground_truth"]`` of the row, or else its
      answer; where the row has no ``data_source`` or ``extra_info`` they are ``""`` and ``{}``.
    * simple, one completion: any of ``completion, prompt, answer, tokens, finished`` and columns by name -> number.

    None means that the reward does not apply to the row. ``name`` is the function's own unless given. Raises
    UserError where the parameters fit none of these; the reward raises it for what :class:`FunctionReward` says.
    """
    if isinstance(function, Reward) and not isinstance(function, type):
        return function
    if not callable(function):
        raise UserError(f"a reward must be a function, not {_short(function)}; accepted are {FORMS}")
    name = name or _name(function)
    return FunctionReward(function, name, weight, _form(function, name))


@dataclass(frozen=True)
class FunctionReward:
    """A user's function as a reward. It gets copies of all it is given, so it may change them.

    Every call is checked. UserError, naming the reward, the row and the completion, where it raises, returns
    another number of values than it got completions, or something that is not a finite number, a bool or None
    (numpy's and torch's scalars are numbers); and where it asks for a column that the row lacks.
    """

    function: Callable[..., Any]
    name: str
    weight: float
    form: _Form

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [score for _, score in self.stream(rollouts)]

    def stream(self, rollouts: Sequence[Rollout]) -> Iterator[tuple[int, Score]]:
        """See ``cache.Streaming``: a function of one completion is heard call by call, in order."""
        if not rollouts:
            return
        values = self._all_at_once(rollouts) if self.form == "trl" else self._one_by_one(rollouts)
        for row, value in enumerate(values):
            yield row, self._score(value, rollouts[row])

    def _all_at_once(self, rollouts: Sequence[Rollout]) -> list[Any]:
        rows = [_trl_row(rollout) for rollout in rollouts]
        arguments = {name: [row[name] for row in rows] for name in self._wanted(rows, rollouts)}
        (returned,) = self._call([arguments], [None])
        if hasattr(returned, "tolist") and len(returned.shape) == 1:
            returned = returned.tolist()
        if not isinstance(returned, list | tuple):
            raise UserError(
                f"reward '{self.name}' returned {_short(returned)} ({type(returned).__name__}) for {len(rollouts)} "
                "completions; expected a list with a number or None for each"
            )
        if len(returned) != len(rollouts):
            raise UserError(
                f"reward '{self.name}' returned {len(returned)} values for {len(rollouts)} completions "
                f"(rows from {rollouts[0].prompt.example.id}); expected one for each"
            )
        return list(returned)

    def _one_by_one(self, rollouts: Sequence[Rollout]) -> Iterator[Any]:
        rows = [_verl_row(rollout) if self.form == "verl" else _simple_row(rollout) for rollout in rollouts]
        calls = [
            {name: row[name] for name in self._wanted([row], [rollout])}
            for row, rollout in zip(rows, rollouts, strict=True)
        ]
        return self._call(calls, rollouts)

    def _wanted(self, rows: Sequence[Mapping[str, Any]], rollouts: Sequence[Rollout]) -> list[str]:
        """The names to call the function with: of its parameters, those that every row has."""
        everywhere = [name for name in rows[0] if all(name in row for row in rows)]
        parameters = inspect.signature(self.function).parameters.values()
        for parameter in parameters:
            if parameter.kind in _NAMED and parameter.default is parameter.empty and parameter.name not in everywhere:
                row = next(index for index, row in enumerate(rows) if parameter.name not in row)
                raise UserError(
                    f"{rollouts[row].prompt.example.id}: reward '{self.name}' asks for '{parameter.name}', and the row "
                    f"has no such column; it has {', '.join(rollouts[row].prompt.example.columns) or 'none'}"
                )
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return everywhere
        return [parameter.name for parameter in parameters if parameter.name in everywhere]

    def _call(self, calls: Sequence[dict[str, Any]], rollouts: Sequence[Rollout | None]) -> Iterator[Any]:
        """What each call returns, in order. Asynchronous calls of one batch run side by side."""
        pairs = list(zip(copy.deepcopy(calls), rollouts, strict=True))
        if _is_async(self.function):
            yield from _run(self._gather(pairs))
            return
        for arguments, rollout in pairs:
            try:
                value = self.function(**arguments)
            except (Exception, SystemExit) as error:
                raise self._raised(error, rollout) from error
            yield value

    async def _gather(self, pairs: Sequence[tuple[dict[str, Any], Rollout | None]]) -> list[Any]:
        async def call(arguments: dict[str, Any], rollout: Rollout | None) -> Any:
            try:
                return await self.function(**arguments)
            except (Exception, SystemExit) as error:
                raise self._raised(error, rollout) from error

        return await asyncio.gather(*(call(arguments, rollout) for arguments, rollout in pairs))

    def _raised(self, error: BaseException, rollout: Rollout | None) -> UserError:
        row = f"{rollout.prompt.example.id}: " if rollout else ""
        on = f" on the completion {_short(rollout.text)}" if rollout else ""
        message = " ".join(str(error).split())[:200]
        return UserError(
            f"{row}reward '{self.name}' raised {type(error).__name__}: {message} at {_place(error, self.function)}{on}"
        )

    def _score(self, value: Any, rollout: Rollout) -> Score:
        number = value
        if self.form == "verl" and isinstance(value, Mapping) and "score" in value:
            number = value["score"]
        if number is None:
            return Score(None, "not_applicable")
        if (finite := _finite(number)) is not None:
            return Score(finite)
        raise UserError(
            f"{rollout.prompt.example.id}: reward '{self.name}' returned {_short(value)} ({type(value).__name__}) for "
            f"the completion {_short(rollout.text)}; expected a finite number, a bool or None"
        )


def _form(function: Callable[..., Any], name: str) -> _Form:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"reward '{name}' shows no parameters to go by; accepted are {FORMS}") from error
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    names = {parameter.name for parameter in parameters if parameter.kind in _NAMED}
    signs: dict[_Form, bool] = {
        "trl": bool(names & {"prompts", "completions", "completion_ids"}),
        "verl": "solution_str" in names,
        "simple": "completion" in names,
    }
    forms = [form for form, shown in signs.items() if shown]
    if not forms and names & {"prompt", "answer", "tokens", "finished"}:
        forms = ["simple"]
    if len(forms) == 1 and all(parameter.kind is not parameter.POSITIONAL_ONLY for parameter in required):
        return forms[0]
    raise UserError(f"reward '{name}{inspect.signature(function)}' fits no known form; accepted are {FORMS}")


def _trl_row(rollout: Rollout) -> dict[str, Any]:
    example = rollout.prompt.example
    columns = {name: value for name, value in example.columns.items() if name not in ("prompt", "completion")}
    chat = not isinstance(example.prompt, str)
    return {
        **({} if example.answer is None else {"answer": example.answer}),
        **columns,
        "prompts": _plain(example.prompt),
        "completions": [{"role": "assistant", "content": rollout.text}] if chat else rollout.text,
        "completion_ids": list(rollout.tokens),
    }


def _verl_row(rollout: Rollout) -> dict[str, Any]:
    example = rollout.prompt.example
    row = {"data_source": "", "extra_info": {}, **example.columns, "solution_str": rollout.text}
    model = example.columns.get("reward_model")
    if isinstance(model, Mapping) and "ground_truth" in model:
        row["ground_truth"] = model["ground_truth"]
    elif example.answer is not None:
        row["ground_truth"] = example.answer
    return row


def _simple_row(rollout: Rollout) -> dict[str, Any]:
    example = rollout.prompt.example
    return {
        **example.columns,
        **({} if example.answer is None else {"answer": example.answer}),
        "completion": rollout.text,
        "prompt": _plain(example.prompt),
        "tokens": list(rollout.tokens),
        "finished": rollout.finished,
    }


def _plain(text: Text) -> Any:
    return text if isinstance(text, str) else [dict(message) for message in text]


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _run(coroutine: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """From a notebook too, where an event loop already runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = function.__name__ if hasattr(function, "__name__") else type(function).__name__
    return str(name).strip("<>")


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """file:line of the innermost frame in the user's own file, or of the innermost one at all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = inspect.unwrap(function).__code__.co_filename if inspect.isfunction(function) else None
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
    return f"{frame.filename}:{frame.lineno}"


def _finite(value: Any) -> float | None:
    """Of a number, numpy's and torch's scalars included, its float; None of anything else."""
    if hasattr(value, "item") and hasattr(value, "shape") and tuple(value.shape) == ():
        value = value.item()
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _short(value: Any) -> str:
    try:
        text = repr(value[:200] if isinstance(value, str) else value)
    except Exception:  # a user's object may not even be able to show itself
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"
