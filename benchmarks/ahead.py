"""Measures what drawing ahead gains: an engine and a learner that each wait as if they worked elsewhere.

python benchmarks/ahead.py writes benchmarks/ahead.json and prints the table of docs/asynchrony.md.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groupwise import Ahead, Local, Native, NewModel, OnPolicy, Stage, recipes
from groupwise.rewards import as_reward
from groupwise.sinks import Sinks
from groupwise.sources import Stream
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.loop import Progress, train
from groupwise.training.stage import draw_context
from groupwise.types import Example

STEPS, SECONDS, LEAST = 10, 0.5, 2
INNER = OnPolicy(group_size=4, max_completion_tokens=16)
SOURCES = {
    "OnPolicy": INNER,
    "Ahead, 1 step": Ahead(INNER, 1),
    "Ahead, 2 steps": Ahead(INNER, 2),
    "Stream, 1 step": Stream(INNER, 1, 16),
}


class Waiting:
    """An engine that waits for so long a batch, with weights of its own."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.load, self.context_tokens = engine, engine.load, engine.context_tokens

    @property
    def version(self) -> int:
        return int(self.engine.version)

    def stream(self, *options: Any) -> Any:
        time.sleep(SECONDS)
        return self.engine.stream(*options)

    def generate(self, *options: Any) -> Iterator[Any]:
        time.sleep(SECONDS)
        yield from self.engine.generate(*options)


class Rows(Sinks):
    """Keeps every step's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def metrics(self, stage: str, step: int, values: Any) -> None:
        self.rows.append(dict(values))


def measure(source: Any, directory: Path) -> dict[str, float]:
    """Trains for some steps; means over all but the first ones."""
    learner = Local(device="cpu", threads=1).open(directory)
    learner.start_stage(reference="")
    step = learner.step

    def slow(*options: Any) -> dict[str, float]:
        time.sleep(SECONDS)
        return step(*options)

    learner.step = slow
    rows = tuple(Example(f"row:{number}", chr(48 + number)) for number in range(64))
    reward = as_reward(lambda completion: float(len(completion) % 2), isolated=False)
    stage = Stage("measured", replace(recipes.grpo, source=source), Task("rows", rows, (reward,)), STEPS, 4)
    live = copy.deepcopy(learner.live_module()).requires_grad_(False)
    engine = Waiting(Native(threads=1).open(directory, live, learner.tokenizer))
    context = draw_context(stage, Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens), engine, seed=0)
    heard, started = Rows(), time.perf_counter()
    train(stage, context, learner, heard, Progress(), lambda progress, record: {})
    seconds = time.perf_counter() - started
    source.close(context)
    later = heard.rows[LEAST:]
    names = ("step_time", "seconds/learner_waited", "seconds/engine_waited", "staleness", "policy_drift")
    means = {name: sum(row.get(name, 0.0) for row in later) / len(later) for name in names}
    return {"seconds": round(seconds, 2)} | {name: round(value, 4) for name, value in means.items()}


def main() -> None:
    """Measures every source, writes the numbers and prints them."""
    with TemporaryDirectory() as place:
        NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64).save(Path(place) / "m", 0)
        found = {name: measure(source, Path(place) / "m") for name, source in SOURCES.items()}
    told = {"steps": STEPS, "engine and learner wait, seconds": SECONDS, "sources": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    print("| source | s in all | s a step | learner waited | engine waited | staleness, updates |")
    print("|---|---|---|---|---|---|")
    for name, row in found.items():
        shown = [row[key] for key in ("seconds", "step_time", "seconds/learner_waited", "seconds/engine_waited")]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in shown) + f" | {row['staleness']:.1f} |")


if __name__ == "__main__":
    main()
