"""Seconds of sampling and of learning with mixtures of experts, each beside a dense model of the same active size, in
turn, on one machine: by the clock, and of all cores together, which other work on the machine changes less.

python benchmarks/mixture.py             8 prompts of 32 tokens with 8 completions of 64, models with the width of M;
                                         writes benchmarks/mixture.json
    --only qwen3_moe                     one of the mixtures
    --times 7                            pairs of steps, after one that warms up
    --results FILE                       written instead
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from step import Bench, Shape

from groupwise.engines import Native
from groupwise.learners import Local
from groupwise.learners.device import machine
from groupwise.runs.environment import versions

RESULTS = Path(__file__).with_name("mixture.json")
SHAPE = Shape(8, 8, 32, 64)
BARS = {"sampling": 1.5, "learning": 1.3}
WIDTHS: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 384, "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 3,
    "head_dim": 64, "max_position_embeddings": 256, "tie_word_embeddings": True, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": None,
}  # fmt: skip
LATENTS: dict[str, Any] = {
    "num_key_value_heads": 6, "q_lora_rank": 192, "kv_lora_rank": 128, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32,
    "v_head_dim": 64, "head_dim": 32, "n_group": 1, "topk_group": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A mixture, and a dense model whose feed-forward layers are as wide as the experts of one token together."""

    kind: str
    experts: str
    """How many there are and how many a token has."""
    dense: str
    width: int
    options: dict[str, Any] = field(default_factory=dict)
    dense_options: dict[str, Any] = field(default_factory=dict)


PAIRS = (
    Pair("mixtral", "2 of 8", "mistral", 896, {
        "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 448, "sliding_window": None,
    }, {"sliding_window": None}),
    Pair("qwen3_moe", "4 of 32", "qwen3", 896, {
        "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 224, "norm_topk_prob": True,
    }),
    Pair("gpt_oss", "4 of 16", "qwen2", 896, {
        "num_local_experts": 16, "num_experts_per_tok": 4, "intermediate_size": 224,
    }),
    Pair("deepseek_v3", "3 of 16, and 1 shared", "deepseek_v3", 896, {
        **LATENTS, "n_routed_experts": 16, "num_experts_per_tok": 3, "n_shared_experts": 1,
        "moe_intermediate_size": 224, "first_k_dense_replace": 0,
    }, {**LATENTS, "first_k_dense_replace": 8}),
)  # fmt: skip


def saved(kind: str, options: dict[str, Any], directory: Path) -> Path:
    """Writes a model with random weights and a tokenizer of bytes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from groupwise.learners.new_model import byte_tokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **WIDTHS | options))
    model.generation_config.update(eos_token_id=1, pad_token_id=0)
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    return directory


def measured(pair: Pair, times: int, scratch: Path) -> dict[str, Any]:
    """Returns the median seconds of both, and the median of their ratios, of sampling and of learning."""
    directories = (
        saved(pair.dense, {"intermediate_size": pair.width, **pair.dense_options}, scratch / f"dense of {pair.kind}"),
        saved(pair.kind, pair.options, scratch / pair.kind),
    )
    benches = [Bench(directory, Local(device="cpu"), Native(), "cpu") for directory in directories]
    with closing(benches[0].learner), closing(benches[1].learner):
        for bench in benches:
            bench.learn(bench.sample(SHAPE)[0])
        rounds = [[_step(bench) for bench in benches] for _ in range(times)]
    found: dict[str, Any] = {"experts": pair.experts, "dense": pair.dense}
    for place, work in enumerate(BARS):
        found[work] = {
            clock: _compared([[step[place][number] for step in one] for one in rounds])
            for number, clock in enumerate(("seconds", "core seconds"))
        }
        print(f"{pair.kind}: {work} {found[work]}", flush=True)
    return found


def _compared(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Returns the medians of both sides, dense first, and of their ratios."""
    dense, mixture = zip(*rounds, strict=True)
    ratios = [other / one for one, other in rounds]
    medians = {"dense": dense, "mixture": mixture, "ratio": ratios}
    return {name: round(statistics.median(values), 3) for name, values in medians.items()}


def _step(bench: Bench) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns what sampling and learning took."""
    times = [_now()]
    groups, _ = bench.sample(SHAPE)
    times.append(_now())
    bench.learn(groups)
    times.append(_now())
    sampled, learned = ((after[0] - before[0], after[1] - before[1]) for before, after in pairwise(times))
    return sampled, learned


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def chosen_pairs(names: Sequence[str]) -> list[Pair]:
    """Returns the pairs of these mixtures; all where none is named."""
    return [pair for pair in PAIRS if not names or pair.kind in names]


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=[pair.kind for pair in PAIRS])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = {pair.kind: measured(pair, chosen.times, Path(scratch)) for pair in chosen_pairs(chosen.only)}
    value = {
        "command": "python benchmarks/mixture.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "shape": vars(SHAPE),
        "bars": BARS,
        "mixtures": found,
    }
    chosen.results.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
