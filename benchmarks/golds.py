"""The reference programs of MBPP and HumanEval through the reward that judges a model's: all of them have to pass.

    python benchmarks/golds.py ../shared/data      # writes benchmarks/golds.json; minutes; what was stopped continues

The asserts of a row are one test here, so that each program starts once.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from groupwise.learners.device import machine
from groupwise.tasks.suites import suite_task
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout

ROOT = Path(__file__).resolve().parents[1]
DONE = ROOT / "runs" / "golds.json"
COLUMNS = {"humaneval": "canonical_solution", "mbpp": "code"}
TOGETHER = 50


def measured(name: str, data: str, done: dict[str, bool]) -> None:
    """Adds whether each program passes, by the row's name."""
    task = suite_task(name, data)
    left = [_as_one_test(row) for row in task.held_out if row.id not in done]
    for start in range(0, len(left), TOGETHER):
        part = left[start : start + TOGETHER]
        rollouts = [
            Rollout(Prompt(row, (1,)), (1,), (True,), (0.0,), str(row.columns[COLUMNS[name]]), True, DEMONSTRATED)
            for row in part
        ]
        scores = task.rewards[0].score(rollouts)
        done.update({row.id: score.value == 1.0 for row, score in zip(part, scores, strict=True)})
        DONE.parent.mkdir(exist_ok=True)
        DONE.write_text(json.dumps(done))
        print(name, len(done), flush=True)


def _as_one_test(row: Example) -> Example:
    tests = row.columns.get("test_list")
    return row if tests is None else replace(row, columns={**row.columns, "test_list": ["\n".join(tests)]})


def main() -> None:
    done: dict[str, bool] = json.loads(DONE.read_text()) if DONE.exists() else {}
    for name in COLUMNS:
        measured(name, sys.argv[1], done)
    found = {
        name: {
            "programs": sum(id.startswith(f"{name}/") for id in done),
            "passed": sum(passed for id, passed in done.items() if id.startswith(f"{name}/")),
            "failed": [id for id, passed in done.items() if id.startswith(f"{name}/") and not passed],
        }
        for name in COLUMNS
    }
    text = json.dumps({"command": "python benchmarks/golds.py DATA", "machine": machine(), **found}, indent=1)
    (ROOT / "benchmarks" / "golds.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
