"""This module reads a case from JSON. Whatever is wrong is said in one line, with its place."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.explain.case import LISTS, Case, Response

CASE_KEYS = ("groups", "greedy_rewards", "reward_weights")
SAID = ("truncated", "correct", "demonstrated")
"""True or false of a response."""
RESPONSE_KEYS = ("logprobs", *LISTS, "reward", "rewards", "step_rewards", "mask", "tokens", *SAID)
ROUNDING = 1e-9  # by which a log-probability may be above 0


def read_case(path: str | Path, scores: bool = False, judge: str = "") -> Case:
    """Reads the case in a JSON file; its logprobs are ``scores`` where a scorer learns; ``judge`` is the reward, of
    several, that says what is right. Raises UserError for a file that is not there or not what is expected."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --case takes a JSON file with groups of responses") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from error
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not usable JSON: {error}") from error
    return case_from(data, str(path), scores, judge)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose keys must differ."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return table


def case_from(data: Any, name: str = "case", scores: bool = False, judge: str = "") -> Case:
    """Makes the case of parsed JSON: ``scores`` may stand in logprobs. Raises UserError where something is not as
    expected."""
    table = _object(data, name, CASE_KEYS)
    groups = _list(table.get("groups"), f"{name}: groups")
    if not groups:
        raise UserError(f"{name}: groups is empty; expected at least one group of responses")
    responses = [_group(group, f"{name}: group {number}", scores) for number, group in enumerate(groups)]
    greedy = table.get("greedy_rewards")
    if greedy is not None:
        greedy = _numbers(greedy, f"{name}: greedy_rewards")
        if len(greedy) != len(groups):
            raise UserError(
                f"{name}: greedy_rewards has {len(greedy)} numbers for {len(groups)} groups; expected one each"
            )
    weights = _weights(table, responses, name)
    if judge and judge not in weights:
        expected = _nearest(judge, weights) if weights else "; its responses name no rewards"
        raise UserError(f"{name}: no reward is named {judge!r}{expected}")
    groups = [[_summed(response, weights) for response in group] for group in responses]
    return Case(groups, greedy, weights, name, judge)


def _group(data: Any, where: str, scores: bool) -> list[Response]:
    members = _list(data, where)
    if not members:
        raise UserError(f"{where} is empty; expected at least one response")
    return [_response(member, f"{where}, response {number}", scores) for number, member in enumerate(members)]


def _response(data: Any, where: str, scores: bool) -> Response:
    table = _object(data, where, RESPONSE_KEYS)
    if "logprobs" not in table:
        what = "the scorer's score" if scores else "the policy's log-probability"
        raise UserError(f"{where} has no logprobs; expected {what} of each token")
    lists = {name: _numbers(table[name], f"{where}: {name}") for name in ("logprobs", *LISTS) if name in table}
    length = len(lists["logprobs"])
    if not length:
        raise UserError(f"{where}: logprobs is empty; a response has at least one token")
    mask = _mask(table.get("mask"), where, length)
    for name, values in lists.items():
        _check(values, name, where, length, any_sign=scores and name == "logprobs")
    for name in SAID:
        if not (isinstance(table.get(name, False), bool) or (name == "correct" and table[name] is None)):
            null = ", or null for not scored" * (name == "correct")
            raise UserError(f"{where}: {name} is {_shown(table[name])}; expected true or false{null}")
    reward = table.get("reward")
    return Response(
        logprobs=lists.pop("logprobs"),
        lists=lists,
        reward=None if reward is None else _number(reward, f"{where}: reward"),
        scored="reward" not in table or reward is not None,
        step_rewards=_steps(table["step_rewards"], f"{where}: step_rewards", mask) if "step_rewards" in table else None,
        parts=_parts(table.get("rewards", {}), f"{where}: rewards"),
        truncated=table.get("truncated", False),
        mask=mask,
        tokens=_ids(table["tokens"], f"{where}: tokens", length) if "tokens" in table else None,
        correct=table.get("correct"),
        judged="correct" in table,
        demonstrated=table.get("demonstrated", False),
    )


def _check(values: Sequence[float], name: str, where: str, length: int, any_sign: bool) -> None:
    if len(values) != length:
        raise UserError(f"{where}: {name} has {len(values)} numbers, logprobs {length}; expected one a token in each")
    for place, value in enumerate(values):
        if name.endswith("logprobs") and value > ROUNDING and not any_sign:
            raise UserError(
                f"{where}: {name}[{place}] is {value:g}, a probability above 1; expected natural logarithms, 0 or less"
            )


