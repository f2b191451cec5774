"""All checks of a device, in one run of under ten minutes: what of Groupwise works there, how right and how fast.

    python benchmarks/device_checks.py                      (a GPU; torch and transformers alone, no network)
    python benchmarks/device_checks.py --tiny --device cpu  (tiny shapes: that it runs to its end, in a minute)

Checked are: matrix units and bandwidth; decoding as a share of the time that reading weights and cache takes; a train
step as a share of the matrix units (MFU); each way of decoding, with its numbers beside plain torch's; how far engine
and learner are apart in nats; bfloat16 beside float32; FSDP2 beside one process; planned memory beside measured; a run
that is stopped and goes on. Writes benchmarks/gpu.json (with --tiny: what --out names), anew after each check, so that
what was found is kept. A check that fails says how and the next goes on; one that needs another device says which.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import gpu_ways  # noqa: E402
from gpu import DRY, FULL, GOALS, Bench, Plan, Record, Size, ceiling, decode, release, train  # noqa: E402

from groupwise import HeldOut, OnPolicy, Run, Stage, recipes, run, tasks  # noqa: E402
from groupwise.engines import Native  # noqa: E402
from groupwise.engines.backends import decoder_makers, experimental_decoder_makers  # noqa: E402
from groupwise.engines.decode_step import TrunkDecoder  # noqa: E402
from groupwise.engines.kv_cache import TorchAttention  # noqa: E402
from groupwise.engines.torch_engine import TorchEngine  # noqa: E402
from groupwise.learners import FSDP, Local  # noqa: E402
from groupwise.learners.device import machine  # noqa: E402
from groupwise.learners.shape import shape_of  # noqa: E402
from groupwise.networks import blueprint_of  # noqa: E402
from groupwise.preflight.plan import Work, learning_bytes  # noqa: E402
from groupwise.protocols import Sink  # noqa: E402
from groupwise.types import flatten  # noqa: E402

NATS = {"float32": 1e-3, "bfloat16": 5e-2}
"""How far engine and learner may be apart, at most, on a token."""
STEPS = 4


@dataclass(frozen=True)
class Checks:
    """What every check is given."""

    record: Record
    plan: Plan
    device: str
    folder: Path

    @property
    def size(self) -> Size:
        return self.plan.sizes[0]

    def model(self, size: Size) -> Path:
        """A model of that size in a directory, made once."""
        directory = self.folder / size.name
        return directory if directory.exists() else size.save(directory, self.plan.context, self.device)

    def bench(self, size: Size, dtype: Any = "bfloat16") -> Bench:
        learner = Local(tokens_per_micro_batch=self.plan.tokens_per_micro_batch, device=self.device, dtype=dtype)
        return Bench(self.model(size), learner, Native(), self.device)

    def part(self, name: str, measure: Callable[[], Any], needs: str = "") -> None:
        """Runs a check; ``needs``: the device without which it is left out by name."""
        left_out = {"left_out": f"needs {needs}; this is {self.device}"}
        self.record.part(name, measure if not needs or needs == self.device else lambda: left_out)
        release(self.device)


def main() -> int:
    asked = arguments()
    device = asked.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not asked.tiny:
        raise SystemExit("no GPU is here; expected --tiny --device cpu, which runs every check on tiny shapes")
    out = asked.out or (Path(tempfile.gettempdir()) / "gpu-tiny.json" if asked.tiny else HERE / "gpu.json")
    record = Record(out, time.perf_counter() + 60 * asked.minutes)
    record.value = {"command": "python benchmarks/device_checks.py", "machine": machine(), "torch": torch.__version__}
    record.value |= {"tiny": asked.tiny, "goals": GOALS | {"nats": NATS}}
    with tempfile.TemporaryDirectory(prefix="checks-") as folder:
        all_checks(Checks(record, DRY if asked.tiny else FULL, device, Path(folder)))
    record.value["seconds"] = round(time.perf_counter() - record.deadline + 60 * asked.minutes, 1)
    out.write_text(json.dumps(record.value, indent=1) + "\n", encoding="utf-8")
    failed = [name for name, found in record.value.items() if isinstance(found, dict) and "failed" in found]
    left_out = [name for name, found in record.value.items() if isinstance(found, dict) and "left_out" in found]
    print(f"{out}: {len(failed)} failed ({', '.join(failed) or 'none'}); left out: {', '.join(left_out) or 'none'}")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--tiny", action="store_true", help="tiny shapes")
    known.add_argument("--device", choices=("cuda", "cpu"), help="cuda where there is one")
    known.add_argument("--minutes", type=float, default=9.0, help="after these no further check is begun (9)")
    known.add_argument("--out", type=Path, help="where the numbers go")
    return known.parse_args()


def all_checks(checks: Checks) -> None:
    """Right before fast, and what everything else is measured by first."""
    plan, device, part = checks.plan, checks.device, checks.part
    part("ceiling", partial(ceiling, plan, device))
    for dtype in NATS:
        part(f"engine and learner, {dtype}", partial(apart, checks, dtype))
    part("bfloat16 beside float32", partial(half_beside_single, checks))
    part("FSDP2, one process", partial(sharded, checks, 1))
    part("FSDP2, two processes", partial(sharded, checks, 2), needs="cpu")
    part("stopped and gone on", partial(resumed, checks))
    part("planned memory", partial(planned_memory, checks), needs="cuda")
    for name, make in ways(checks).items():
        part(f"decoding by {name}", partial(way, checks, make), needs="" if name == "plain torch" else "cuda")
    for size in plan.sizes:
        bench = checks.bench(size)
        top = checks.record.value["ceiling"]
        for rows in plan.decode_rows:
            shape = replace(plan.decode, prompts=rows // plan.decode.group)
            part(f"{size.name} decode {rows}", partial(decode, bench, plan, shape, top))
        part(f"{size.name} train", partial(train, bench, plan, top))
        del bench
        release(device)


def apart(checks: Checks, dtype: str) -> dict[str, Any]:
    """The gap between what the engine said of its tokens and what the learner says of them, in nats."""
    bench = checks.bench(checks.size, dtype)
    shape = replace(checks.plan.shared, completion=min(64, checks.plan.shared.completion))
    groups, _ = bench.sample(shape)
    rollouts = flatten(groups)
    said = bench.learner.logprobs(rollouts, 1.0).cpu()
    drawn = torch.tensor([rollout.behavior_logprobs for rollout in rollouts])
    gap = (said - drawn).abs()
    found = {"engine": type(bench.engine).__name__, "mean": float(gap.mean()), "largest": float(gap.max())}
    return found | {"right": found["largest"] <= NATS[dtype], "tokens": gap.numel()}


def half_beside_single(checks: Checks) -> dict[str, Any]:
    """The same rollouts scored, and one update's gradient norm, in both precisions."""
    norms, scores = {}, {}
    groups = checks.bench(checks.size).sample(checks.plan.shared)[0]
    for dtype in NATS:
        learner = Local(tokens_per_micro_batch=checks.plan.tokens_per_micro_batch, device=checks.device, dtype=dtype)  # type: ignore[arg-type]
        with closing(learner.open(checks.model(checks.size))) as opened:
            opened.start_stage(None)
            scores[dtype] = opened.logprobs(flatten(groups), 1.0).cpu()
            norms[dtype] = learn(opened, groups)["grad_norm"]
        release(checks.device)
    gap = (scores["bfloat16"] - scores["float32"]).abs()
    return {"grad_norms": norms, "nats": {"mean": float(gap.mean()), "largest": float(gap.max())}}


