"""This module keeps gathered groups on the disk, whole and exact: JSON lines, first what they are, then one group a
line."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.sources.draw import OfflineGroups
from groupwise.storage.atomic import open_new
from groupwise.types import Example, Group, Prompt, Rollout, Score
from groupwise.values.metric_names import untimed

LATER = ("versions", "stop", "turns", "messages", "restarts")
"""Fields of a rollout that are written where they say something."""


def write(path: Path, gathered: OfflineGroups, rows: Mapping[str, int], made_by: str) -> None:
    """A file that is either whole or not there, the same bytes whenever it is made. ``rows`` gives each example's row
    number by its id. The last line is a hash of all before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, {"made_by": made_by, "metrics": untimed(gathered.metrics)}, gathered.groups, rows)


def write_lines(path: Path, head: Mapping[str, Any], groups: Sequence[Group], rows: Mapping[str, int]) -> None:
    """Writes such a file with any first line; see ``write``."""
    partial = path.with_name(f".partial-{path.name}")
    digest = hashlib.sha256()
    numbered = ({"row": rows[group.prompt.example.id]} | plain(group) for group in groups)
    with open_new(partial) as file:
        for values in itertools.chain([head], numbered):
            line = json.dumps(values).encode() + b"\n"
            digest.update(line)
            file.write(line)
        file.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read(path: Path, rows: Sequence[Example], made_by: str) -> OfflineGroups | None:
    """The inverse of ``write`` on the same rows; None where there is no file.

    Raises UserError where it is damaged, was made by something else, or from other rows.
    """
    if not path.exists():
        return None
    about, groups = read_lines(path, rows)
    if about["made_by"] != made_by:
        raise UserError(
            f"{path}: holds what {about['made_by']} gathered; expected {made_by}; remove the file to gather anew"
        )
    return OfflineGroups(list(groups), about["metrics"])


def groups_in(path: Path, rows: Sequence[Example]) -> list[Group]:
    """Reads the groups of a file, whatever made it; the rows are the same. Raises UserError where they are not, or it
    is damaged."""
    return list(read_lines(path, rows)[1])


def read_lines(path: Path, rows: Sequence[Example]) -> tuple[dict[str, Any], Iterator[Group]]:
    """The first line, and the groups, which are made as they are taken. Raises UserError for a damaged file."""
    head, *groups = _lines(path)
    return json.loads(head), _groups(path, groups, rows)


def _lines(path: Path) -> list[bytes]:
    """Returns all lines but the last, which says that they are as they were written."""
    *lines, last = path.read_bytes().splitlines(keepends=True) or [b""]
    expected = json.dumps({"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}).encode() + b"\n"
    if not lines or last != expected:
        raise UserError(
            f"{path}: is damaged: its last line is not the hash of those before it; bring the file back, or remove it "
            "to gather anew"
        )
    return lines


def plain(group: Group) -> dict[str, Any]:
    """Returns a value as JSON takes it; of the prompt's example only the id."""
    values = {
        "example": group.prompt.example.id,
        "prompt_tokens": group.prompt.tokens,
        "greedy_reward": group.greedy_reward,
        "rollouts": [_plain_rollout(rollout) for rollout in group.rollouts],
    }
    opened = {"opens_thinking": True} if group.prompt.opens_thinking else {}
    world = {} if group.prompt.world is None else {"world": group.prompt.world, "messages": group.prompt.messages}
    told = {"reference_tokens": group.prompt.reference_tokens} if group.prompt.reference_tokens else {}
    return values | opened | world | told


def from_plain(values: Mapping[str, Any], example: Example) -> Group:
    """Makes a group again of the plain values that ``plain`` gave, on the row ``example``."""
    thinks, said = values.get("opens_thinking", False), tuple(values.get("messages", ()))
    told = tuple(values.get("reference_tokens", ()))
    prompt = Prompt(example, tuple(values["prompt_tokens"]), thinks, values.get("world"), said, told)
    rollouts = tuple(_rollout(prompt, rollout) for rollout in values["rollouts"])
    return Group(prompt, rollouts, values["greedy_reward"])


def _groups(path: Path, lines: Iterable[bytes], rows: Sequence[Example]) -> Iterator[Group]:
    for line in lines:
        values = json.loads(line)
        number, id = values["row"], values["example"]
        if number >= len(rows) or rows[number].id != id:
            raise UserError(
                f"{path}: was gathered from other rows: row {number} was {id}; bring the same data, or remove the file "
                "to gather anew"
            )
        yield from_plain(values, rows[number])


def _plain_rollout(rollout: Rollout) -> dict[str, Any]:
    """Returns a rollout as JSON takes it: integer keys become pairs. Whether a score was known before is of one time,
    not of the sample."""
    scores = {name: _plain_score(score) for name, score in rollout.scores.items()}
    left_out = {"prompt"} | {name for name in LATER if not getattr(rollout, name)}
    values = {name: value for name, value in vars(rollout).items() if name not in left_out}
    return values | {"rewards": list(rollout.rewards.items()), "scores": scores}


def _plain_score(score: Score) -> dict[str, Any]:
    values = asdict(replace(score, cached=None)) | {"steps": list(score.steps.items())}
    return {name: value for name, value in values.items() if name != "right" or value is not None}


def _rollout(prompt: Prompt, values: Mapping[str, Any]) -> Rollout:
    scores = {name: Score(**score | {"steps": _indexed(score["steps"])}) for name, score in values["scores"].items()}
    support = values["support"]
    changed = {
        **{name: tuple(values[name]) for name in ("tokens", "mask", "behavior_logprobs", "steps")},
        "rewards": _indexed(values["rewards"]),
        "scores": scores,
        "support": None if support is None else tuple(map(tuple, support)),
        "versions": tuple((version, end) for version, end in values.get("versions", ())),
        **{name: tuple(values.get(name, ())) for name in ("turns", "messages", "restarts")},
    }
    return Rollout(**{**values, **changed, "prompt": prompt})


def _indexed(pairs: Sequence[Sequence[Any]]) -> dict[int, float]:
    return {int(index): value for index, value in pairs}
