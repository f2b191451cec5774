"""Measures the memory of rank 0 of two processes that learn, and what the plan says of the same; writes
benchmarks/plan_memory.json.

python benchmarks/plan_memory.py

Counted is what torch allocates: tensors that are there before a train step, and the most that the step adds to them.
Blocks are computed by torch's own operations, as on a GPU: a CPU's compiled ones keep less. Sequences are short: longer
ones need room for their scores on a CPU, and none on a GPU.
"""

from __future__ import annotations

import gc
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.learners import FSDP, NewModel
from groupwise.learners.shape import shape_of
from groupwise.networks import trunk
from groupwise.preflight.plan import Work, learning_bytes
from groupwise.types import Example, Prompt, Rollout

HERE = Path(__file__).parent
MODEL = NewModel(hidden_size=256, layers=8, heads=8, intermediate_size=768, context_tokens=1024)
CASES = {"all kept": (32, 16, False), "checkpointing": (128, 16, True)}
"""Completions of a micro-batch, their tokens with the prompt, checkpointing."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        MODEL.save(Path(folder) / "model")
        rows = {name: measure(Path(folder) / "model", *case) for name, case in CASES.items()}
        shape = asdict(shape_of(Path(folder) / "model"))
    found = {"model": asdict(MODEL), "shape": shape, "cases": rows}
    (HERE / "plan_memory.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, row in rows.items():
        print(name, row)


def measure(directory: Path, completions: int, tokens: int, checkpointing: bool, processes: int = 2) -> dict[str, Any]:
    """The measured and the reckoned bytes of rank 0, which also holds the weights that sample."""
    budget = completions * tokens
    config = FSDP(
        processes=processes,
        device="cpu",
        threads=1,
        dtype="float32",
        checkpointing=checkpointing,
        tokens_per_micro_batch=budget,
    )
    work = Work(1, 1, 1, budget, dtype="float32", checkpointing=checkpointing)
    parts = learning_bytes(shape_of(directory), work, processes, split=1)
    trunk.fusible = lambda *given: False
    with closing(config.open(directory)) as learner:
        learner.start_stage(None)
        made = rollouts(completions * processes, tokens, learner.model.config.vocab_size)

        def learn() -> None:
            learner.backward(made, 1.0, lambda rows, said: Outputs(torch.ones_like(said.logprobs)))

        learn()
        learner.step(1.0, 1e-3)
        measured = held_bytes() + most_added(learn)
        learner.discard()
    return {
        "tokens": budget,
        "checkpointing": checkpointing,
        "measured": measured,
        "reckoned": sum(parts.values()),
        "parts": parts,
    }


def rollouts(count: int, tokens: int, vocabulary: int) -> list[Rollout]:
    """Completions of one length behind prompts of their own, half of it each."""
    generator = random.Random(0)
    drawn = [tuple(generator.randrange(vocabulary) for _ in range(tokens)) for _ in range(count)]
    return [rollout(ids[: tokens // 2], ids[tokens // 2 :]) for ids in drawn]


def rollout(prompt: Sequence[int], completion: Sequence[int]) -> Rollout:
    count = len(completion)
    said = Prompt(Example("row", "question"), tuple(prompt))
    return Rollout(said, tuple(completion), (True,) * count, (-1.0,) * count, "", True, 0)


def held_bytes() -> int:
    """Bytes of every tensor that is there, each storage once."""
    gc.collect()
    return sum({each.data_ptr(): each.nbytes() for each in storages(gc.get_objects())}.values())


def storages(found: Iterable[Any]) -> Iterable[Any]:
    for each in found:
        if issubclass(type(each), Tensor) and each.device.type == "cpu":
            local = each._local_tensor if hasattr(each, "_local_tensor") else each
            for tensor in (local, local.grad if local.is_leaf else None):
                if tensor is not None:
                    yield tensor.untyped_storage()


def most_added(work: Any) -> int:
    """The most bytes of new tensors that are there at once while it works."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        work()
    kineto = seen.profiler.kineto_results
    changes = sorted((each.start_ns(), each.nbytes()) for each in kineto.events() if each.name() == "[memory]")
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


if __name__ == "__main__":
    main()
