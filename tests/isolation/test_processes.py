"""A system that gives no more processes ends a reward with a sentence."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import Any, NoReturn

import pytest

import groupwise as gw
from groupwise.errors import UserError
from groupwise.isolation.pool import _Worker
from groupwise.isolation.processes import process_creation
from groupwise.isolation.sandbox import Sandbox
from groupwise.isolation.walls import Walls
from groupwise.types import Example, Prompt, Rollout


def refused(*given: Any, **options: Any) -> NoReturn:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_an_isolated_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = gw.as_reward(lambda completion: float(len(completion)))
    rollout = Rollout(Prompt(Example("1", "?"), (1,)), (0,), (True,), (0.0,), "a", True, 0)
    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(UserError, match=r"a process for a reward.* can't be made: Resource temporarily unavailable"):
        reward.score([rollout])


def test_a_verifier_and_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(UserError, match="a process for a reward's verifier can't be made"):
        _Worker({"function": "hostile:act"}, None)
    monkeypatch.setattr("groupwise.isolation.sandbox.walls", lambda: Walls("Landlock"))
    with pytest.raises(UserError, match="a process for a program in the sandbox can't be made"):
        Sandbox().program(b"", b"")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_what_the_system_lacks_is_named(number: int) -> None:
    with pytest.raises(UserError, match="ulimit -u"), process_creation("a test"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EPIPE])
def test_other_errors_stay_what_they_are(number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)), process_creation("a test"):
        raise OSError(number, os.strerror(number))
