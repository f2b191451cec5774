"""Runs on vLLM servers, killed with SIGKILL at random instants, their servers too, and started again.

    python tests/scale/killed.py --kills 20 --out benchmarks/vllm_kills.json

Servers are stand-ins, each a process. After each run it is looked whether every step learned from whole groups of the
prompts that were its turn, none lost and none twice, and whether a learner that is fed from the ledger ends with the
same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "benchmarks" / "faults"):
    sys.path.insert(0, str(folder))

import torch  # noqa: E402
from forked import ended, in_child, spawned  # noqa: E402
from ledger_replay import FromLedger  # noqa: E402
from stand_in import Faults, StandIn  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

import groupwise as gw  # noqa: E402
from groupwise import OnPolicy, Stage, recipes  # noqa: E402
from groupwise.ledger.files import Ledger  # noqa: E402
from groupwise.rewards import as_reward  # noqa: E402
from groupwise.sources import Ahead, Stream  # noqa: E402
from groupwise.tasks.task import Task  # noqa: E402
from groupwise.types import Example  # noqa: E402

STEPS, PROMPTS, GROUP = 6, 2, 3
INNER = OnPolicy(group_size=GROUP, max_completion_tokens=12)
SOURCES = {"on policy": INNER, "ahead": Ahead(INNER, 1), "stream": Stream(INNER, max_staleness=2, segment_tokens=4)}
ROWS = tuple(Example(f"row:{number}", chr(48 + number)) for number in range(64))
MODEL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64, initializer_range=0.1)
SERVER_SECONDS = 60.0


def main() -> int:
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--kills", type=int, default=20, help="of runs, beside those of servers")
    known.add_argument("--seed", type=int, default=0)
    known.add_argument("--out", type=Path)
    chosen = known.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = killed_runs(Path(folder), chosen.kills, chosen.seed)
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    return int(any(each["lost"] for each in found["runs"]))


def killed_runs(place: Path, kills: int, seed: int) -> dict[str, Any]:
    """As many kills as asked for, over all sources in turn; what was lost is named."""
    MODEL.save(place / "model")
    draw, runs = random.Random(seed), []
    with_servers = Served(place)
    try:
        while sum(each["kills"] for each in runs) < kills:
            name = list(SOURCES)[len(runs) % len(SOURCES)]
            left = kills - sum(each["kills"] for each in runs)
            runs.append(killed_run(place / f"run-{len(runs)}", with_servers, name, min(left, 3), draw))
    finally:
        with_servers.close()
    count = {"kills": sum(each["kills"] for each in runs), "server_kills": sum(each["server_kills"] for each in runs)}
    return count | {"lost": sum(len(each["lost"]) for each in runs), "runs": runs}


class Served:
    """Two servers, each a process of its own on a port that it keeps."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.held = [held_port() for _ in range(2)]
        self.ports = [int(each.getsockname()[1]) for each in self.held]
        self.children = [self._start(port) for port in self.ports]
        self.wait()

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{port}" for port in self.ports)

    def _start(self, port: int) -> int:
        def serve() -> None:
            model = AutoModelForCausalLM.from_pretrained(self.place / "model", dtype=torch.float32).requires_grad_(
                False
            )
            tokenizer = AutoTokenizer.from_pretrained(self.place / "model")
            StandIn(model, tokenizer, Faults(seconds=0.01), port=port)
            threading.Event().wait(3600.0)

        return spawned(serve, self.place / f"server-{port}")

    def kill(self, number: int) -> None:
        """Kills one, and starts it anew with the weights of its beginning."""
        os.kill(self.children[number], signal.SIGKILL)
        ended(self.children[number])
        self.children[number] = self._start(self.ports[number])

    def wait(self) -> None:
        """Until both listen."""
        until = time.monotonic() + SERVER_SECONDS
        for port in self.ports:
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                    break
                if time.monotonic() > until:
                    raise RuntimeError(f"no server on port {port} after {SERVER_SECONDS:g} s")
                time.sleep(0.02)

    def close(self) -> None:
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            ended(child)
        for held in self.held:
            held.close()


def held_port() -> socket.socket:
    """A port that nobody else is given while it is open, and that a server may listen on."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def odd(completions: Any, **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


def recipe(place: Path, source: Any, engine: Any) -> gw.Run:
    task = Task("rows", ROWS, (as_reward(odd, isolated=False),), held_out=ROWS[:2])
    algorithm = replace(recipes.grpo, source=source)
    stage = Stage("train", algorithm, task, STEPS, PROMPTS, learning_rate=1e-2, checkpoint_every=2)
    none = gw.HeldOut(problems=0, sampled_problems=0)
    learner = gw.Local(device="cpu", threads=1)
    model = str(place.parent / "model")
    return gw.Run("mine", model, (stage,), learner=learner, engine=engine, evaluation=none, evaluate_first=False)


def killed_run(place: Path, served: Served, name: str, kills: int, draw: random.Random) -> dict[str, Any]:
    """One run, killed so often at random instants, a server before some of them; then left to finish."""
    engine = gw.VLLMServers(served.urls, weights=str(place / "weights"), concurrent=6)

    def work() -> None:
        gw.run(recipe(place, SOURCES[name], engine), "run", sinks=[])

    done = servers = 0
    for _ in range(kills):
        served.wait()
        child = spawned(work, place)
        time.sleep(draw.uniform(0.2, 2.5))
        if draw.random() < 0.5:
            served.kill(draw.randrange(2))
            servers += 1
            time.sleep(draw.uniform(0.0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        done += ended(child) == -signal.SIGKILL
    served.wait()
    status = in_child(work, place)
    lost = [(place / "said.txt").read_text()[-800:]] if status else looked_at(place, name)
    return {"source": name, "kills": max(done, 1), "server_kills": servers, "lost": lost}


def looked_at(place: Path, name: str) -> list[str]:
    """What is wrong with a run that is finished."""
    ledger = Ledger(place / "run" / "ledger")
    steps = [list(ledger.read("train", step + 1)) for step in range(STEPS)]
    wrong = []
    for number, rows in enumerate(steps, 1):
        sizes = Counter(row["group"] for row in rows)
        if len(rows) != PROMPTS * GROUP or set(sizes.values()) != {GROUP}:
            wrong.append(f"step {number}: groups of {sorted(sizes.values())}")
    examples = [row["example"] for rows in steps for row in rows]
    if set(Counter(examples).values()) != {GROUP}:
        wrong.append(f"prompts come {sorted(set(Counter(examples).values()))} times")
    if name != "stream" and len(set(examples)) != STEPS * PROMPTS:
        wrong.append(f"{len(set(examples))} prompts in {STEPS} steps")
    again = recipe(place, FromLedger(place / "run" / "ledger"), gw.Native())
    status = in_child(lambda: (gw.run(again, "again", sinks=[]), None)[1], place)
    models = [place / each / "models" / "train" / "model.safetensors" for each in ("run", "again")]
    if status:
        wrong.append((place / "said.txt").read_text()[-800:])
    elif models[0].read_bytes() != models[1].read_bytes():
        wrong.append("a learner that is fed from the ledger ends with other bytes")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
