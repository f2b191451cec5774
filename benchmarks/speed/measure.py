"""One case: its sides take turns, step by step, until each has been measured often enough or the time is up."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cases import Case, Pretrained, Size, prompts
from figures import best_threads
from talk import Failed, Worker

VLLM_TIMES = 2  # with its better thread count, beside the trial of each
SHORT = 8  # tokens of a completion in a step that only warms up
HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "ours": "worker_ours.py",
    "ours_small": "worker_ours.py",
    "trl": "worker_trl.py",
    "trl_defaults": "worker_trl.py",
}


@dataclass
class Bench:
    """Where it writes, when it has to be done, which thread counts it tries, and each side's best so far."""

    place: Path
    deadline: float
    counts: tuple[int, ...]
    threads: dict[str, int] = field(default_factory=dict)

    def left(self) -> float:
        return self.deadline - time.perf_counter()

    def say(self, text: str) -> None:
        print(f"{self.left():6.0f} s left  {text}", file=sys.stderr, flush=True)

    def model(self, size: Size | Pretrained) -> Path:
        directory = self.place / f"model-{size.name}"
        return directory if directory.exists() else size.save(directory, context_tokens=1024)


def measured(bench: Bench, case: Case, sides: list[str], vllm: Mapping[int, Worker]) -> dict[str, Any]:
    """The case's entry of cpu.json: every time of every side, and what a side could not do."""
    bench.say(f"{case.name}: {', '.join([*sides, *(['vllm'] if vllm else [])])}")
    shown = {"case": case.name, "parameters": case.size.parameters, **asdict(case)}
    row: dict[str, Any] = {**shown, "sides": {}, "vllm": [], "failed": {}}
    with started(bench, case, sides, row) as workers:
        row["lengths"] = workers["ours"].ask(do="plan", targets=case.targets)["lengths"]
        order = {"do": "step", "lengths": row["lengths"], "cut": case.completion}
        for turn in range(-1, case.times):  # before the first: warming up, and the trial of thread counts
            for side, worker in list(workers.items()):
                steps = row["sides"][side].setdefault("steps", [])
                try:
                    act = warm_up if turn < 0 else one_more
                    act(bench, case, side, worker, order, steps)
                except Failed as failed:
                    if side == "ours":
                        raise
                    row["failed"][side] = str(failed)
                    workers.pop(side).stop()
            if vllm and turn < VLLM_TIMES and "vllm" not in row["failed"]:
                try:
                    row["vllm"] += vllm_turn(vllm, case, order, row["vllm"])
                except Failed as failed:
                    row["failed"]["vllm"] = str(failed)
    for side, found in row["sides"].items():
        bench.say(f"{case.name}: {side} {summary(found['steps'])}")
    return row


def warm_up(
    bench: Bench, case: Case, side: str, worker: Worker, order: dict[str, Any], steps: list[dict[str, Any]]
) -> None:
    """A short step that is not counted; then the trial of thread counts, whose steps are.

    TRL with its defaults does without where it is measured once: there a short step is as long as several of ours.
    """
    if side != "trl_defaults" or case.default_times > 1:
        worker.ask(**order | {"cut": SHORT, "threads": max(bench.counts)})
    steps += chosen_threads(bench, case, side, worker, order)


def one_more(
    bench: Bench, case: Case, side: str, worker: Worker, order: dict[str, Any], steps: list[dict[str, Any]]
) -> None:
    """A step, unless the side has had its number of them, or there is a first one and no time for a second."""
    last = max((step["seconds"] for step in steps), default=0.0)
    wanted = {"trl_defaults": case.default_times, "ours_small": 1}.get(side, case.times)
    count = bench.threads.get(side, 0)
    done = sum(count in (0, step["threads"]) for step in steps)
    if done < wanted and (not steps or last < bench.left()):
        steps.append(taken(worker, order, count))


def chosen_threads(bench: Bench, case: Case, side: str, worker: Worker, order: dict[str, Any]) -> list[dict[str, Any]]:
    """A step with each thread count where the case tries them; the faster one is kept.

    Ours chooses by itself, and TRL's defaults stay as they are.
    """
    if side.startswith("ours"):
        return []
    if side == "trl_defaults" or not (case.tries_threads or side in bench.threads):
        bench.threads[side] = max(bench.counts)
    if side == "trl_defaults" or not case.tries_threads:
        return []
    steps = [taken(worker, order, count) for count in bench.counts]
    bench.threads[side] = min(steps, key=lambda step: step["seconds"])["threads"]
    return steps


