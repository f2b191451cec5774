"""This module asks a reward about many answers, whatever it does: raise, hang, return nonsense."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from groupwise.audit.cases import Case
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.types import DEMONSTRATED, Prompt, Rollout, ScoreStatus

HANGS_TRIED = 2
"""Of one kind of answer; the rest of it is then not tried, and counted as timed out."""
LIMITS_TOGETHER = 10
"""A call with many answers has at most so many times the limit of one."""

Status = ScoreStatus | Literal["raised"]


@dataclass(frozen=True)
class Verdict:
    """A verdict says what became of one answer."""

    value: float | None
    status: Status
    seconds: float
    reason: str = ""


Written = Callable[[Case], Rollout]
"""A case as a completion that a policy might have sampled."""


class AuditTimeout(BaseException):
    """The time is over. No ``except Exception`` in a user's function may keep it."""


def as_rollout(case: Case) -> Rollout:
    """A completion of unknown tokens: rewards that read tokens or their number can't be audited with it."""
    return Rollout(Prompt(case.example, ()), (0,), (True,), (0.0,), case.text, case.finished, DEMONSTRATED)


def judge(reward: Reward, cases: Sequence[Case], limit_seconds: float, written: Written = as_rollout) -> list[Verdict]:
    """Returns one verdict a case, of the rollout that ``written`` makes of it.

    All go in one call, as in a run; where that raises or hangs, one by one.
    A hang is ended by a signal: in the main thread on Unix, and unless it is in C code that never looks up.
    """
    if not cases:
        return []
    try:
        return _together(reward, cases, limit_seconds * min(len(cases), LIMITS_TOGETHER), written)
    except (Exception, AuditTimeout):
        return list(_one_by_one(reward, cases, limit_seconds, written))


def _together(reward: Reward, cases: Sequence[Case], limit_seconds: float, written: Written) -> list[Verdict]:
    started = time.perf_counter()
    with _deadline(limit_seconds):
        scores = reward.score([written(case) for case in cases])
    seconds = (time.perf_counter() - started) / len(cases)
    if len(scores) != len(cases):
        raise UserError(f"reward '{reward.name}' returned {len(scores)} scores for {len(cases)} completions")
    return [Verdict(score.value, score.status, seconds, score.reason) for score in scores]


def _one_by_one(reward: Reward, cases: Sequence[Case], limit_seconds: float, written: Written) -> Iterator[Verdict]:
    hangs = 0
    for case in cases:
        if hangs == HANGS_TRIED:
            yield Verdict(None, "timeout", limit_seconds, "not tried: others of its kind hung")
            continue
        started = time.perf_counter()
        try:
            (verdict,) = _together(reward, [case], limit_seconds, written)
            yield verdict
        except AuditTimeout:
            hangs += 1
            seconds = time.perf_counter() - started
            yield Verdict(
                None, "timeout", seconds, f"no score after {limit_seconds:g} s: in a run it would stand still"
            )
        except Exception as error:
            yield Verdict(None, "raised", time.perf_counter() - started, " ".join(str(error).split()))


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise AuditTimeout

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
