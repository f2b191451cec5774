"""What the ledger costs the step: 512 completions of 4,096 tokens, written on the training thread and by its writer.

    PYTHONPATH=src python benchmarks/ledger.py --before SOURCES     writes benchmarks/ledger.json

SOURCES is the ``src`` folder of a state whose ledger is written on the training thread. Both sides write the same
invented step, each in a process of its own, in pairs one after the other. ``thread`` is what the training thread waits
for; ``stolen`` what it loses besides, to the interpreter's lock and the cores, while the file is being written (it does
Python and small matrix products meanwhile, of which it is known how long they take alone); ``all`` is from handing over
to the file's name. The share is of a step that samples nothing: learning from that many tokens, timed on a few
completions of the quickstart's model and multiplied.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GROUPS, SIZE, TOKENS, PROMPT = 32, 16, 4096, 64
LEARNED = 8
"""Completions on which learning is timed."""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=HERE / "ledger.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    if "--worker" in sys.argv:
        return print(json.dumps(measured()))
    asked = parser.parse_args()
    sources = {"before": asked.before, "after": HERE.parent / "src"}
    rounds = [{side: in_process(source) for side, source in sources.items()} for _ in range(asked.rounds)]
    step = in_process(sources["after"], "step")["step"]
    found: dict[str, Any] = {
        "what": f"one step's ledger, {GROUPS * SIZE} completions of {TOKENS} tokens; medians of {asked.rounds} pairs",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: version(name) for name in ("torch", "numpy", "pyarrow")}
        | {"python": platform.python_version()},
        "rounds": rounds,
        "learning_seconds": round(step, 1),
    }
    for side in sources:
        middle = {name: statistics.median(each[side][name] for each in rounds) for name in rounds[0][side]}
        paid = middle["thread"] + middle["stolen"]
        found[side] = {name: round(value, 3) for name, value in middle.items()} | {"share": round(paid / step, 4)}
    asked.to.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({side: found[side] for side in sources}, indent=1), found["learning_seconds"])


def in_process(source: Path, what: str = "write") -> dict[str, float]:
    """What a process on these sources prints."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--worker", what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured() -> dict[str, float]:
    """One side's seconds; or those of learning."""
    if sys.argv[-1] == "step":
        return {"step": learning_seconds()}
    import groupwise.ledger.files as ledger

    record = invented()
    with tempfile.TemporaryDirectory() as place:
        written = ledger.Ledger(Path(place))
        weights = {"answer": 1.0, "format": 0.5}
        began = time.perf_counter()
        if not hasattr(ledger, "LedgerWriter"):
            path = written.write("grpo", record, weights)
            took = time.perf_counter() - began
            return {"thread": took, "stolen": 0.0, "all": took, "megabytes": path.stat().st_size / 1e6}
        unit = min(work() for _ in range(200))
        writer = ledger.LedgerWriter(written, print)
        began = time.perf_counter()
        writer.write("grpo", record, weights)
        handed = time.perf_counter()
        stolen = 0.0
        while not writer._under_way.done():
            stolen += work() - unit
        over = time.perf_counter()
        (path,) = writer.drain()
        thread = handed - began + time.perf_counter() - over
        writer.close()
        return {"thread": thread, "stolen": stolen, "all": over - began, "megabytes": path.stat().st_size / 1e6}


def work() -> float:
    """Seconds of a little Python and a few matrix products."""
    import torch

    began = time.perf_counter()
    square = torch.ones(128, 128)
    for _ in range(20):
        square = square @ square * 1e-3
        sum(range(1000))
    return time.perf_counter() - began


def completions(rows: int, size: int) -> list[Any]:
    """Groups of ``size`` completions of ids and log-probabilities that nobody drew."""
    import numpy as np

    from groupwise.types import Example, Group, Prompt, Rollout, Score

    draw = np.random.default_rng(0)
    groups = []
    for number in range(rows // size):
        prompt = Prompt(Example(f"rows.jsonl:{number}", "12 + 7 = ?", answer="19"), tuple(range(1, PROMPT + 1)))
        rollouts = []
        for row in range(size):
            value = float(row % 2)
            ids = tuple(draw.integers(1, 200, TOKENS).tolist())
            logprobs = tuple(np.log(draw.uniform(0.05, 1, TOKENS)).astype(np.float32).tolist())
            scores = {"answer": Score(value), "format": Score(1.0)}
            rollouts.append(
                Rollout(prompt, ids, (True,) * TOKENS, logprobs, "word " * TOKENS, True, 0, {TOKENS - 1: value}, scores)
            )
        groups.append(Group(prompt, tuple(rollouts)))
    return groups


def invented() -> Any:
    """A step as it is when the ledger takes it."""
    from dataclasses import replace

    import torch

    from groupwise import recipes
    from groupwise.learning.collate import signals_of
    from groupwise.learning.record import StepRecord

    groups = completions(GROUPS * SIZE, SIZE)
    signals = recipes.grpo.prepare(signals_of(groups))
    torch.manual_seed(0)
    near = signals.behavior_logprobs.float() + torch.randn(signals.mask.shape) * 1e-3
    signals = replace(signals, reference_logprobs=near.double(), old_logprobs=near.double())
    return StepRecord(1, groups, signals, near, torch.randn(signals.mask.shape) * 1e-6)


def learning_seconds() -> float:
    """Of one update on all completions, from those of a few: GRPO, one thread."""
    from groupwise import recipes
    from groupwise.learners import Local, NewModel
    from groupwise.tasks import Task
    from groupwise.training.stage import Stage
    from groupwise.training.update import prepare, update

    with tempfile.TemporaryDirectory() as place:
        sizes = {"hidden_size": 128, "layers": 4, "heads": 4, "intermediate_size": 512}
        NewModel(**sizes, context_tokens=TOKENS + PROMPT).save(Path(place, "model"))
        learner = Local(device="cpu", threads=1).open(Path(place, "model"))
        learner.start_stage("")
        groups = completions(LEARNED, LEARNED)
        stage = Stage("grpo", recipes.grpo, Task("task", ()), 1, 1, learning_rate=1e-5)
        began = time.perf_counter()
        update(stage, learner, groups, prepare(stage, learner, groups), 0, seed=0)
        return (time.perf_counter() - began) * GROUPS * SIZE / LEARNED


if __name__ == "__main__":
    main()