def learn(learner: Any, groups: Any) -> dict[str, float]:
    """One update with TRL's loss, without a reference."""
    from groupwise.training.update import prepare, update

    stage = Stage("checks", recipes.trl_1_16, tasks.stepwise(level=1, held_out_size=1), 1, learning_rate=1e-3)
    return dict(update(stage, learner, groups, prepare(stage, learner, groups), 0, 0)[1])


def sharded(checks: Checks, processes: int) -> dict[str, Any]:
    """A step of FSDP2 beside one of one process, in both precisions: the gradient's norm, and the weights after."""
    groups = checks.bench(checks.size).sample(checks.plan.shared)[0]
    found: dict[str, Any] = {"processes": processes}
    for dtype in NATS:
        options: Any = {"device": checks.device, "dtype": dtype, "threads": 1}
        options |= {"tokens_per_micro_batch": checks.plan.tokens_per_micro_batch}
        seen = []
        for config in (Local(**options), FSDP(**options, processes=processes)):
            began = time.perf_counter()
            with closing(config.open(checks.model(checks.size))) as learner:
                learner.start_stage(None)
                norm = learn(learner, groups)["grad_norm"]
                seen.append((norm, {name: weight.detach().float().cpu() for name, weight in learner.weights()}))
            found.setdefault(f"{dtype} seconds", []).append(round(time.perf_counter() - began, 2))
            release(checks.device)
        (one, before), (many, after) = seen
        gap = max(float((before[name] - after[name]).abs().max()) for name in before)
        found[dtype] = {"grad_norms": [one, many], "largest_difference_of_weights": gap}
    return found


