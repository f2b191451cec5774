"""Asks a reward about many answers, whatever it does: raise, hang, return nonsense."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout, ScoreStatus

HANGS_TRIED = 2
"""Of one kind of answer; the rest of it is then not tried, and counted as timed out."""
LIMITS_TOGETHER = 10
"""A call with many answers has at most so many times the limit of one."""

Status = ScoreStatus | Literal["raised"]


@dataclass(frozen=True)
class Verdict:
    """What became of one answer."""

    value: float | None
    status: Status
    seconds: float
    reason: str = ""


class Hung(BaseException):
    """The time is over. No ``except Exception`` in a user's function may keep it."""


def judge(reward: Reward, answers: Sequence[tuple[Example, str]], limit_seconds: float) -> list[Verdict]:
    """One verdict an answer. All go in one call, as in a run; where that raises or hangs, one by one.

    A hang is ended by a signal: in the main thread on Unix, and unless it is in C code that never looks up.
    """
    if not answers:
        return []
    try:
        return _together(reward, answers, limit_seconds * min(len(answers), LIMITS_TOGETHER))
    except (Exception, Hung):
        return list(_one_by_one(reward, answers, limit_seconds))


def _together(reward: Reward, answers: Sequence[tuple[Example, str]], limit_seconds: float) -> list[Verdict]:
    started = time.perf_counter()
    with _deadline(limit_seconds):
        scores = reward.score([as_rollout(*answer) for answer in answers])
    seconds = (time.perf_counter() - started) / len(answers)
    if len(scores) != len(answers):
        raise UserError(f"reward '{reward.name}' returned {len(scores)} scores for {len(answers)} completions")
    return [Verdict(score.value, score.status, seconds) for score in scores]


def _one_by_one(reward: Reward, answers: Sequence[tuple[Example, str]], limit_seconds: float) -> Iterator[Verdict]:
    hangs = 0
    for answer in answers:
        if hangs == HANGS_TRIED:
            yield Verdict(None, "timeout", limit_seconds, "not tried: others of its kind hung")
            continue
        started = time.perf_counter()
        try:
            (verdict,) = _together(reward, [answer], limit_seconds)
            yield verdict
        except Hung:
            hangs += 1
            seconds = time.perf_counter() - started
            yield Verdict(
                None, "timeout", seconds, f"no score after {limit_seconds:g} s: in a run it would stand still"
            )
        except Exception as error:
            yield Verdict(None, "raised", time.perf_counter() - started, " ".join(str(error).split()))


def as_rollout(example: Example, text: str) -> Rollout:
    """A completion of unknown tokens: rewards that read tokens or their number can't be audited with it."""
    return Rollout(Prompt(example, ()), (0,), (True,), (0.0,), text, True, DEMONSTRATED)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise Hung

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