def _mask(data: Any, where: str, length: int) -> list[bool]:
    if data is None:
        return [True] * length
    mask = _list(data, f"{where}: mask")
    if len(mask) != length or any(value not in (0, 1) for value in mask):
        raise UserError(
            f"{where}: mask has {len(mask)} entries, logprobs {length}; expected true or false for each token"
        )
    if not any(mask):
        raise UserError(f"{where}: mask leaves no token; expected at least one that the policy sampled")
    return [bool(value) for value in mask]


def _ids(data: Any, where: str, length: int) -> list[int]:
    ids = _list(data, where)
    if len(ids) != length or any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in ids):
        raise UserError(f"{where}: {_shown(data)}; expected {length} token ids, one for each of logprobs")
    return list(ids)


def _steps(data: Any, where: str, mask: Sequence[bool]) -> dict[int, float]:
    found: dict[int, float] = {}
    for number, entry in enumerate(_list(data, where)):
        pair = _list(entry, f"{where}[{number}]")
        if len(pair) != 2 or not isinstance(pair[0], int) or isinstance(pair[0], bool):
            raise UserError(f"{where}[{number}] is {_shown(entry)}; expected [end_index, score], the index 0-based")
        end = pair[0]
        if not 0 <= end < len(mask):
            raise UserError(
                f"{where}[{number}] ends at token {end}; expected 0 to {len(mask) - 1}, the response's tokens"
            )
        if not mask[end]:
            raise UserError(f"{where}[{number}] ends at token {end}, which the mask leaves out")
        if found and end <= max(found):
            raise UserError(
                f"{where}[{number}] ends at token {end}, after one that ends at {max(found)}; expected rising"
            )
        found[end] = _number(pair[1], f"{where}[{number}]: score")
    return found


def _parts(data: Any, where: str) -> dict[str, float | None]:
    if not isinstance(data, Mapping):
        raise UserError(f"{where} is {_shown(data)}; expected an object of rewards by their names")
    return {name: None if value is None else _number(value, f"{where}: {name}") for name, value in data.items()}


def _weights(table: Mapping[str, Any], groups: Sequence[Sequence[Response]], name: str) -> dict[str, float]:
    """Of every reward that responses name; 1 unless said otherwise."""
    rows = Case(groups, name=name).rows()
    named = {part: None for _, response in rows for part in response.parts}
    for where, response in rows:
        missing = next((part for part in named if part not in response.parts), None)
        if missing is not None:
            raise UserError(f"{where}: rewards has no {missing!r}, which another response has; null says: not scored")
    given = _parts(table.get("reward_weights", {}), f"{name}: reward_weights")
    unknown = next((part for part in given if part not in named), None)
    if unknown is not None:
        raise UserError(
            f"{name}: reward_weights names {unknown!r}, and no response's rewards do{_nearest(unknown, named)}"
        )
    weights = {part: given.get(part, 1.0) for part in named}
    return {part: 1.0 if weight is None else weight for part, weight in weights.items()}


def _summed(response: Response, weights: Mapping[str, float]) -> Response:
    """With the weighted sum of its several rewards, where no total is given."""
    if not response.parts or response.reward is not None or not response.scored:
        return response
    said = [weights[part] * value for part, value in response.parts.items() if value is not None]
    return replace(response, reward=sum(said) if said else None, scored=bool(said))


def _object(data: Any, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise UserError(f"{where} is {_shown(data)}; expected an object with {known[0]}")
    unknown = next((key for key in data if key not in known), None)
    if unknown is not None:
        raise UserError(f"{where}: unknown key {unknown!r}{_nearest(unknown, known)}")
    return data


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f": perhaps you meant {near[0]}" if near else f"; there are {', '.join(known)}"


def _list(data: Any, where: str) -> Sequence[Any]:
    if not isinstance(data, list):
        raise UserError(f"{where} is {_shown(data)}; expected a list")
    return data


def _numbers(data: Any, where: str) -> list[float]:
    return [_number(value, f"{where}[{place}]") for place, value in enumerate(_list(data, where))]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where} is {_shown(value)}; expected a number")
    if abs(value) > 1e300 or math.isnan(value):
        raise UserError(f"{where} is {_shown(value)}; expected a finite number")
    return float(value)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