def resumed(checks: Checks) -> dict[str, Any]:
    """A run that is stopped in the middle and goes on, beside one that is not: the same model, or how far apart."""
    task = tasks.stepwise(level=1, held_out_size=1)
    source = OnPolicy(group_size=2, max_completion_tokens=8)
    stage = Stage("grpo", replace(recipes.grpo, source=source), task, STEPS, prompts_per_step=2, checkpoint_every=1)
    none = HeldOut(problems=0, sampled_problems=0)
    learner = Local(device=checks.device, dtype="bfloat16")  # type: ignore[arg-type]
    whole = Run("checks", str(checks.model(checks.size)), (stage,), evaluation=none, learner=learner)
    places = [checks.folder / name for name in ("undisturbed", "stopped")]
    run(whole, out=places[0], sinks=[])
    with suppress(KeyboardInterrupt):
        run(whole, out=places[1], sinks=[StopAfter(STEPS // 2)])
    run(whole, out=places[1], sinks=[])
    hashes = [sha256((place / "models" / "grpo" / "model.safetensors").read_bytes()).hexdigest() for place in places]
    return {"stopped_after": STEPS // 2, "steps": STEPS, "same_bytes": hashes[0] == hashes[1], "sha256": hashes}


class StopAfter(Sink):
    """This sink interrupts a run after so many steps, as Ctrl-C does."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if step == self.steps:
            os.kill(os.getpid(), signal.SIGINT)


def planned_memory(checks: Checks) -> dict[str, Any]:
    """The peak of a train step beside what ``groupwise check --gpu`` reckons of it."""
    bench, plan = checks.bench(checks.size), checks.plan
    groups, _ = bench.sample(plan.train)
    bench.learn(groups)
    torch.cuda.reset_peak_memory_stats()
    bench.learn(groups)
    work = Work(1, 1, 1, plan.tokens_per_micro_batch)
    parts = learning_bytes(shape_of(checks.model(checks.size)), replace(work, checkpointing=False), 1, 1)
    parts["sampling weights"] = 0.0  # the engine reads the learner's own
    measured = torch.cuda.max_memory_allocated()
    return {"measured": measured, "reckoned": sum(parts.values()), "ratio": sum(parts.values()) / measured}


def ways(checks: Checks) -> dict[str, Callable[[Any], Any]]:
    """Every way of decoding, by a function of an engine that gives what makes it."""
    names = ["Triton", "flash attention"]
    makers = {name: partial(maker, name) for name in names}
    return {**makers, "plain torch": lambda engine: partial(TrunkDecoder, engine.trunk, TorchAttention(engine.parts))}


def maker(name: str, engine: TorchEngine) -> Any:
    return {**decoder_makers(engine.trunk), **experimental_decoder_makers(engine.trunk)}[name]


def way(checks: Checks, make: Callable[[Any], Any]) -> dict[str, Any]:
    """Whether its numbers are plain torch's, and seconds a token; on a GPU with CUDA graphs."""
    bench = checks.bench(checks.size)
    if not isinstance(bench.engine, TorchEngine):
        parts = blueprint_of(bench.learner.model)
        assert not isinstance(parts, str), parts
        bench.engine = TorchEngine(bench.learner.model, parts, 512, print)
    engine = bench.engine
    plain = TrunkDecoder(engine.trunk, TorchAttention(engine.parts))
    return gpu_ways.way(bench, checks.plan, make(engine), plain)


if __name__ == "__main__":
    sys.exit(main())
