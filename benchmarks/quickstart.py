"""Runs the quickstart with seeds 0, 1 and 2 and writes benchmarks/quickstart.json: accuracies, intervals, seconds.

.venv/bin/python benchmarks/quickstart.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (0, 1, 2)
NEEDED_GAIN, NEEDED_PASS, NEEDED_SECONDS = 0.25, 0.80, 240


def main() -> int:
    """Exit code 1 where a bar is missed."""
    results = [one(seed) for seed in SEEDS]
    first = json.loads((directory(SEEDS[0]) / "run.json").read_text())
    held = [holds(result) for result in results]
    value = {
        "command": "python benchmarks/quickstart.py",
        "machine": first["machine"],
        "versions": first["versions"],
        "bars": {"pass@1 gain": NEEDED_GAIN, "pass@1": NEEDED_PASS, "seconds": NEEDED_SECONDS, "met": all(held)},
        "seeds": results,
    }
    (ROOT / "benchmarks" / "quickstart.json").write_text(json.dumps(value, indent=1) + "\n")
    for result, ok in zip(results, held, strict=True):
        print(f"seed {result['seed']}: {result['seconds']:.0f} s, pass@1 {result['sft']['pass@1']['value']:.3f} -> "
              f"{result['grpo']['pass@1']['value']:.3f} {'met' if ok else 'MISSED'}")  # fmt: skip
    return 0 if all(held) else 1


def directory(seed: int) -> Path:
    return ROOT / "runs" / f"quickstart-seed-{seed}"


def one(seed: int) -> dict[str, Any]:
    """The whole command, timed from outside."""
    out = directory(seed)
    started = time.perf_counter()
    command = [sys.executable, "-m", "groupwise.cli", "run", str(ROOT / "examples" / "quickstart.py")]
    subprocess.run([*command, "--seed", str(seed), "--out", str(out), "--fresh"], check=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    saved, run = (json.loads((out / name).read_text()) for name in ("evaluation.json", "run.json"))
    models = {
        model["stage"]: summary(model["evaluation"], run["evaluation_seconds"][model["stage"]])
        for model in saved["models"]
    }
    return {"seed": seed, "seconds": round(seconds, 1), **models, "comparison": saved["comparison"]}


def summary(evaluation: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Values and intervals, without each problem's own."""

    def short(measure: dict[str, Any]) -> dict[str, float]:
        return {name: round(measure[name], 4) for name in ("value", "low", "high")}

    tables = {
        f"{name}@{k}": short(measure)
        for name, table in (("pass", evaluation["pass_at"]), ("maj", evaluation["maj_at"]))
        for k, measure in table.items()
    }
    on_sampled = {f"{name} (sampled problems)": value for name, value in tables.items() if name == "pass@1"}
    rest = {name: value for name, value in tables.items() if name != "pass@1"}
    return {
        "greedy": short(evaluation["greedy"]),
        "pass@1": short(evaluation["pass_at_1"]),
        **on_sampled,
        **rest,
        "seconds": round(seconds, 1),
    }


def holds(result: dict[str, Any]) -> bool:
    """Whether a seed meets the bars, the intervals apart."""
    before, after = result["sft"]["pass@1"], result["grpo"]["pass@1"]
    gain = after["value"] - before["value"]
    return bool(
        gain >= NEEDED_GAIN
        and after["value"] >= NEEDED_PASS
        and before["high"] < after["low"]
        and result["seconds"] <= NEEDED_SECONDS
    )


if __name__ == "__main__":
    sys.exit(main())
