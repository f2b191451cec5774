"""The reference programs of MBPP and HumanEval through the reward that judges a model's: all of them have to pass.

python benchmarks/golds.py ../shared/data      # writes benchmarks/golds.json; a few minutes on two cores
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from groupwise.learners.device import machine
from groupwise.tasks.suites import suite_task
from groupwise.types import DEMONSTRATED, Prompt, Rollout

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {"mbpp": "code", "humaneval": "canonical_solution"}


def measured(name: str, data: str) -> dict[str, object]:
    started, task = time.perf_counter(), suite_task(name, data)
    rollouts = [
        Rollout(Prompt(row, (1,)), (1,), (True,), (0.0,), str(row.columns[COLUMNS[name]]), True, DEMONSTRATED)
        for row in task.held_out
    ]
    scores = task.rewards[0].score(rollouts)
    failed = [row.id for row, score in zip(task.held_out, scores, strict=True) if score.value != 1.0]
    return {
        "programs": len(scores),
        "passed": len(scores) - len(failed),
        "failed": failed,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    found = {name: measured(name, sys.argv[1]) for name in COLUMNS if (Path(sys.argv[1]) / "code").is_dir()}
    print(json.dumps(found))
    (ROOT / "benchmarks" / "golds.json").write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
