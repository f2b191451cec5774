"""This module makes a process one of several, and has it do what rank 0 says.

Rank 0 tells the others in torch's store where it listens. Commands then go over sockets, which may be silent for as
long as sampling takes; torch's process group, whose every wait has a deadline, carries tensors alone.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, wait
from typing import Any

import torch
import torch.distributed as dist

from groupwise.learners.fingerprint import code_fingerprint

GRACE = 2.0
"""Seconds that a process which failed gives the others to say how they fared."""
BEGINNING = timedelta(days=1)
"""How long a follower waits for rank 0 to read its data and open its model. Where rank 0 ends, it hears at once."""
SECONDS_TO_READ = 5.0
TOLD, HERE = "rank 0", "here/"
STOPS = signal.SIGINT, signal.SIGTERM
_asked: list[int] = []
"""The signals that a follower was sent."""


def store_of_all() -> Any:
    """The store in which the processes that torchrun started find each other. It outlives a restart: what was said
    before is not read again."""
    store, _, _ = next(iter(dist.rendezvous("env://", rank=int(os.environ["RANK"]), world_size=_size())))
    return of_this_attempt(store)


def of_this_attempt(store: Any) -> Any:
    """The part of a store that the processes of one start read."""
    return dist.PrefixStore(f"groupwise/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def tell(store: Any, address: str, key: bytes, timeout_seconds: float) -> None:
    """Says where rank 0 listens, and how long one process may let another wait."""
    store.set(TOLD, json.dumps([address, key.hex(), timeout_seconds, sys.path]))


def tell_over(store: Any, count: int) -> None:
    """Says that rank 0 needs no other process, and waits a moment until they have read it."""
    store.set(TOLD, json.dumps([]))
    until = time.monotonic() + SECONDS_TO_READ
    while time.monotonic() < until and not all(is_here(store, rank, b"") for rank in range(1, count)):
        time.sleep(0.05)


def is_here(store: Any, rank: int, key: bytes) -> bool:
    """Says whether a process has read what rank 0 told with this key."""
    return bool(store.check([f"{HERE}{key.hex()}/{rank}"]))


def join(store: Any, rank: int, count: int, timeout_seconds: float, key: bytes) -> None:
    """Makes this process one of torch's process group, in which every wait has a deadline."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    prefixed = dist.PrefixStore(key.hex(), store)
    dist.init_process_group(
        backend, store=prefixed, rank=rank, world_size=count, timeout=timedelta(seconds=timeout_seconds)
    )


def follow(handle: Callable[[tuple[Any, ...]], Any]) -> None:
    """Does what rank 0 says until it says that this is over, or is gone. Ends at a signal until it has met rank 0; then
    rank 0 ends its step first, and hears of the signal with the next answer."""
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    link = _link_to_rank_0(int(os.environ["RANK"]), store_of_all())
    if link is None:
        return
    for number in STOPS:
        signal.signal(number, lambda number, frame: _asked.append(number))
    while True:
        try:
            message = pickle.loads(link.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # rank 0 is gone
        except Exception as error:
            message = ("failed", error)  # a module that is not there
        if message[0] == "end":
            return
        if message[0] != "go on" and not _did(link, handle, message):
            os._exit(1)  # the others are in the midst of what this one can't go on with


def _link_to_rank_0(rank: int, store: Any) -> Connection | None:
    """Joins the others; None where rank 0 is over already. After a restart the store may still say where the rank 0
    before listened: then it is read again."""
    store.wait([TOLD], BEGINNING)
    ours = code_fingerprint()  # who has met rank 0 is to say it at once
    until = time.monotonic() + BEGINNING.total_seconds()
    while True:
        told = json.loads(store.get(TOLD))
        if not told:
            store.set(f"{HERE}/{rank}", "over")
            return None
        address, hexadecimal, timeout_seconds, paths = told
        key = bytes.fromhex(hexadecimal)
        store.set(f"{HERE}{hexadecimal}/{rank}", "here")
        host, port = address.rsplit(":", 1)
        try:
            link = Client((host, int(port)), authkey=key)
            link.send((rank, ours))
            break
        except (OSError, EOFError, AuthenticationError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
    sys.path += [path for path in paths if path not in sys.path]  # a recipe's folder is one
    join(store, rank, _size(), timeout_seconds, key)
    return link


def _did(link: Connection, handle: Callable[[tuple[Any, ...]], Any], message: tuple[Any, ...]) -> bool:
    """Answers. False where this process failed, and rank 0 does not say that it failed alike."""
    try:
        if message[0] == "failed":
            raise message[1]
        link.send_bytes(pickle.dumps(("done", handle(message), _asked[0] if _asked else 0)))
        return True
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        try:
            data = pickle.dumps(("failed", (text, error)))
            pickle.loads(data)
        except Exception:
            data = pickle.dumps(("failed", (text, None)))
        with suppress(OSError):
            link.send_bytes(data)
        return bool(wait([link], 2 * GRACE))


def _size() -> int:
    return int(os.environ["WORLD_SIZE"])
