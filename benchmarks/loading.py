"""Memory that it takes to open a model: whole in one process, and in parts in each of two.

python benchmarks/loading.py             a new model of 100 million parameters, stored in bfloat16, learned in float32;
                                         writes benchmarks/loading.json
    --processes 2
    --results FILE                       written instead

Counted is memory that no file backs (RssAnon): what the system can't take back while the model is open. It is read 200
times a second, and what a process had before it opened the model is taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from groupwise import NewModel
from groupwise.learners import FSDP, Local
from groupwise.learners.device import machine
from groupwise.learners.ranks import end_ranks, ranks_of
from groupwise.runs.environment import versions

RESULTS = Path(__file__).with_name("loading.json")
MODEL = NewModel(hidden_size=768, layers=12, heads=12, intermediate_size=2560, context_tokens=64)
EVERY_SECONDS = 0.005


def anonymous(pid: int) -> int:
    """Bytes of a process that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@contextmanager
def peaks(pids: list[int]) -> Iterator[dict[int, int]]:
    """The most bytes beyond those at the beginning, by process, filled at the end."""
    before, most, done = {pid: anonymous(pid) for pid in pids}, dict.fromkeys(pids, 0), threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_SECONDS):
            for pid in pids:
                most[pid] = max(most[pid], anonymous(pid) - before[pid])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def halved(directory: Path) -> int:
    """Stores the model in bfloat16. Returns how many parameters it has."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    model.save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())


def measured(directory: Path, small: Path, processes: int) -> list[int]:
    """Megabytes of each process that holds a part of the model; of one that holds it whole."""
    several = FSDP(device="cpu", threads=1, processes=processes)
    config = several if processes > 1 else Local(device="cpu", threads=1)
    pids = [os.getpid()]
    if processes > 1:
        pids += [process.pid for process in ranks_of(processes, several.timeout_seconds).processes.values()]
    config.open(small).close()  # libraries are loaded by it
    with peaks(pids) as most, closing(config.open(directory)):
        pass
    end_ranks()
    return [round(most[pid] / 1e6) for pid in pids]


def alone(*given: Any) -> list[int]:
    """What ``measured`` returns, in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, *given).result()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--results", type=Path, default=RESULTS)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        directory, small = Path(place, "model"), Path(place, "small")
        MODEL.save(directory)
        replace(MODEL, layers=1, hidden_size=48, intermediate_size=96).save(small)
        numbers = halved(directory)
        halved(small)
        found = {f"{count} processes": alone(directory, small, count) for count in (1, chosen.processes)}
    about = {"machine": machine(), "versions": versions(), "date": datetime.now(UTC).date().isoformat()}
    about |= {"parameters": numbers, "float32 MB": round(4 * numbers / 1e6), "peak MB": found}
    chosen.results.write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about["peak MB"]))


if __name__ == "__main__":
    main()
