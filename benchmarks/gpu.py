"""One GPU: how near decoding comes to the memory bandwidth, and training to the matrix units.

PYTHONPATH=src python benchmarks/gpu.py             (torch, transformers and a GPU; no network)
    --dry-run    tiny shapes on the CPU, in seconds: only that it runs
    --minutes 9  after these no further measurement is begun

Writes gpu.json into $OUT if that is set, else into benchmarks/, anew after each part, so that what was found is kept
whatever comes next. Models of the Qwen2.5 shapes with random weights in bfloat16 are made here. Where a part fails,
its error is in the file and the next part goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "speed"))

from cases import GROUP, PROMPTS, prompts  # noqa: E402
from ceiling import Weights, copy_bytes, matrix_flops, settle  # noqa: E402
from step import Bench, Shape, regrouped  # noqa: E402
from talk import Worker  # noqa: E402

from groupwise.engines import Native  # noqa: E402
from groupwise.engines.torch_engine import TorchEngine  # noqa: E402
from groupwise.learners import Local  # noqa: E402
from groupwise.learners.device import machine  # noqa: E402
from groupwise.learners.new_model import byte_tokenizer  # noqa: E402

DATASHEET = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bf16 FLOP/s by NVIDIA's data sheets (SXM where there are several)."""
GOALS = {"decode_share_of_floor": 0.60, "mfu": 0.45}


@dataclass(frozen=True)
class Size:
    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int = 151_936

    def save(self, directory: Path, context_tokens: int, device: str) -> Path:
        """A Qwen2 model (biases on q, k and v, tied embeddings) with a byte-level tokenizer."""
        from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

        config = Qwen2Config(
            vocab_size=self.vocabulary, hidden_size=self.width, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, num_key_value_heads=self.kv_heads, intermediate_size=self.feed_forward,
            max_position_embeddings=context_tokens, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
            bos_token_id=None,
        )  # fmt: skip
        torch.manual_seed(0)
        with torch.device(device):
            model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0, do_sample=True)
        model.save_pretrained(directory)
        byte_tokenizer().save_pretrained(directory)
        return directory


@dataclass(frozen=True)
class Plan:
    """What is measured. Lengths in tokens; the first ``skipped`` steps of a decoding, prompts too, do not count."""

    sizes: tuple[Size, ...]
    decode_rows: tuple[int, ...]
    decode: Shape
    skipped: int
    train: Shape
    shared: Shape
    tokens_per_micro_batch: int
    context: int
    matrix: int
    copy_megabytes: int
    times: int


FULL = Plan(
    (Size("0.5B", 24, 896, 14, 2, 4864), Size("1.5B", 28, 1536, 12, 2, 8960)),
    (64, 128, 256, 512), Shape(8, 8, 128, 256), 64, Shape(8, 8, 256, 512), Shape(4, 8, 2048, 128),
    tokens_per_micro_batch=32_768, context=4096, matrix=8192, copy_megabytes=4096, times=3,
)  # fmt: skip
DRY = Plan(
    (Size("tiny", 2, 32, 2, 1, 64, 512),), (8, 16), Shape(2, 4, 8, 12), 4, Shape(2, 2, 8, 8), Shape(2, 2, 32, 8),
    tokens_per_micro_batch=256, context=128, matrix=128, copy_megabytes=4, times=1,
)  # fmt: skip


@dataclass
class Record:
    """gpu.json as it grows."""

    path: Path
    deadline: float
    value: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str, measure: Callable[[], Any]) -> None:
        """Keeps what it finds, or why it found nothing."""
        if time.perf_counter() > self.deadline:
            found: Any = {"left_out": "no time was left"}
        else:
            begun = time.perf_counter()
            try:
                found = measure()
            except Exception as error:  # one part must not cost the others
                traceback.print_exc()
                found = {"failed": f"{type(error).__name__}: {error}"}
            print(f"{name}: {time.perf_counter() - begun:.1f} s {json.dumps(found)[:300]}", file=sys.stderr, flush=True)
        self.value[name] = found
        self.path.write_text(json.dumps(self.value, indent=1) + "\n")


