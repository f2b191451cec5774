"""What docs/speed.md says beside the comparison: how it was made, how cost grows, and one GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

WORK = """## The work, the same on every side

A step is 8 prompts with 8 completions each: sampled, scored by a reward that costs nothing, learned from in one
optimiser update of all parameters (AdamW, float32). Random weights of the Qwen3 architecture, tied embeddings; S, M and
L have 1.0, 12.0 and 102 million parameters, their vocabularies 512, 512 and 32,000 tokens. SmolLM2 is the chat model
SmolLM2-135M-Instruct with its 49,152 tokens; its prompts are words of a token each. The loss is TRL's own
(`recipes/trl_1_16.py`), so no side computes a reference.

* Lengths. Where all completions are equally long, no token ends one. Where they differ (16 to 256, mean about 105),
  ours end by themselves: four of the 512 ids stop, and of 48 seeds a prompt those 8 are taken whose lengths come
  nearest to 16, 32, 48, 72, 96, 128, 192 and 256. TRL gets the same lengths, row by row, from a logits processor (two
  small operations a token); vLLM from `max_tokens` of each request. The learning rate is 0: every update is computed,
  and the next step samples the same completions.
* Turns. A process a side, all alive at once; one takes its step while the others wait. TRL tuned and vLLM run
  with one and with two threads and keep what is faster: found anew in every case of S, for larger models in M's first
  (vLLM: in every case). TRL with its defaults keeps torch's count, and Groupwise chooses by itself.
* TRL tuned: `bf16=False`, `gradient_checkpointing=False`, 16 rows a micro-batch (8 on SmolLM2 512/64, whose activations
  would otherwise take 12 GB), all 64 completions generated together.
  On S 32/64 micro-batches of 8, 16, 32 and 64 rows did not differ beyond noise on a busy machine; on M no other was
  tried (`--tune` does). TRL defaults: nothing set but the batch (8 rows, 8 times accumulated).
* Ours is a whole `groupwise.run`: ledger and metrics.jsonl included, which TRL is not asked for.
  In the second line `tokens_per_micro_batch` is as many tokens as TRL's micro-batch has places, for the comparison of
  memory; in the first it is our own.
* vLLM samples only, with one log-probability a token as a learner needs it and its prefix cache emptied between steps;
  taking up new weights costs it nothing here.

A step lasts until the next one could begin. A first step with 8 tokens a completion is not counted."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def further(benchmarks: Path) -> Iterator[str]:
    """The parts of which there are results."""
    parts = {"scaling.json": scaling, "silent_groups.json": silent, "mixture.json": mixtures, "gpu.json": gpu}
    for name, lines in parts.items():
        if (benchmarks / name).exists():
            yield from lines(json.loads((benchmarks / name).read_text(encoding="utf-8")))


def scaling(found: dict[str, Any]) -> Iterator[str]:
    """How cost grows, and the share of the ceiling."""
    base, top = found["base"], found["ceiling"]["threads"]
    yield "\n## How cost grows\n"
    yield (
        f"Model {found['size']}, {base['prompts']} prompts of {base['prompt']} tokens, {base['group']} completions of "
        f"{base['completion']}; one of these numbers at a time is changed (`benchmarks/scaling.py`). A token of a "
        "prompt counts once a group. R² is that of a straight line: seconds against tokens, or against the vocabulary."
    )
    yield "\n![Seconds a step](scaling.svg)\n"
    rows = []
    for name, sweep in found["sweeps"].items():
        values = [str(point["value"]) for point in sweep["points"]]
        fits = [f"{sweep['fits'][part]['r2']:.4f}" for part in ("sampling", "learning")]
        rows.append([name, f"{values[0]} to {values[-1]}", sweep["along"], *fits])
    yield from table(["changed", "from", "line along", "R², sampling", "R², learning"], rows)
    yield from shares(found, top)


def shares(found: dict[str, Any], top: dict[str, Any]) -> Iterator[str]:
    """What of the machine's ceiling is reached."""
    yield "\n## Share of the ceiling\n"
    ceilings = (
        f"{n} thread{'s'[: int(n) - 1]}: {t['gflops']:.0f} GFLOP/s, {t['gigabytes']:.1f} GB/s" for n, t in top.items()
    )
    yield (
        f"Measured in the same run by a product of two {found['ceiling']['matrix']}-square float32 matrices and a copy "
        f"of {found['ceiling']['copy_megabytes']} MB: {'; '.join(ceilings)}. Two "
        "FLOPs a weight and token, attention besides; a training step counts three forward passes.\n"
    )
    head = ["model", "", "threads", "tokens/s", "GFLOP/s", "of the ceiling", "GB/s", "of the ceiling"]
    rows = []
    for row in found["shares"]:
        rate, flops = f"{row['decode_tokens_per_second']:,.0f}", f"{row['decode_gflops']:.1f}"
        moved = [f"{row['decode_gigabytes']:.1f}", f"{row['decode_share_of_bytes']:.0%}"]
        decode = [str(row["decode_threads"]), rate, flops, f"{row['decode_share_of_flops']:.0%}", *moved]
        train = [
            "by trial" if not found["threads"] else str(row["train_threads"]),
            "",
            f"{row['train_gflops']:.1f}",
            f"{row['train_share_of_flops']:.0%}",
            "",
            "",
        ]
        rows += [[row["size"], "decode", *decode], [row["size"], "train", *train]]
    yield from table(head, rows)


