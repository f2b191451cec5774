"""Scores that were paid for once: kept by content in one file, across calls, runs and processes."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from groupwise.config.describe import describe
from groupwise.config.identity import unknowns
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.decorator import Decorator
from groupwise.rewards.scoring import prepare, scores_at
from groupwise.types import OVER, Rollout, Score, TrainerState

UNUSABLE = "expected a file that groupwise made or a place where it can make one; remove the file or name another"
LOCK_SECONDS = 30.0
KEPT = ("scored", "not_applicable")
ASKED_AT_ONCE = 500  # keys in one query


@runtime_checkable
class Identified(Protocol):
    """A reward that says itself what its scores depend on."""

    def identity(self) -> Mapping[str, Any]:
        """Returns plain values: all that a score depends on beside the rollout, and nothing else."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A reward that can say each score as soon as it is known."""

    def stream(self, rollouts: Sequence[Rollout]) -> Iterator[tuple[int, Score]]:
        """Yields ``(row, score)`` of every row once, in any order."""
        ...


@runtime_checkable
class StreamingAt(Protocol):
    """A reward that can say each score as soon as it is known, and may depend on where training stands."""

    def stream_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> Iterator[tuple[int, Score]]:
        """Does as ``Streaming.stream``, of completions drawn at that state."""
        ...


@dataclass(frozen=True)
class Cached(Decorator):
    """This is ``reward``, asked once for each content; for judges and slow rewards.

    Two rollouts are the same where prompt, sampled text, tokens, steps, ``finished`` and every column of the row are,
    and the reward is: its type and options but name and weight, of a function its source, of a scorer its weights
    (``Identified.identity``). Kept are values and that a reward does not apply; what timed out, failed or could not be
    read is asked again, and so is what a function said after a look at where training stands (``Score.dated``).
    ``rewards/NAME/cached`` is the share of completions that were known.

    Each score is written as soon as the reward says it (``Streaming``: a judge, a function of one completion); one that
    says all of a call together is written then. The file is a SQLite database: processes may share it, and one that is
    killed keeps all that was written. Raises UserError where the file is something else or cannot be written, and
    where nothing says what the reward is: it must be a dataclass, a function's reward or ``Identified``.
    """

    reward: Reward
    path: str | Path

    @property
    def name(self) -> str:
        """Is the name of the reward whose scores are kept."""
        return self.reward.name

    @property
    def weight(self) -> float:
        """Is the weight of the reward whose scores are kept."""
        return self.reward.weight

    def prepare(self) -> None:
        """Prepares the reward inside (``scoring.NeedsPreparation``). Raises UserError where its scores could not be
        told from those of another reward."""
        _ = self._about
        prepare([self.reward])

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Scores rollouts as ``score_at`` does once training is over."""
        return self.score_at(rollouts, OVER)

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """Returns one score a rollout: from the file where it is known, from the reward otherwise
        (``protocols.FollowsTraining``)."""
        about = self._about
        keys = [_key(about, rollout) for rollout in rollouts]
        with self._file() as file:
            known = dict(_read(file, keys))
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
        asked = sorted(first.values())
        new: dict[str, Score] = {}
        for said in self._said([rollouts[row] for row in asked], state) if asked else ():
            together = {keys[asked[row]]: score for row, score in said}
            with self._file() as file:
                lasting = ((key, score) for key, score in together.items() if score.status in KEPT and not score.dated)
                _write(file, lasting)
            new |= together
        return [
            replace(known[key], cached=True) if key in known else replace(new[key], cached=first[key] != row)
            for row, key in enumerate(keys)
        ]

    @functools.cached_property
    def _about(self) -> Mapping[str, Any]:
        """Describes the reward. Raises UserError where it cannot be told apart from another one."""
        about = _about(self.reward)
        for place, kind in unknowns(about):
            raise UserError(
                f"reward '{self.name}' cannot be cached: its {place} holds a {kind}, which cannot be compared with "
                "another one, so its scores could be taken for those of another reward; keep plain values there and "
                "make the object when it is called, or give the reward identity() -> dict"
            )
        return about

    def _said(self, rollouts: Sequence[Rollout], state: TrainerState) -> Iterator[list[tuple[int, Score]]]:
        """Yields rows with their scores, in the batches in which they become known."""
        if isinstance(self.reward, StreamingAt):
            yield from ([one] for one in self.reward.stream_at(rollouts, state))
            return
        if isinstance(self.reward, Streaming):
            yield from ([one] for one in self.reward.stream(rollouts))
            return
        scores = scores_at(self.reward, rollouts, state)
        if len(scores) != len(rollouts):
            raise UserError(f"reward '{self.name}' returned {len(scores)} scores for {len(rollouts)} completions")
        yield list(enumerate(scores))

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        path = Path(self.path).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as file, file:
                file.execute("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score TEXT NOT NULL)")
                yield file
        except (sqlite3.Error, OSError) as error:
            is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise UserError(
                f"reward '{self.name}': its cache {path} cannot be used ({error}); "
                + ("what it holds is whole; make room and run the same command again" if is_full else UNUSABLE)
            ) from error


def _about(reward: Reward) -> Mapping[str, Any]:
    if isinstance(reward, Identified):
        return reward.identity()
    if not is_dataclass(reward):
        raise UserError(
            f"reward '{reward.name}' cannot be cached: nothing says what its scores depend on; make "
            f"{type(reward).__name__} a dataclass, or give it identity() -> dict"
        )
    return {option: value for option, value in describe(reward).items() if option not in ("name", "weight")}


def _key(about: Mapping[str, Any], rollout: Rollout) -> str:
    example = rollout.prompt.example
    content = [
        about,
        [example.prompt, example.answer, example.columns, rollout.prompt.tokens],
        [rollout.text, rollout.tokens, rollout.mask, rollout.steps, rollout.finished],
    ]
    plain = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(plain.encode()).hexdigest()


def _read(file: sqlite3.Connection, keys: Sequence[str]) -> Iterator[tuple[str, Score]]:
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), ASKED_AT_ONCE):
        part = wanted[start : start + ASKED_AT_ONCE]
        marks = ",".join("?" * len(part))
        for key, text in file.execute(f"SELECT key, score FROM scores WHERE key IN ({marks})", part):
            value, status, steps, *beside = json.loads(text)
            logged, extras = beside or ({}, {})
            yield key, Score(value, status, {int(index): score for index, score in steps}, logged=logged, extras=extras)


def _write(file: sqlite3.Connection, scores: Iterable[tuple[str, Score]]) -> None:
    rows = [(key, json.dumps(_plain(score))) for key, score in scores]
    file.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", rows)


def _plain(score: Score) -> list[Any]:
    return [score.value, score.status, list(score.steps.items()), score.logged, score.extras]
