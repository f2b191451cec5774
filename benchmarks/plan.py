"""Reckons what models from 0.6B to 70B need on 1 to 64 GPUs, and writes benchmarks/plan.json and docs/scaling.md.

python benchmarks/plan.py
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groupwise.learners.shape import Shape
from groupwise.preflight.gpus import gpu
from groupwise.preflight.plan import Work, plan

ROOT = Path(__file__).parents[1]
DEVICE, COUNTS = "h100-80gb", (1, 2, 8, 16, 64)
WORK = Work(1024, 256, 1024, tokens_per_micro_batch=16_384, reference=True, passes=1 + 2 / 3)
COMMON: dict[str, Any] = {"num_key_value_heads": 8, "head_dim": 128}
HEAD = """# Scaling without a cluster

`groupwise check METHOD ... --processes 64 --gpu h100-80gb` reckons, for your model and recipe, the memory of a rank,
tokens a second and what a step waits for. It needs no GPU: the model is made of tensors without memory, from its
configuration alone. `python benchmarks/plan.py` writes this page and `benchmarks/plan.json`.

## What is measured and what is reckoned

* **Measured**, on a CPU: the memory of the first of two processes in a train step, beside what the same lines reckon of
  it (below; `python benchmarks/plan_memory.py`), and the weights, gradients and AdamW's state of one process
  (`tests/preflight/test_plan.py`). Nothing was run on the GPUs that are named here.
* **Reckoned**: everything in the table from 0.6B to 70B. Weights, their float32 masters, gradients, optimizer and
  reference are split evenly over the ranks. While a rank computes, it holds what is outside of blocks (embeddings and
  head) and two blocks whole, with their gradients, and the activations of a micro-batch with checkpointing. Logits are
  not counted (they are computed in parts).
* **Assumed**: training reaches 40 % of the published bfloat16 speed, decoding 60 % of the bandwidth, transfers 70 % of
  the link between GPUs of one machine; a tenth of the memory is not ours. Between machines links are slower: with
  more than 8 GPUs transfers are a lower bound. The same GPUs sample and learn in turn; the weights that sample lie
  beside those that learn, on 1, 2, 4 or 8 GPUs of a machine together, as few as leave room. Keys and values take
  what is left: as many completions are drawn at once as fit there.
* GPUs: what their makers publish, dense, and where it can be read: `preflight/gpus.py`.

`Local` and `FSDP` split and hold what is reckoned here. Weights that sample, split over GPUs, are vLLM servers
([vLLM](vllm.md)); loading a model needs room for the whole of it in each process's host memory for a moment.
"""
MEASURED = """
## Memory, reckoned beside measured

Two processes, a new model of {millions:.0f} million parameters in float32, computed by torch's
own operations as on a GPU, AdamW, micro-batches of {tokens} tokens a
process. Counted is what torch allocates in the first process, which also holds the whole weights that sample:

| micro-batch | measured, MB | reckoned, MB | reckoned / measured |
|---|---|---|---|
"""


def configs() -> dict[str, Any]:
    """Published shapes."""
    from transformers import LlamaConfig, Qwen3Config

    def qwen(width: int, blocks: int, heads: int, middle: int, tied: bool) -> Any:
        sizes = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads}
        return Qwen3Config(vocab_size=151_936, intermediate_size=middle, tie_word_embeddings=tied, **sizes, **COMMON)

    llama = {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "intermediate_size": 28_672}
    return {
        "Qwen3-0.6B": qwen(1024, 28, 16, 3072, True),
        "Qwen3-4B": qwen(2560, 36, 32, 9728, True),
        "Qwen3-8B": qwen(4096, 36, 32, 12_288, False),
        "Qwen3-32B": qwen(5120, 64, 64, 25_600, False),
        "Llama-3.1-70B": LlamaConfig(vocab_size=128_256, **llama, **COMMON),
    }


def main() -> None:
    """Reckons all of it."""
    device, rows, lines = gpu(DEVICE), [], []
    for name, config in configs().items():
        shape = Shape.of(config)
        for count in COUNTS:
            found = plan(shape, WORK, count, device)
            row = {"model": name, "parameters": shape.parameters, "gpus": count, **asdict(found)}
            rows.append(row | {"bytes": found.bytes, "bottleneck": found.bottleneck})
            speed = f"{found.tokens_per_second:,.0f}" if found.fits else "-"
            step = f"{sum(found.seconds.values()):,.0f}" if found.fits else "-"
            memory = f"{found.bytes / 1e9:,.0f}{'' if found.fits else ' (does not fit)'}"
            cells = name, f"{shape.parameters / 1e9:.2f}", str(count), memory, step, speed, found.bottleneck
            lines.append(f"| {' | '.join(cells)} |")
    (ROOT / "benchmarks" / "plan.json").write_text(
        json.dumps({"gpu": asdict(device), "work": asdict(WORK), "rows": rows}, indent=1) + "\n"
    )
    about = (
        f"{WORK.completions:,} completions a step, prompts of {WORK.prompt_tokens} and completions of "
        f"{WORK.completion_tokens:,} tokens, micro-batches of {WORK.tokens_per_micro_batch:,} tokens, bfloat16 with\n"
        f"float32 masters, checkpointing, a reference; {DEVICE} ({device.memory / 1e9:.0f} GB).\n"
    )
    head = "| model | parameters, 10⁹ | GPUs | GB a rank | s a step | tokens/s | bottleneck |\n" + "|---" * 7 + "|\n"
    table = f"\n## GRPO from 0.6B to 70B\n\n{about}\n{head}" + "\n".join(lines) + "\n"
    (ROOT / "docs" / "scaling.md").write_text(HEAD + measured() + table)


def measured() -> str:
    """What plan_memory.py found."""
    found = json.loads((ROOT / "benchmarks" / "plan_memory.json").read_text())
    lines = []
    for name, case in found["cases"].items():
        measured, reckoned = case["measured"] / 1e6, case["reckoned"] / 1e6
        lines.append(
            f"| {name}, {case['tokens']:,} tokens | {measured:,.0f} | {reckoned:,.0f} | {reckoned / measured:.2f} |"
        )
    tokens = " and ".join(f"{case['tokens']:,}" for case in found["cases"].values())
    return MEASURED.format(millions=found["shape"]["parameters"] / 1e6, tokens=tokens) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
