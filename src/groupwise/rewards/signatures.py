"""This module lets users write plain functions; their parameter names say which of four conventions they follow."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from groupwise.config.describe import describe
from groupwise.errors import UserError
from groupwise.isolation.guarded_calls import GuardedCalls, answered
from groupwise.isolation.pool import MEMORY_BYTES, Outcome
from groupwise.protocols import Reward
from groupwise.rewards.calls import Calls, shortened
from groupwise.rewards.notes import OFFERED
from groupwise.types import OVER, Rollout, Score, Text, TrainerState

COMPLETIONS_A_LIMIT = 64
FORMS = (
    "TRL's f(prompts, completions, **columns) -> list, OpenRLHF's f(queries, prompts, labels) -> list or dict, "
    "verl's f(data_source, solution_str, ground_truth, extra_info=None) -> float or dict, "
    "or f(completion, answer) -> float with any of completion, prompt, answer, tokens, finished and column names"
)
_Form = Literal["trl", "openrlhf", "verl", "simple"]
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def as_reward(
    function: Callable[..., Any] | Reward,
    name: str | None = None,
    weight: float = 1.0,
    *,
    isolated: bool = True,
    time_limit_seconds: float = 60.0,
    memory_bytes: int = MEMORY_BYTES,
    correct_at: float | None = None,
) -> Reward:
    """A reward of any plain function, by the names of its parameters; a :class:`Reward` comes back as it is.

    * TRL, all completions at once: ``f(prompts, completions, completion_ids, **columns) -> list[float | None]``, any
      part of it, sync or async. A conversation's prompts and completions are lists of messages, otherwise strings.
    * OpenRLHF, all at once: ``f(queries, prompts, labels)`` -> a number each, or a dictionary with ``rewards`` and
      ``extra_logs``. A query is the prompt's text and the completion after it; of a conversation the text is that of
      its messages, a line each. A label is the row's ``label``, or else its answer.
    * verl, one completion: ``compute_score(data_source, solution_str, ground_truth, extra_info=None)`` -> a number
      or a dictionary with ``score``, whose other keys are logged where they are numbers, and kept in the ledger.
      ``ground_truth`` is ``reward_model["ground_truth"]`` of the row, or else its answer; where the row has no
      ``data_source`` or ``extra_info`` they are ``""`` and ``{}``.
    * simple, one completion: any of ``completion, prompt, answer, tokens, finished`` and columns by name -> number.

    Each may also name ``trainer_state`` (:class:`TrainerState`), ``log_metric(name, value)`` and ``log_extra(column,
    values)``; TRL's ``**columns`` hold them too. None means that the reward does not apply to the row. ``name`` is the
    function's own unless given, and so is ``correct_at``: ``f.correct_at = 0.5``. The others are those of
    :class:`FunctionReward`. Raises UserError where the parameters fit none of these.
    """
    if isinstance(function, Reward) and not isinstance(function, type):
        return function
    if not callable(function):
        raise UserError(f"a reward must be a function, not {shortened(function)}; accepted are {FORMS}")
    name = name or _name(function)
    if correct_at is None and hasattr(function, "correct_at"):
        correct_at = float(function.correct_at)
    limits = (isolated, time_limit_seconds, memory_bytes)
    return FunctionReward(function, name, weight, _form(function, name), *limits, correct_at)


@dataclass(frozen=True)
class FunctionReward:
    """A user's function as a reward. It gets copies of all it is given, so it may change them.

    It runs in a process of its own (:mod:`groupwise.isolation.guarded_calls`), which keeps what the function keeps from
    call to call and is replaced when it must be; its global random numbers depend on what it is asked alone. A
    completion on which it raises, dies, takes too much memory or returns something that is no finite number, bool or
    None has no value and the status ``failed``; one that it takes too long for, ``timeout``; ``Score.reason`` says why.
    Raises UserError where it asks for a column that the row lacks.
    """

    function: Callable[..., Any]
    name: str
    weight: float
    form: _Form
    isolated: bool = True
    """False: it runs in this process, and nothing limits its time or memory. For one that must share our state."""
    time_limit_seconds: float = 60.0
    """Of one call; of one about many completions, for every 64 of them."""
    memory_bytes: int = MEMORY_BYTES
    """It may take so much beyond what the process has when it begins."""
    correct_at: float | None = None
    """The smallest value of a right answer, where it is the judge; None: 1."""

    def __post_init__(self) -> None:
        if not (self.time_limit_seconds > 0 and self.memory_bytes > 0):
            raise UserError(f"reward '{self.name}': time_limit_seconds and memory_bytes are more than 0")

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls(self.function, batch=self._at_once, mappings=self.form in ("verl", "openrlhf"))

    @property
    def _at_once(self) -> bool:
        return self.form in ("trl", "openrlhf")

    @functools.cached_property
    def _guarded(self) -> GuardedCalls:
        return GuardedCalls(self._calls, self.memory_bytes)

    @functools.cached_property
    def _described(self) -> Any:
        """Describes the function as it was when this was first asked: what it keeps from call to call is no part of
        it."""
        return describe(self.function)

    def identity(self) -> dict[str, Any]:
        """Returns what decides a score (``cache.Identified``): neither where the function runs nor for how long."""
        return {"is": "FunctionReward", "function": self._described, "form": self.form}

    def prepare(self) -> None:
        """Starts the process that the function runs in (``scoring.NeedsPreparation``)."""
        if self.isolated:
            self._guarded.start()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Scores rollouts as ``score_at`` does once training is over."""
        return self.score_at(rollouts, OVER)

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """Returns what the function says of each rollout at a moment of training (``protocols.FollowsTraining``)."""
        scores = dict(self.stream_at(rollouts, state))
        return [scores[row] for row in range(len(rollouts))]

    def stream_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> Iterator[tuple[int, Score]]:
        """Yields rows with their scores (``cache.StreamingAt``): those of a function of one completion call by call, in
        order."""
        if not rollouts:
            return
        if not self._at_once:
            calls = self._one_by_one(rollouts, state)
            yield from ((row, _score(outcome)) for row, outcome in self._outcomes(calls))
            return
        ((_, outcome),) = self._outcomes([self._all_at_once(rollouts, state)])
        for row in range(len(rollouts)):
            yield row, _score(answered(outcome.value["all"][row], 0.0) if outcome.status == "done" else outcome)

    def _outcomes(self, calls: Sequence[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, Outcome]]:
        seconds = self.time_limit_seconds * -(-calls[0][0] // COMPLETIONS_A_LIMIT)
        if self.isolated:
            yield from self._guarded.run(calls, seconds, self._calls.together)
        else:
            yield from ((row, answered(answer, seconds)) for row, answer in self._calls(copy.deepcopy(calls), seconds))

    def _all_at_once(self, rollouts: Sequence[Rollout], state: TrainerState) -> tuple[int, dict[str, Any]]:
        rows = [_ROWS[self.form](rollout) for rollout in rollouts]
        columns = {name: [row[name] for row in rows] for name in self._wanted(rows, rollouts)}
        return len(rollouts), columns | self._offered(state)

    def _one_by_one(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[tuple[int, dict[str, Any]]]:
        rows = [_ROWS[self.form](rollout) for rollout in rollouts]
        return [
            (1, {name: row[name] for name in self._wanted([row], [rollout])} | self._offered(state))
            for row, rollout in zip(rows, rollouts, strict=True)
        ]

    def _offered(self, state: TrainerState) -> dict[str, Any]:
        """Returns, of what is no column, that which the function asks for; TRL's further keywords ask for all of it."""
        parameters = inspect.signature(self.function).parameters
        takes_all = self.form == "trl" and any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        values = dict.fromkeys(OFFERED) | {"trainer_state": state}
        return {name: value for name, value in values.items() if takes_all or name in parameters}

    def _wanted(self, rows: Sequence[Mapping[str, Any]], rollouts: Sequence[Rollout]) -> list[str]:
        """The names to call the function with: of its parameters, those that every row has."""
        everywhere = [name for name in rows[0] if all(name in row for row in rows)]
        parameters = inspect.signature(self.function).parameters.values()
        for parameter in parameters:
            needed = parameter.kind in _NAMED and parameter.default is parameter.empty and parameter.name not in OFFERED
            if needed and parameter.name not in everywhere:
                row = next(index for index, row in enumerate(rows) if parameter.name not in row)
                raise UserError(
                    f"{rollouts[row].prompt.example.id}: reward '{self.name}' asks for '{parameter.name}', and the row "
                    f"has no such column; it has {', '.join(rollouts[row].prompt.example.columns) or 'none'}"
                )
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return everywhere
        return [parameter.name for parameter in parameters if parameter.name in everywhere]


def _score(outcome: Outcome) -> Score:
    if outcome.status != "done":
        return Score(None, outcome.status, reason=outcome.reason)
    answer = outcome.value
    beside = {name: answer[name] for name in ("logged", "extras", "dated") if name in answer}
    return Score(answer["value"], "not_applicable" if answer["value"] is None else "scored", **beside)


def _form(function: Callable[..., Any], name: str) -> _Form:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"reward '{name}' shows no parameters to go by; accepted are {FORMS}") from error
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    names = {parameter.name for parameter in parameters if parameter.kind in _NAMED}
    signs: dict[_Form, bool] = {
        "trl": bool(names & {"prompts", "completions", "completion_ids"}) and "queries" not in names,
        "openrlhf": "queries" in names,
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


def _openrlhf_row(rollout: Rollout) -> dict[str, Any]:
    example = rollout.prompt.example
    prompt = example.prompt
    text = prompt if isinstance(prompt, str) else "".join(f"{message['content']}\n" for message in prompt)
    label = example.columns.get("label", example.answer)
    return {**example.columns, "queries": text + rollout.text, "prompts": text, "labels": label}


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


_ROWS: dict[_Form, Callable[[Rollout], dict[str, Any]]] = {
    "trl": _trl_row,
    "openrlhf": _openrlhf_row,
    "verl": _verl_row,
    "simple": _simple_row,
}


def _plain(text: Text) -> Any:
    return text if isinstance(text, str) else [dict(message) for message in text]


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = function.__name__ if hasattr(function, "__name__") else type(function).__name__
    return str(name).strip("<>")
