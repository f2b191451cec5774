"""Groupwise against TRL and vLLM on this machine's CPU, the same work on every side, taking turns.

python benchmarks/speed            (make bench makes its environment first)
    --page       the page and the plot alone, from benchmarks/cpu.json
    --smoke      a tiny case in seconds: only that everything runs
    --only S     the cases whose name begins so
    --sides ours,trl,trl_defaults,vllm
    --out FILE   what was found is also written here, after each case
    --join FILE FILE   what runs of parts have found, a case's last one: then they are the complete run, and each case
                 that was measured elsewhere than the first says so
    --threads 1  the thread counts that are tried (1,2); each side gets the one that is faster for it
    --tune       TRL's seconds a step with micro-batches of 8, 16, 32 and 64 rows, case by case

A complete run writes benchmarks/cpu.json, docs/speed.md and docs/speed.svg; one of a part writes only FILE.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from cases import Case, cases, smoke_cases
from figures import SAMPLING
from measure import Bench, measured, start_vllm, summary
from page import write

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "cpu.json"
PACKAGES = ("torch", "transformers", "trl", "numpy")
MICRO_BATCHES = (8, 16, 32, 64)


def main() -> int:
    """Exit code 1 where a bar is missed."""
    asked = arguments()
    if asked.page:
        return write(ROOT / "docs", json.loads(RESULT.read_text()), ROOT / "benchmarks")
    if asked.join:
        return publish(joined([json.loads(file.read_text()) for file in asked.join]))
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        counts = tuple(int(count) for count in asked.threads.split(","))
        bench = Bench(Path(place), time.perf_counter() + asked.minutes * 60, counts)
        chosen = [case for case in (smoke_cases() if asked.smoke else cases()) if case.name.startswith(asked.only)]
        sides = asked.sides.split(",") if asked.sides else available(asked.smoke)
        if asked.tune:
            return tune(bench, chosen)
        result = {**about(), "cases": []}
        for row in rows(bench, chosen, sides):
            result["cases"].append(row)
            result["minutes"] = round(asked.minutes - bench.left() / 60, 1)
            if asked.out:
                asked.out.write_text(json.dumps(result, indent=1) + "\n")
    if asked.smoke or asked.only or asked.sides:
        return 0
    return publish(result)


def publish(result: dict[str, Any]) -> int:
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return write(ROOT / "docs", result, ROOT / "benchmarks")


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    found = {case["case"]: case for part in parts for case in placed(part, parts[0])}
    order = [case.name for case in cases() if case.name in found]
    minutes = round(sum(part["minutes"] for part in parts), 1)
    return {**parts[0], "cases": [found[name] for name in order], "minutes": minutes, "runs": len(parts)}


def placed(part: dict[str, Any], first: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the cases of a part, with where and with what they were measured if that is not as in the first part."""
    about = {key: part[key] for key in ("date", "machine", "versions")}
    same = all(first[key] == value for key, value in about.items())
    for case in part["cases"]:
        yield case if same or "measured" in case else {**case, "measured": about}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also written here, after each case")
    parser.add_argument("--join", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=28.0, help="after these no step is repeated")
    parser.add_argument("--only", default="")
    parser.add_argument("--sides", default="")
    parser.add_argument("--threads", default="1,2", help="counts to try; each side gets the one that is faster for it")
    for flag in ("page", "smoke", "tune"):
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


def available(smoke: bool) -> list[str]:
    """The sides that are installed; the smoke run is ours alone."""
    theirs = ["trl", "trl_defaults", "vllm"] if find_spec("trl") is not None and not smoke else []
    return ["ours", *(["ours_small"] if theirs else []), *theirs]


def rows(bench: Bench, chosen: list[Case], sides: list[str]) -> Iterator[dict[str, Any]]:
    """One a case; vLLM stays for all cases of a model."""
    for size, group in groupby(chosen, key=lambda case: case.size):
        vllm = start_vllm(bench, size) if "vllm" in sides and size.name in SAMPLING else {}
        try:
            for case in group:
                wanted = {"vllm"} if case.default_times else {"vllm", "trl_defaults"}
                yield measured(bench, case, [side for side in sides if side not in wanted], vllm)
        finally:
            for worker in vllm.values():
                worker.stop()


def tune(bench: Bench, chosen: list[Case]) -> int:
    """Prints what ``Case.micro_batch_rows`` should be."""
    for case in chosen:
        for count in MICRO_BATCHES:
            one = replace(case, micro_batch_rows=count, times=1)
            found = measured(bench, one, ["ours", "trl"], {})["sides"]
            print(case.name, count, *(f"{side}: {summary(own['steps'])};" for side, own in found.items()), flush=True)
    return 0


def about() -> dict[str, Any]:
    """Where and with what."""
    from groupwise.learners.device import machine

    return {
        "command": "make bench",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
    }


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
