"""How a step's cost grows, and what share of the machine's ceiling it reaches.

PYTHONPATH=src python benchmarks/scaling.py            (part of make bench)
    --smoke    tiny numbers: only that it runs

Writes benchmarks/scaling.json and docs/scaling.svg: seconds against group size, prompt length, completion length and
vocabulary, the line that fits them best, and FLOP/s and bytes/s against those of a large matrix product and a copy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "speed"), str(HERE.parent / "tools" / "docs")]

from cases import TINY, M, S, Size  # noqa: E402
from ceiling import Weights, copy_bytes, matrix_flops  # noqa: E402
from method_svg import DOWN, UP, Curve, Panel, picture  # noqa: E402
from step import Bench, Shape  # noqa: E402

from groupwise.engines import Native  # noqa: E402
from groupwise.learners import Local  # noqa: E402
from groupwise.learners.device import machine  # noqa: E402

CONTEXT = 1536


@dataclass(frozen=True)
class Plan:
    """One step, the values that one of its numbers takes in turn, and models whose share of the ceiling is found."""

    base: Shape
    sizes: tuple[Size, ...]
    sweeps: Mapping[str, tuple[int, ...]]
    matrix: int
    copy_megabytes: int


FULL = Plan(
    Shape(8, 8, 128, 64),
    (S, M),
    {
        "group": (4, 8, 16, 24, 32),
        "prompt": (32, 128, 256, 512, 768),
        "completion": (16, 32, 64, 128, 192),
        "vocabulary": (512, 4096, 8192, 16384, 32768),
    },
    matrix=2048,
    copy_megabytes=512,
)
SMOKE = Plan(
    Shape(2, 2, 8, 8),
    (TINY,),
    {"group": (2, 4), "prompt": (8, 16), "completion": (8, 16), "vocabulary": (512, 1024)},
    matrix=256,
    copy_megabytes=16,
)
NAMES = {"group": "completions a prompt", "prompt": "prompt tokens", "completion": "completion tokens"}


def main() -> int:
    asked = arguments()
    plan = SMOKE if asked.smoke else FULL
    with tempfile.TemporaryDirectory(prefix="scaling-") as place:
        sweeps = {name: sweep(Path(place), plan, name, asked) for name in plan.sweeps}
        result = {
            "command": "python benchmarks/scaling.py",
            "machine": machine(),
            "threads": asked.threads,
            "size": plan.sizes[0].name,
            "base": vars(plan.base),
            "sweeps": sweeps,
            "ceiling": ceiling(plan.matrix, plan.copy_megabytes),
            "shares": [shares(Path(place), size, plan.base, asked) for size in plan.sizes],
        }
    asked.out.write_text(json.dumps(with_shares(result), indent=1) + "\n")
    asked.plot.write_text(plot(sweeps), encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "scaling.json")
    parser.add_argument("--plot", type=Path, default=HERE.parent / "docs" / "scaling.svg")
    parser.add_argument("--threads", type=int, default=0, help="0: what engine and learner choose by themselves")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0))


def opened(place: Path, size: Size, threads: int) -> Bench:
    directory = place / f"{size.name}-{size.vocabulary}"
    if not directory.exists():
        size.save(directory, CONTEXT)
    return Bench(directory, Local(device="cpu", threads=threads), Native(threads=threads), "cpu")


def sweep(place: Path, plan: Plan, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Every point measured ``asked.times`` times, the points in turn; lines through the medians."""
    values, size, base = plan.sweeps[name], plan.sizes[0], plan.base
    sizes = [replace(size, vocabulary=value) if name == "vocabulary" else size for value in values]
    shapes = [base if name == "vocabulary" else replace(base, **{name: value}) for value in values]
    shared = {size.vocabulary: opened(place, size, asked.threads) for size in sizes}
    points: list[dict[str, Any]] = [
        {"value": value, "tokens": shape.tokens, "sampling": [], "learning": []}
        for value, shape in zip(values, shapes, strict=True)
    ]
    for turn in range(asked.times + 1):
        for point, size, shape in zip(points, sizes, shapes, strict=True):
            bench = shared[size.vocabulary]
            groups, sampling = bench.sample(shape)
            learning = bench.learn(groups)
            if turn:  # the first warms up
                point["sampling"].append(sampling)
                point["learning"].append(learning)
    along = [point["value"] if name == "vocabulary" else point["tokens"] for point in points]
    fits = {part: fit(along, [median(point[part]) for point in points]) for part in ("sampling", "learning")}
    print(name, {part: f"R² {found['r2']:.4f}" for part, found in fits.items()}, file=sys.stderr)
    return {"along": "vocabulary" if name == "vocabulary" else "tokens", "points": points, "fits": fits}


