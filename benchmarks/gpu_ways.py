"""One GPU: every way of decoding the engine knows there, right or not, how fast, and where a step's time goes.

PYTHONPATH=src python benchmarks/gpu_ways.py             (0.5B shape, random weights, bfloat16; about three minutes)
    --dry-run    a tiny shape on the CPU

Prints one JSON object a line; a way that fails says how and the next goes on.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu import DRY, FULL, Bench, Local, Native, Plan, how

from groupwise.engines.backends import decoder_makers, differs, experimental_decoder_makers
from groupwise.engines.decode_step import Decoder, TrunkDecoder
from groupwise.engines.kv_cache import TorchAttention
from groupwise.engines.torch_engine import TorchEngine


def main() -> int:
    dry = "--dry-run" in sys.argv
    plan, device = (DRY, "cpu") if dry else (FULL, "cuda")
    with tempfile.TemporaryDirectory(prefix="gpu-") as place:
        directory = plan.sizes[0].save(Path(place) / "model", plan.context, device)
        bench = Bench(directory, Local(device=device, dtype="bfloat16"), Native(), device)
        engine = bench.engine
        assert isinstance(engine, TorchEngine), how(engine)
        print(json.dumps({"torch": torch.__version__, "taken": how(engine)}), flush=True)
        plain = partial(TrunkDecoder, engine.trunk, TorchAttention(engine.parts))
        for name, make in {
            **decoder_makers(engine.trunk),
            **experimental_decoder_makers(engine.trunk),
            "plain torch": plain,
        }.items():
            try:
                found = way(bench, plan, make, plain())
            except Exception:  # of a compiler or a library
                found = {"failed": traceback.format_exc()[-1500:]}
            print(json.dumps({"way": name, **found}), flush=True)
    return 0


def way(bench: Bench, plan: Plan, make: Any, plain: Decoder) -> dict[str, Any]:
    engine = bench.engine
    made: list[Decoder] = []
    wrong = differs(make, plain, engine.trunk, made)
    engine.go(replace(engine.paths, decoder=made[0]))
    found: dict[str, Any] = {"wrong": wrong, "seconds": {}}
    for rows in (plan.decode_rows[0], plan.decode_rows[-1]):
        shape = replace(plan.decode, prompts=rows // plan.decode.group, completion=2 * plan.skipped)
        bench.sample(shape)  # records graphs
        found["seconds"][rows] = min(
            bench.sample(shape)[1] - bench.sample(shape, plan.skipped)[1] for _ in range(plan.times)
        ) / (shape.completion - plan.skipped)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        bench.sample(replace(plan.decode, completion=plan.skipped))
    key = "self_device_time_total" if bench.device == "cuda" else "self_cpu_time_total"
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, key))[:14]
    found["profile"] = [(event.key[:60], event.count, round(getattr(event, key))) for event in events]
    return found


if __name__ == "__main__":
    sys.exit(main())
