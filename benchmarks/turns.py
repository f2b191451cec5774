"""Runs the examples with turns with seeds 0, 1 and 2 and writes benchmarks/turns.json and the tables
of docs/turns.md.

.venv/bin/python benchmarks/turns.py                    all three
.venv/bin/python benchmarks/turns.py guess grid         some; the others' numbers stay
.venv/bin/python benchmarks/turns.py guess --seeds 1    one seed; those of the others stay
.venv/bin/python benchmarks/turns.py --page             only the tables, from the numbers that are there
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT, PAGE = ROOT / "benchmarks" / "turns.json", ROOT / "docs" / "turns.md"
NAMES = ("calculator", "guess", "grid")
SEEDS = (0, 1, 2)
TURNS, CALLS, MALFORMED = "turns", "tools/calls", "tools/malformed"

Bar = tuple[str, str, float, float]
"""Before or after, the measure, and between which two values it is to be."""
BARS: dict[str, tuple[Bar, ...]] = {
    "calculator": (
        ("before", "greedy", 0.0, 0.05),
        ("after", "greedy", 0.95, 1.0),
        ("after", CALLS, 0.99, 2.0),
        ("after", MALFORMED, 0.0, 0.01),
    ),
    "guess": (
        ("before", "sampled", 0.25, 0.50),
        ("after", "sampled", 0.85, 1.0),
        ("after", "greedy", 0.90, 1.0),
        ("after", TURNS, 1.0, 5.3),
    ),
    "grid": (
        ("before", "sampled", 0.40, 0.65),
        ("after", "sampled", 0.90, 1.0),
        ("after", "greedy", 0.95, 1.0),
    ),
}
MOST_SECONDS = 300.0


def main() -> int:
    """Exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", default=list(NAMES), help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS, help="some of them")
    parser.add_argument("--page", action="store_true", help="run nothing, write the tables again")
    given = parser.parse_args()
    unknown = next((name for name in given.examples if name not in NAMES), None)
    if unknown:
        parser.error(f"{unknown} is no example with turns; expected some of {', '.join(NAMES)}")
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in () if given.page else given.examples:
        found[name] = measured(name, given.seeds, found.get(name, {}).get("seeds", []))
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found), encoding="utf-8")
    measured_now = [name for name in given.examples if name in found]
    missed = [line for name in measured_now for line in found[name]["missed"]]
    print("\n".join(missed) or f"all bars met: {', '.join(measured_now) or 'nothing is measured yet'}")
    return 1 if missed else 0


def measured(name: str, seeds: list[int], before: list[dict[str, Any]]) -> dict[str, Any]:
    """Some seeds of one example beside those that are there, and what missed its bar."""
    kept = [each for each in before if each["seed"] not in seeds]
    found = sorted([*kept, *(one(name, seed) for seed in seeds)], key=lambda each: each["seed"])
    return {
        "command": f"groupwise run examples/{name}.py",
        "seeds": found,
        "missed": [line for each in found for line in misses(name, each)],
    }


def directory(name: str, seed: int) -> Path:
    return ROOT / "runs" / f"{name}-seed-{seed}"


def one(name: str, seed: int) -> dict[str, Any]:
    """The whole command, timed from outside."""
    out, started = directory(name, seed), time.perf_counter()
    command = [sys.executable, "-m", "groupwise.cli", "run", str(ROOT / "examples" / f"{name}.py")]
    subprocess.run([*command, "--seed", str(seed), "--out", str(out), "--fresh"], check=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    models = json.loads((out / "evaluation.json").read_text())["models"]
    before, after = (summary(models[place]["evaluation"]) for place in (0, -1))
    run = json.loads((out / "run.json").read_text())
    about = {"machine": run["machine"], "versions": run["versions"]}
    return {"seed": seed, "seconds": round(seconds, 1), "before": before, "after": after, **about}


def summary(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Success with its interval, greedy and sampled, and what the sampled episodes were like."""
    measures = {"greedy": evaluation["greedy"], "sampled": evaluation["pass_at_1"]}
    short = {name: {end: round(each[end], 4) for end in ("value", "low", "high")} for name, each in measures.items()}
    return {**short, "episodes": {name: round(value, 4) for name, value in evaluation["episodes"].items()}}


def value_of(models: dict[str, Any], measure: str) -> float:
    """Raises KeyError for what was not measured: that is no 0."""
    return float(models[measure]["value"] if measure in models else models["episodes"][measure])


def misses(name: str, result: dict[str, Any]) -> list[str]:
    """A line for each bar that one seed misses."""
    lines = [
        f"{name}, seed {result['seed']}: {measure} {when} is {value:.3f}; expected {low:g} to {high:g}"
        for when, measure, low, high in BARS[name]
        if not low <= (value := value_of(result[when], measure)) <= high
    ]
    if result["seconds"] > MOST_SECONDS:
        lines.append(f"{name}, seed {result['seed']}: {result['seconds']:.0f} s; expected at most {MOST_SECONDS:.0f}")
    return lines


def page(found: dict[str, Any]) -> str:
    """The page with a table for each example that was measured, between two marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name in NAMES:
        begins, ends = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begins)
        told = f"{table(name, found[name])}\n" if name in found else "Not measured yet.\n"
        text = f"{before}{begins}\n{told}\n{ends}{rest.partition(ends)[2]}"
    return text


def table(name: str, found: dict[str, Any]) -> str:
    """A row a seed; before -> after."""
    measures = ["greedy", "sampled", TURNS, *([CALLS, MALFORMED] if name == "calculator" else [])]
    lines = ["| seed | " + " | ".join(measures) + " | seconds |", "|" + "---|" * (len(measures) + 2)]
    for each in found["seeds"]:
        ways = [f"{value_of(each['before'], one):.3f} → {value_of(each['after'], one):.3f}" for one in measures]
        lines.append(f"| {each['seed']} | " + " | ".join(ways) + f" | {each['seconds']:.0f} |")
    missed = "".join(f"\n* {line}" for line in found["missed"])
    return (
        "\n".join(lines)
        + f"\n\n{machines(found['seeds'])}"
        + (f"\n\nBars that were missed:\n{missed}" if missed else "")
    )


def machines(seeds: list[dict[str, Any]]) -> str:
    """Where they were measured, seed by seed if not all on one machine."""
    by_machine: dict[str, list[str]] = {}
    for each in seeds:
        words = ", ".join(f"{key} {value}" for key, value in each["machine"].items() if value)
        by_machine.setdefault(words, []).append(str(each["seed"]))
    if len(by_machine) == 1:
        return f"Machine: {next(iter(by_machine))}."
    return "Machines: " + "; ".join(f"seed {', '.join(own)}: {words}" for words, own in by_machine.items()) + "."


if __name__ == "__main__":
    sys.exit(main())
