"""This is the program of one worker. Standard library only, beside the modules that come with it (``parcel``).

It imports one function of ours, then answers one line of JSON with one line of JSON, for ever::

    {"item": ..., "seconds": 5.0}                    ->  {"value": ...} or {"timeout": true} or {"failed": "why"}

Every item is run in a process of its own, forked from this one after the imports, so nothing that an item does
(patch a module, eat memory, hang) reaches the next one. That process shuts itself in before it looks at the item; what
around it stands already (bubblewrap) is as :mod:`groupwise.isolation.walls` has it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from groupwise.isolation.confinement import CallFilter, drop_capabilities, enter, give_up_new_privileges, ruleset
from groupwise.isolation.limits import become_nobody, limit_output, limit_work
from groupwise.isolation.pages import share_pages

REPLY_BYTES = 16 << 20
_REPLY, _RULES = 3, 4


def main(setup: dict[str, Any]) -> None:
    """Answers requests of the pool, one behind the other, until its end is closed."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        function = _prepare(setup)
        setup["rules"], setup["filter"] = _what_items_inherit(setup)
    except Exception as error:
        _write(replies, {"broken": f"{type(error).__name__}: {error}"})
        return
    _write(replies, {"ready": True})
    while line := requests.readline():
        request = json.loads(line)
        _write(replies, run(function, request["item"], request["seconds"], setup, requests))


def _what_items_inherit(setup: dict[str, Any]) -> tuple[int | None, CallFilter | None]:
    """All that can be done once is done here, since an item's process pays for each call and for each page of memory
    that it writes to. What is left to it: a ruleset and a filter."""
    limit_output()
    if sys.platform == "linux":
        give_up_new_privileges()
    rules = ruleset(setup["readable"]) if setup["readable"] else None
    own = None
    if setup["filters"]:
        common, last = map(CallFilter, setup["filters"])
        common.enter()
        own = last
    share_pages()
    return rules, own


def _prepare(setup: dict[str, Any]) -> Callable[[Any], Any]:
    """The function, imported and run on the warm-up items, so that all it loads lazily is loaded."""
    sys.path[:0] = [folder for folder in setup["path"] if folder not in sys.path]
    for name in [name for name in sys.modules if name.startswith("groupwise")]:
        del sys.modules[name]  # what came in the parcel; the package itself is here to be read
    module, _, name = setup["function"].partition(":")
    function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    for item in json.loads(setup["warm_up"]):
        function(item)
    if setup["scratch"]:
        for folder, _, _ in os.walk(setup["scratch"]):
            os.chmod(folder, 0o555)
    if not setup["filters"]:
        nowhere = tempfile.mkdtemp(prefix="groupwise-")
        os.chmod(nowhere, 0o555)
        os.chdir(nowhere)
        os.rmdir(nowhere)  # the working directory is empty, nothing can be made in it, and nothing is left of it
    return function


def run(
    function: Callable[[Any], Any], item: Any, seconds: float, setup: dict[str, Any], lifeline: Any
) -> dict[str, Any]:
    """One item in one process, ended with all it started. Exits where the caller's end of ``lifeline`` is closed."""
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        _run_in_child(function, item, seconds, setup, write)
    os.close(write)
    try:
        reply = _read_reply(read, started + seconds, lifeline)
    finally:
        os.close(read)
        _kill(child)
    if reply is None:
        return {"timeout": True}
    try:
        answer = json.loads(reply)
    except (ValueError, RecursionError):
        return {"failed": "its process ended without an answer"}
    forged = not isinstance(answer, dict) or answer.keys() not in ({"value"}, {"failed"})
    return {"failed": "its process gave no proper answer"} if forged else answer


def _read_reply(read: int, deadline: float, lifeline: Any) -> bytes | None:
    """All that the item's process wrote until it closed the pipe; None where time ran out first."""
    reply = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([read, lifeline], [], [], left)
        if lifeline in ready:
            raise SystemExit("the caller has gone")
        if read in ready:
            chunk = os.read(read, 65536)
            if not chunk or len(reply) > REPLY_BYTES:
                return reply
            reply += chunk
    return None


def _run_in_child(function: Callable[[Any], Any], item: Any, seconds: float, setup: dict[str, Any], write: int) -> None:
    """Never returns. No file is open but standard input and output, which lead nowhere, and the reply."""
    rules = setup["rules"]
    if rules is not None:
        rules = os.dup(rules)  # above the numbers that are about to be taken
    write = os.dup(write)
    os.dup2(write, _REPLY)
    if rules is not None:
        os.dup2(rules, _RULES)
    os.closerange(_REPLY + 1 if rules is None else _RULES + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        _restrict(seconds, setup)
        answer = json.dumps({"value": function(item)})
    except Exception as error:
        answer = json.dumps({"failed": f"{type(error).__name__}: {str(error)[:200]}"})
    try:
        with os.fdopen(_REPLY, "wb") as reply:
            reply.write(answer.encode())
    finally:
        os._exit(0)


def _restrict(seconds: float, setup: dict[str, Any]) -> None:
    os.setsid()
    limit_work(int(seconds) + 2, setup["memory_bytes"])
    become_nobody(keeps=os.devnull if setup["readable"] else "")
    if sys.platform == "linux":
        drop_capabilities()
    if setup["rules"] is not None:
        enter(_RULES)
    if setup["filter"] is not None:
        setup["filter"].enter()


def _kill(child: int) -> None:
    """The item's process, its group, and (in a process tree of our own) whatever escaped from both."""
    _kill_everything()
    for kill, target in ((os.killpg, child), (os.kill, child)):
        with suppress(ProcessLookupError):
            kill(target, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _kill_everything() -> None:
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def _write(replies: Any, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()