def fit(xs: Sequence[float], ys: Sequence[float]) -> dict[str, float]:
    """Least squares: ``y = constant + slope · x``, and the share of the variance that it explains."""
    x, y = (torch.tensor(values, dtype=torch.float64) for values in (xs, ys))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    constant = y.mean() - slope * x.mean()
    left = ((y - constant - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {"constant": float(constant), "slope": float(slope), "r2": 1 - float(left)}


def ceiling(size: int, megabytes: int) -> dict[str, Any]:
    """GFLOP/s and GB/s, with one thread and with one a core."""
    before, found = torch.get_num_threads(), {}
    for count in sorted({1, cores()}):
        torch.set_num_threads(count)
        flops, copied = matrix_flops("cpu", torch.float32, size), copy_bytes("cpu", megabytes)
        found[str(count)] = {"gflops": flops / 1e9, "gigabytes": copied / 1e9}
    torch.set_num_threads(before)
    return {"matrix": size, "copy_megabytes": megabytes, "threads": found}


def shares(place: Path, size: Size, base: Shape, asked: argparse.Namespace) -> dict[str, Any]:
    """FLOP/s of decoding and of a training step. Decoding: the longer of two generations less the shorter."""
    bench, short, long = opened(place, size, asked.threads), 16, 16 + base.completion
    weights = Weights.of(bench.learner.model)
    shape = replace(base, completion=long)
    bench.sample(shape)
    pairs = [[bench.sample(shape, most)[1] for most in (short, long)] for _ in range(asked.times)]
    decode = min(second - first for first, second in pairs)
    groups, _ = bench.sample(base)
    learning = min(bench.learn(groups) for _ in range(asked.times + 1))
    of = (base.prompts, base.group, base.prompt)
    extra = weights.forward_flops(*of, long) - weights.forward_flops(*of, short)
    steps, context = long - short, base.prompt + (short + long) / 2
    return {
        "size": size.name, "parameters": size.parameters,
        "decode_threads": asked.threads or cores(), "train_threads": bench.learner.threads,
        "decode_tokens_per_second": steps * base.rows / decode,
        "decode_gflops": extra / decode / 1e9,
        "decode_gigabytes": steps * weights.decode_bytes(base.rows, context, 4) / decode / 1e9,
        "train_gflops": 3 * weights.forward_flops(*of, base.completion) / learning / 1e9,
    }  # fmt: skip


def with_shares(result: dict[str, Any]) -> dict[str, Any]:
    """Beside each rate its share of the ceiling with as many threads, or with all where that was not measured."""
    tops = result["ceiling"]["threads"]
    for row in result["shares"]:
        decode, train = (
            tops.get(str(row[part]), tops[max(tops, key=int)]) for part in ("decode_threads", "train_threads")
        )
        row["decode_share_of_flops"] = row["decode_gflops"] / decode["gflops"]
        row["decode_share_of_bytes"] = row["decode_gigabytes"] / decode["gigabytes"]
        row["train_share_of_flops"] = row["train_gflops"] / train["gflops"]
    return result


def plot(sweeps: dict[str, Any]) -> str:
    """A panel a sweep."""
    panels = []
    for name, found in sweeps.items():
        xs = [point["value"] for point in found["points"]]
        curves = [
            Curve(part, xs, [median(point[part]) for point in found["points"]], colour, [0] * len(xs))
            for part, colour in (("sampling", UP), ("learning", DOWN))
        ]
        worst = min(fitted["r2"] for fitted in found["fits"].values())
        panels.append(Panel(f"seconds a step; R² of a line at least {worst:.3f}", NAMES.get(name, name), curves))
    return picture("Cost", panels)


if __name__ == "__main__":
    sys.exit(main())