def main() -> int:
    asked = arguments()
    plan = DRY if asked.dry_run else FULL
    device = "cpu" if asked.dry_run else "cuda"
    place = Path(os.environ.get("OUT") or HERE)
    record = Record(asked.out or place / "gpu.json", time.perf_counter() + asked.minutes * 60)
    record.value = {
        "command": "python benchmarks/gpu.py",
        "machine": machine(),
        "torch": torch.__version__,
        "goals": GOALS,
    }
    record.part("ceiling", partial(ceiling, plan, device))
    with tempfile.TemporaryDirectory(prefix="gpu-") as models:
        for size in plan.sizes:
            measure(record, plan, size, size.save(Path(models) / size.name, plan.context, device), device)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(record: Record, plan: Plan, size: Size, directory: Path, device: str) -> None:
    """All parts of one model."""
    learner = Local(tokens_per_micro_batch=plan.tokens_per_micro_batch, device=device, dtype="bfloat16")
    bench, top = Bench(directory, learner, Native(), device), record.value["ceiling"]
    for rows in plan.decode_rows:
        shape = replace(plan.decode, prompts=rows // plan.decode.group)
        record.part(f"{size.name} decode {rows}", partial(decode, bench, plan, shape, top))
    record.part(f"{size.name} train", partial(train, bench, plan, top))
    record.part(f"{size.name} shared prompt", partial(sharing, bench, plan))
    record.part(f"{size.name} transformers", partial(transformers_generate, bench, plan))
    del bench
    release(device)
    record.part(f"{size.name} trl", partial(trl, plan, directory, device))


def ceiling(plan: Plan, device: str) -> dict[str, Any]:
    """FLOP/s of a large bf16 product, by measurement and data sheet; bytes/s of a large copy."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {
        "bf16_flops": matrix_flops(device, torch.bfloat16, plan.matrix),
        "bf16_flops_datasheet": next((flops for part, flops in DATASHEET.items() if part in name), None),
        "copy_bytes": copy_bytes(device, plan.copy_megabytes),
    }


def decode(bench: Bench, plan: Plan, shape: Shape, top: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second once prompts are computed, and what share that is of reading weights and cache once a token."""
    reset_peak(bench.device)
    bench.sample(shape)  # captures graphs, fills caches
    pairs = [[bench.sample(shape, most)[1] for most in (plan.skipped, shape.completion)] for _ in range(plan.times)]
    seconds = min(second - first for first, second in pairs)
    steps = shape.completion - plan.skipped
    context = shape.prompt + (shape.completion + plan.skipped) / 2
    needed = Weights.of(bench.learner.model).decode_bytes(shape.rows, context, 2)
    floor = steps * needed / top["copy_bytes"]
    return {
        "rows": shape.rows, "prompt": shape.prompt, "completion": shape.completion, "seconds": pairs,
        "engine": how(bench.engine),
        "tokens_per_second": steps * shape.rows / seconds,
        "step_milliseconds": seconds / steps * 1e3,
        "floor_milliseconds": floor / steps * 1e3,
        "decode_share_of_floor": floor / seconds,
        "whole_tokens_per_second": shape.rows * shape.completion / min(second for _, second in pairs),
        "peak_gigabytes": peak(bench.device),
    }  # fmt: skip


def how(engine: Any) -> str | list[str]:
    """Which way it decodes, and why not a faster one."""
    return [engine.how, *engine.notes] if isinstance(engine, TorchEngine) else type(engine).__name__


def train(bench: Bench, plan: Plan, top: dict[str, Any]) -> dict[str, Any]:
    """FLOP/s of a whole update: three forward passes' worth, each group's prompt counted once."""
    shape = plan.train
    groups, sampling = bench.sample(shape)
    release(bench.device)
    reset_peak(bench.device)
    found = [bench.learn(groups) for _ in range(plan.times + 1)][1:]
    flops = 3 * Weights.of(bench.learner.model).forward_flops(
        shape.prompts, shape.group, shape.prompt, shape.completion
    )
    sheet = top["bf16_flops_datasheet"]
    return {
        **vars(shape), "tokens": shape.tokens, "seconds": found, "sampling_seconds": sampling,
        "flops": flops / min(found),
        "mfu": flops / min(found) / top["bf16_flops"],
        "mfu_datasheet": flops / min(found) / sheet if sheet else None,
        "tokens_per_micro_batch": plan.tokens_per_micro_batch,
        "peak_gigabytes": peak(bench.device),
    }  # fmt: skip


def sharing(bench: Bench, plan: Plan) -> dict[str, Any]:
    """The same number of rows with as few prompts as groups, and with a prompt of its own for each row."""
    found: dict[str, Any] = {**vars(plan.shared)}
    alone = replace(plan.shared, prompts=plan.shared.rows, group=1)
    for name, shape in (("shared", plan.shared), ("alone", alone)):
        bench.sample(shape)
        reset_peak(bench.device)
        sampled = [bench.sample(shape) for _ in range(plan.times)]
        learned = [bench.learn(regrouped(groups, plan.shared.group)) for groups, _ in sampled]
        found[name] = {"sampling": [seconds for _, seconds in sampled], "learning": learned}
        found[name]["peak_gigabytes"] = peak(bench.device)
    for part in ("sampling", "learning"):
        found[f"{part}_gain"] = min(found["alone"][part]) / min(found["shared"][part])
    return found


def transformers_generate(bench: Bench, plan: Plan) -> dict[str, Any]:
    """Tokens a second of transformers' ``generate``, as TRL calls it, in the smallest decode case."""
    shape, model = plan.decode, bench.learner.model
    ids = torch.tensor([row.tokens for row in bench.prompts(shape) for _ in range(shape.group)], device=bench.device)
    long = {"max_new_tokens": shape.completion, "min_new_tokens": shape.completion}
    found = []
    for _ in range(2):
        settle(bench.device)
        begun = time.perf_counter()
        with torch.no_grad():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, **long)
        settle(bench.device)
        found.append(time.perf_counter() - begun)
    return {"rows": shape.rows, "seconds": found, "tokens_per_second": shape.rows * shape.completion / min(found)}


def trl(plan: Plan, directory: Path, device: str) -> dict[str, Any]:
    """A step of TRL's trainer with bf16 on and checkpointing off; only where it can be imported."""
    from importlib.util import find_spec

    if find_spec("trl") is None:
        return {"left_out": "trl is not installed"}
    shape = replace(plan.train, prompts=PROMPTS, group=GROUP)
    log = directory.parent / "trl.log"
    job = {"model": str(directory), "out": str(directory.parent / "trl"), "defaults": False, "device": device,
           "prompt": shape.prompt, "completion": shape.completion, "micro_batch_rows": 16}  # fmt: skip
    worker = Worker("worker_trl.py", log, job, {})
    try:
        settings = worker.ready()
        order = {"do": "step", "lengths": [[shape.completion] * GROUP] * PROMPTS, "cut": shape.completion, "threads": 1}
        found = [worker.ask(**order) for _ in range(3)][1:]
    finally:
        worker.stop()
    return {**vars(shape), "settings": settings, "steps": found, "prompt_letters": len(prompts(shape.prompt)[0])}


def reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def release(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()


def peak(device: str) -> float | None:
    """Of the allocator, since ``reset_peak``."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None


if __name__ == "__main__":
    sys.exit(main())
