"""The processes of one learner: this one is rank 0, which says what is done; the others do the same on their part."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from groupwise.errors import UserError

IDLE = timedelta(days=365)
"""How long a follower waits for the next call: rank 0 may sample for hours. Where rank 0 ends, it hears at once."""
SECONDS_TO_END = 10.0
FOLLOWER = "from groupwise.learners.shard import main; main()"

_ranks: Ranks | None = None


class Ranks:
    """These are rank 0 and the processes that it started; one group of them at a time serves all learners."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.learners, self.alive = count, 0, True
        self._folder = Path(tempfile.mkdtemp(prefix="groupwise-ranks-"))
        store = dist.TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False)
        paths = os.pathsep.join(path for path in sys.path if path)
        given = [str(value) for value in (store.port, count, seconds, self._folder)]
        self._processes = {
            rank: subprocess.Popen(
                [sys.executable, "-c", FOLLOWER, str(rank), *given],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": paths},
            )
            for rank in range(1, count)
        }
        with self.watched():
            self._calls = _join(store, 0, count, seconds)

    def tell(self, learner: int, name: str, *arguments: Any) -> None:
        """Has the others call this method of that learner."""
        dist.broadcast_object_list([(learner, name, arguments)], src=0, group=self._calls)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What goes wrong in here ends all processes. Raises what a follower failed with in the place of what rank 0
        then heard."""
        try:
            yield
        except BaseException as error:
            blamed = self._blamed() if isinstance(error, RuntimeError) else None
            self.end()
            if blamed is not None:
                raise blamed from error
            raise

    def _blamed(self) -> Exception | None:
        """The failure of the follower that failed first; None where all live."""
        until = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < until and all(process.poll() is None for process in self._processes.values()):
            time.sleep(0.02)
        for rank, process in self._processes.items():
            code = process.poll()
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                return UserError(
                    f"learner FSDP: process {rank} of {self.count} was ended by {name}; where nobody did that, the "
                    "machine had no memory left: lower learner.processes or tokens_per_micro_batch, then resume"
                )
        reports = sorted(self._folder.glob("rank-*.txt"), key=lambda path: path.stat().st_mtime_ns)
        if not reports:
            return None
        failed = reports[0].stem.removeprefix("rank-")
        return RuntimeError(f"learner FSDP: process {failed} of {self.count} failed:\n{reports[0].read_text()}")

    def end(self) -> None:
        """Ends the other processes. May be called twice."""
        self.alive = False
        global _ranks
        if _ranks is self:
            _ranks = None
        for process in self._processes.values():
            process.kill()
            seconds = SECONDS_TO_END
            process.wait(seconds)
        with suppress(Exception):
            dist.destroy_process_group()
        for path in self._folder.glob("*"):
            path.unlink()
        with suppress(FileNotFoundError):
            self._folder.rmdir()
        atexit.unregister(self.end)


def ranks_of(count: int, seconds: float) -> Ranks:
    """Returns the processes that are there, or starts them. Raises UserError while learners of another number are
    open."""
    global _ranks
    if _ranks is not None and _ranks.count != count:
        if _ranks.learners:
            raise UserError(
                f"learner FSDP: {count} processes beside a learner of {_ranks.count}; expected one number for all "
                "learners of a run"
            )
        _ranks.end()
    if _ranks is None:
        _ranks = Ranks(count, seconds)
        atexit.register(_ranks.end)
    return _ranks


def follow(opened: Callable[..., Any]) -> None:
    """Does what rank 0 says until it ends; what goes wrong is left where rank 0 looks for it."""
    rank, port, count, seconds, folder = sys.argv[1:]
    try:
        store = dist.TCPStore("127.0.0.1", int(port), int(count), is_master=False)
        calls, learners = _join(store, int(rank), int(count), float(seconds)), {}
        while True:
            box: list[Any] = [None]
            dist.broadcast_object_list(box, src=0, group=calls)
            learner, name, arguments = box[0]
            if name == "open":
                learners[learner] = opened(*arguments)
            elif name == "close":
                del learners[learner]
            else:
                getattr(learners[learner], name)(*arguments)
    except BaseException:
        with suppress(OSError):  # rank 0 has ended, and its folder with it
            Path(folder, f"rank-{rank}.txt").write_text(traceback.format_exc())
        os._exit(1)


def gathered(value: Any) -> list[Any]:
    """Returns the values of all ranks on rank 0, by rank, and nothing elsewhere."""
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, found, dst=0)
    return found or []


def _join(store: dist.Store, rank: int, count: int, seconds: float) -> Any:
    """The group in which calls are told, beside the one of the work."""
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=timedelta(seconds=seconds))
    return dist.new_group(backend="gloo", timeout=IDLE)