def silent(found: dict[str, Any]) -> Iterator[str]:
    """What a step costs where groups have equal rewards."""
    shape = found["shape"]
    yield "\n## Groups of which nothing is learned\n"
    yield (
        "Where all completions of a prompt are equally right, or equally wrong, each gradient coefficient is 0 (but "
        "for a KL penalty or an entropy bonus in the objective). They only go forward, so that entropy "
        "and the gap between engine and learner are still measured on all rows. Model "
        f"{found['model']}, {shape['prompts']} prompts of {shape['prompt']} tokens, {shape['group']} completions of "
        f"{shape['completion']}; learning alone, medians of pairs taken in turn (`benchmarks/silent_groups.py`).\n"
    )
    rows = [
        [f"{count} of {shape['prompts']}", f"{one['sent']:.2f}", f"{one['left out']:.2f}", f"{one['ratio']:.2f}"]
        for count, one in found["groups with equal rewards"].items()
    ]
    yield from table(["groups with equal rewards", "s, zeros sent back", "s, left out", "ratio"], rows)


def mixtures(found: dict[str, Any]) -> Iterator[str]:
    """What a mixture of experts costs beside a dense model."""
    shape, bars = found["shape"], found["bars"]
    yield "\n## Mixtures of experts\n"
    yield (
        "Beside a dense model whose feed-forward layers are as wide as the experts of one token together: "
        f"{shape['prompts'] * shape['group']} completions of {shape['completion']} tokens, models with the width and "
        "depth of M, random weights, so that all experts are chosen about equally often; both sides in turn, medians "
        "of the ratios of seconds and of all cores' seconds (`benchmarks/mixture.py`). Wanted: at most "
        f"{bars['sampling']} × in sampling and {bars['learning']} × in learning. Where a layer's experts are larger "
        "than a core's cache, the threads that sample step together, and each expert is read once for all rows.\n"
    )
    rows = [
        [kind, pair["experts"], pair["dense"]]
        + [f"{pair[work][clock]['ratio']:.2f}" for work in bars for clock in ("seconds", "core seconds")]
        for kind, pair in found["mixtures"].items()
    ]
    head = ["mixture", "experts of a token", "dense", "sampling, s", "of all cores", "learning, s", "of all cores"]
    yield from table(head, rows)


def gpu(found: dict[str, Any]) -> Iterator[str]:
    """One GPU: each part that was measured, its goals beside it; what failed, too."""
    goals, top = found["goals"], found["ceiling"]
    yield "\n## One GPU\n"
    sheet = f" ({top['bf16_flops_datasheet'] / 1e12:.0f} by the data sheet)" if top["bf16_flops_datasheet"] else ""
    yield (
        f"{found['machine']['gpu']}, torch {found['torch']}; measured {top['bf16_flops'] / 1e12:.0f} TFLOP/s in "
        f"bf16{sheet} and {top['copy_bytes'] / 1e12:.2f} TB/s (`benchmarks/gpu.py`). Qwen2.5 shapes, random "
        f"weights, bf16. Goals: decoding at {goals['decode_share_of_floor']:.0%} of what reading weights "
        f"and cache alone allows, training at {goals['mfu']:.0%} of the measured FLOP/s.\n"
    )
    yield from table(["part", "found"], [[name, said(part)] for name, part in found.items() if " " in name])


def said(part: dict[str, Any]) -> str:
    """A part in words."""
    shown = {
        "tokens_per_second": "{:,.0f} tokens/s", "decode_share_of_floor": "{:.0%} of the bandwidth floor",
        "mfu": "MFU {:.0%}", "mfu_datasheet": "{:.0%} of the data sheet", "sampling_gain": "sampling {:.1f} × faster",
        "learning_gain": "learning {:.1f} × faster", "peak_gigabytes": "{:.1f} GiB at most",
        "left_out": "{}", "failed": "{}",
    }  # fmt: skip
    words = [text.format(part[name]) for name, text in shown.items() if part.get(name) is not None]
    if "steps" in part:
        words.append(f"{min(step['seconds'] for step in part['steps']):.2f} s a step")
    return ", ".join(words)
