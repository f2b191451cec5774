"""This module says which process failed first, of what several say when they lose each other."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

import torch.distributed as dist

from groupwise.errors import UserError

Failure = tuple[str, BaseException | None]
"""A traceback, and the exception where it can travel."""


class RankLost(UserError):  # noqa: N818 - what happened to a process
    """This error says that one of the processes is gone, stopped, or failed alone."""


def first_words(links: Mapping[int, Connection], seconds: float) -> tuple[dict[int, Failure], dict[int, str]]:
    """Hears the others for so many seconds at most. Returns failures, and who is ``silent`` or ``gone``, by rank."""
    failures: dict[int, Failure] = {}
    states: dict[int, str] = {}
    deadline = time.monotonic() + seconds
    for rank, link in links.items():
        try:
            if not link.poll(max(0.0, deadline - time.monotonic())):
                states[rank] = "silent"
                continue
            kind, value, *_ = pickle.loads(link.recv_bytes())
            if kind == "failed":
                failures[rank] = value
        except (EOFError, OSError):
            states[rank] = "gone"
    return failures, states


def first_cause(failures: Mapping[int, Failure], states: Mapping[int, str]) -> tuple[int, str] | None:
    """Returns the rank where it began, and its words, empty where it said nothing; None where all only lost others."""
    for rank, (text, error) in failures.items():
        if error is None or not of_transport(error):
            return rank, told(rank, (text, error))
    for state in ("gone", "silent"):
        for rank, how in states.items():
            if how == state:
                return rank, ""
    return None


def told(rank: int, failure: Failure) -> str:
    """Returns a failure of another process in words: one line where the user can mend it."""
    text, error = failure
    if isinstance(error, UserError):
        return f"rank {rank}: {error}"
    return f"rank {rank} failed: {text.strip()}"


def of_transport(error: BaseException) -> bool:
    """Says whether an error tells that another process could not be reached, and nothing about this one: itself, or
    what it was made of."""
    if isinstance(error, UserError) and error.__cause__ is not None:
        return of_transport(error.__cause__)
    words = ("gloo", "nccl", "connection", "timed out", "broken pipe", "peer")
    return isinstance(error, OSError | EOFError | dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