def taken(worker: Worker, order: dict[str, Any], threads: int) -> dict[str, Any]:
    """A step. Whoever chose its own thread count says so itself."""
    return {"threads": threads, **worker.ask(**order, threads=threads)}


def vllm_turn(
    vllm: Mapping[int, Worker], case: Case, order: dict[str, Any], before: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """At first with each thread count, a short one before it; then with the better one."""
    asked = {**order, "prompts": prompts(case.prompt)}
    if not before:
        for worker in vllm.values():
            worker.ask(**asked | {"cut": SHORT})
        return [{"threads": count, **worker.ask(**asked)} for count, worker in vllm.items()]
    best = min(before, key=lambda step: step["sampling"])["threads"]
    return [{"threads": best, **vllm[best].ask(**asked)}]


@contextmanager
def started(bench: Bench, case: Case, sides: list[str], row: dict[str, Any]) -> Iterator[dict[str, Worker]]:
    """The workers of those sides that can be started; why another could not goes into the row."""
    common = {name: vars(case)[name] for name in ("prompt", "completion", "spread", "micro_batch_rows")}
    directory = bench.model(case.size)
    common |= {"architecture": case.size.architecture, "end_token": case.size.end_token}
    common |= {"prompts": case.size.prompts(directory, case.prompt)}
    common |= {"model": str(directory), "threads": bench.counts[0] if len(bench.counts) == 1 else 0}
    workers: dict[str, Worker] = {}
    jobs: dict[str, tuple[Path, dict[str, Any]]] = {}
    for side in sides:
        name = f"{case.name}-{side}".replace("/", "-").replace(" ", "-")
        job = {
            **common,
            "defaults": side == "trl_defaults",
            "small": side == "ours_small",
            "out": str(bench.place / name),
        }
        jobs[side] = bench.place / f"{name}.log", job
    try:
        for side, (log, job) in jobs.items():  # one after the other: a side may try things out as it starts
            workers[side] = Worker(SCRIPTS[side], log, job, {})
            try:
                row["sides"][side] = {"settings": workers[side].ready()}
            except Failed as failed:
                row["failed"][side] = str(failed)
                workers.pop(side).stop()
                bench.say(str(failed))
        yield workers
    finally:
        for worker in workers.values():
            worker.stop()


def start_vllm(bench: Bench, size: Size | Pretrained) -> dict[int, Worker]:
    """A worker for each thread count; none where vLLM is not installed or does not start.

    One process each, with Intel's OpenMP, as its manual asks; what it compiles is kept for the next run.
    """
    package, openmp = Path(sys.prefix) / "vllm", Path(sys.prefix) / "lib" / "libiomp5.so"
    workers: dict[int, Worker] = {}
    if not package.is_dir():  # it lies apart, so that no other side imports it
        return workers
    common = {
        "PYTHONPATH": str(package), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CACHE_ROOT": str(package.parent / "cache"), "LD_PRELOAD": str(openmp) if openmp.exists() else "",
    }  # fmt: skip
    try:
        for count in bench.counts:  # one after the other: the second finds what the first has compiled
            log, job = bench.place / f"vllm-{size.name}-{count}.log", {"model": str(bench.model(size)), "context": 1024}
            workers[count] = Worker("worker_vllm.py", log, job, common | {"OMP_NUM_THREADS": str(count)})
            workers[count].ready()
    except Failed as failed:
        bench.say(str(failed))
        for worker in workers.values():
            worker.stop()
        return {}
    return workers


def summary(steps: list[dict[str, Any]]) -> str:
    """For the person who watches."""
    if not steps:
        return "not measured"
    best = best_threads(steps)
    parts = ", ".join(f"{name} {median(step[name] for step in best):.2f}" for name in ("sampling", "learning"))
    seconds, peak = median(step["seconds"] for step in best), max(step["peak_mb"] for step in steps)
    return f"{seconds:.2f} s a step ({parts}), {best[0]['threads']} threads, {peak:.0f} MB"
