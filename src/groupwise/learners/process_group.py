"""This module makes a process one of several, and has it do what rank 0 says.

Rank 0 tells the others in torch's store where it listens. Commands then go over sockets, which may be silent for as
long as sampling takes; torch's process group, whose every wait has a deadline, carries tensors alone.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Client, Connection, wait
from typing import Any

import torch
import torch.distributed as dist

from groupwise.learners.fingerprint import code_fingerprint

GRACE = 2.0
"""Seconds that a process which failed gives the others to say how they fared."""
BEGINNING = timedelta(days=1)
"""How long a follower waits for rank 0 to read its data and open its model. Where rank 0 ends, it hears at once."""
TOLD, HERE = "groupwise/rank 0", "groupwise/here/"


def store_of_all() -> Any:
    """The store in which the processes that torchrun started find each other, another one after each restart."""
    store, _, _ = next(iter(dist.rendezvous("env://", rank=int(os.environ["RANK"]), world_size=_size())))
    return store


def tell(store: Any, address: str, key: bytes, timeout_seconds: float) -> None:
    """Says where rank 0 listens, and how long one process may let another wait."""
    store.set(TOLD, json.dumps([address, key.hex(), timeout_seconds, sys.path]))


def is_here(store: Any, rank: int) -> bool:
    """Waits a moment for a process, and says whether it connects to rank 0."""
    if not store.check([f"{HERE}{rank}"]):
        time.sleep(0.02)
        return False
    return True


def join(store: Any, rank: int, count: int, timeout_seconds: float) -> None:
    """Makes this process one of torch's process group, in which every wait has a deadline."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    prefixed = dist.PrefixStore("groupwise/group", store)
    dist.init_process_group(
        backend, store=prefixed, rank=rank, world_size=count, timeout=timedelta(seconds=timeout_seconds)
    )


def follow(handle: Callable[[tuple[Any, ...]], Any]) -> None:
    """Does what rank 0 says until it says that this is over, or is gone."""
    rank, store = int(os.environ["RANK"]), store_of_all()
    store.wait([TOLD], BEGINNING)
    address, key, timeout_seconds, paths = json.loads(store.get(TOLD))
    sys.path += [path for path in paths if path not in sys.path]  # a recipe's folder is one
    store.set(f"{HERE}{rank}", "yes")
    host, port = address.rsplit(":", 1)
    link = Client((host, int(port)), authkey=bytes.fromhex(key))
    link.send((rank, code_fingerprint()))
    join(store, rank, _size(), timeout_seconds)
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


def _did(link: Connection, handle: Callable[[tuple[Any, ...]], Any], message: tuple[Any, ...]) -> bool:
    """Answers. False where this process failed, and rank 0 does not say that it failed alike."""
    try:
        if message[0] == "failed":
            raise message[1]
        link.send_bytes(pickle.dumps(("done", handle(message))))
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
