"""This module runs tasks on processors and machines: datatrove's executors, which this file alone knows.

A task is a name; the work, called with it, writes the task's files and its counts last, and does nothing where they are
there. So an executor that is killed is begun again, and what was done is not done twice.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from groupwise.errors import UserError

PR_SET_PDEATHSIG = 1
LEAVING_SECONDS = 5.0
DEATH = (
    "a process that runs tasks was ended from outside, perhaps for want of memory; what was done is kept: run the same "
    "command again, with fewer workers (--executor local:1) if memory is short"
)
KINDS = ("local", "ray", "slurm")
LOADED = (
    "datatrove.executor.local", "pyarrow.parquet", "fastwarc.warc", "tldextract", "rensa", "fasttext",
    "groupwise.corpus.engine", "groupwise.corpus.reading", "groupwise.corpus.rounds", "groupwise.corpus.finishing",
)  # fmt: skip
"""What tasks need: loaded once, in the process that all others are forked of."""


@dataclass(frozen=True)
class Executor:
    """This value says where tasks run."""

    kind: str = "local"
    workers: int = 0
    """Tasks at once; 0: one for each processor."""
    place: str = ""
    """Address of a Ray cluster, or a partition of Slurm."""

    @classmethod
    def named(cls, text: str) -> Executor:
        """``local:2``, ``ray:2``, ``ray:ADDRESS``, ``slurm:PARTITION:WORKERS``. Raises UserError for another."""
        kind, _, rest = text.partition(":")
        place, _, workers = rest.partition(":") if kind == "slurm" else ("", "", rest)
        if kind == "ray" and not rest.isdigit():
            place, workers = rest, ""
        if kind not in KINDS or (workers and not workers.isdigit()) or (kind == "slurm" and not place):
            raise UserError(f"--executor {text}: expected local:N, ray:N, ray:ADDRESS or slurm:PARTITION:N")
        return cls(kind, int(workers or 0), place)

    @property
    def count(self) -> int:
        """Returns the number of tasks at once."""
        return self.workers or os.cpu_count() or 1


@dataclass(frozen=True)
class Step:
    """A step of a pipeline does one task for each rank."""

    work: Callable[[str], None]
    names: tuple[str, ...]

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Does the task of this rank."""
        import multiprocess

        if multiprocess.parent_process() is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself hears it, and ends this process
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing writes after the command was killed
        self.work(self.names[rank])


def begin_early(executor: Executor) -> None:
    """Has the process begin of which those that run tasks are forked, while the command itself is still loaded."""
    if executor.kind == "local" and executor.count > 1 and find_spec("multiprocess") is not None:
        from multiprocess import forkserver

        forkserver.set_forkserver_preload(list(LOADED))
        forkserver.ensure_running()


def run_each(executor: Executor, work: Callable[[str], None], names: Sequence[str], logs: Path) -> None:
    """Runs the work for every name. Raises what the first task raised that failed."""
    if not names:
        return
    _be_quiet()
    step = [Step(work, tuple(names))]
    workers = min(executor.count, len(names))
    if executor.kind == "local":
        from datatrove.executor.local import LocalPipelineExecutor

        with _deaths_seen(workers):
            LocalPipelineExecutor(step, len(names), workers, str(logs), skip_completed=False).run()
    elif executor.kind == "ray":
        _on_ray(executor, step, len(names), workers, logs)
    else:
        _on_slurm(executor, step, len(names), logs)


def _on_slurm(executor: Executor, step: list[Any], tasks: int, logs: Path) -> None:
    """Submits the tasks as an array of jobs and waits for all of them."""
    from datatrove.executor.slurm import SlurmPipelineExecutor

    if shutil.which("sbatch") is None:
        raise UserError("--executor slurm: there is no sbatch here; run the command on a machine that submits to Slurm")
    here = os.pathsep.join(each for each in sys.path if each)
    slurm = SlurmPipelineExecutor(
        step,
        tasks,
        "24:00:00",
        executor.place,
        workers=executor.workers or -1,
        job_name="groupwise-corpus",
        qos="",
        env_command=f'export PATH="{Path(sys.executable).parent}:$PATH" PYTHONPATH="{here}"',
        sbatch_args={"wait": ""},
        logging_dir=str(logs.absolute()),
        skip_completed=False,
        requeue_signals=None,
    )
    slurm.launch_merge_stats = lambda: None  # nobody reads them, and they would be another job
    try:
        slurm.run()
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"a task failed on Slurm, or was refused (sbatch ended with {error.returncode}); {slurm.slurm_logs_folder} "
            "has what each said; what was done is kept: run the same command again"
        ) from None


def _on_ray(executor: Executor, step: list[Any], tasks: int, workers: int, logs: Path) -> None:
    import ray
    from datatrove.executor.ray import RayPipelineExecutor

    if not ray.is_initialized():
        address = {"address": executor.place} if executor.place else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, **address)
        except Exception as error:  # Ray has no class of its own for a cluster that does not start
            first = (str(error).splitlines() or [type(error).__name__])[0]
            where = executor.place or "this machine"
            raise UserError(f"--executor ray: no cluster answers at {where}: {first}") from error
    RayPipelineExecutor(
        step, tasks, workers, logging_dir=str(logs), skip_completed=False, cpus_per_task=1, mem_per_cpu_gb=0.1
    ).run()


@contextmanager
def _deaths_seen(workers: int) -> Iterator[None]:
    """Raises UserError where a process that runs tasks is ended from outside: the pool would wait for it for ever.

    ``workers`` processes run tasks, and one more keeps what they share.
    """
    import multiprocess

    _end_with_this_process()
    over, dead = threading.Event(), threading.Event()
    before = {each.pid for each in multiprocess.active_children()}

    def watch() -> None:
        known: dict[int, Any] = {}
        while not over.wait(0.1):
            known |= {each.pid: each for each in multiprocess.active_children() if each.pid not in before}
            ended = any(each.exitcode not in (None, 0, -signal.SIGTERM) for each in known.values())
            numbers = [int(each.name.rpartition("-")[2]) for each in known.values()]
            if ended or (numbers and max(numbers) > min(numbers) + workers):  # the pool began another in place of one
                dead.set()
                _thread.interrupt_main()
                if not over.wait(LEAVING_SECONDS):  # a pool that lost a process may wait for it in its own end, too
                    print(f"groupwise corpus: {DEATH}", file=sys.stderr, flush=True)
                    os._exit(2)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        if not dead.is_set():
            raise
        raise UserError(DEATH) from None
    finally:
        over.set()
        watcher.join(timeout=LEAVING_SECONDS)


@lru_cache(maxsize=1)
def _end_with_this_process() -> None:
    """Has what is forked from here, such as a pool's manager, end where this process is ended."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def follow() -> None:
        if os.getppid() == parent:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(after_in_child=follow)


def _be_quiet() -> None:
    """datatrove tells every task on the terminal; what it tells of failures comes as exceptions too."""
    try:
        from loguru import logger
    except ImportError:
        return
    logger.disable("datatrove")


_be_quiet()  # in the processes that tasks run in, too
