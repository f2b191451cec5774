"""One side of ``cost.py``: scores the same completions again for each line it reads, and says what that took.

PYTHONPATH=TREE/src python benchmarks/faults/cost_worker.py code|math|FAMILY COMPLETIONS
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import groupwise as gw
from groupwise.rewards import Code, Math
from groupwise.types import Example, Prompt, Rollout

PROGRAM = "Here it is:\n```python\ndef f(x):\n    return x * x + {0}\n```"


def main(kind: str, completions: int) -> None:
    reward, rollouts = work(kind, completions)
    scored(reward, rollouts)  # its processes start, and all is loaded
    print("ready", flush=True)
    for _ in sys.stdin:
        started, used = time.perf_counter(), cpu_seconds()
        scored(reward, rollouts)
        print(time.perf_counter() - started, cpu_seconds() - used, flush=True)


def work(kind: str, completions: int) -> tuple[Any, list[Rollout]]:
    """A reward, and right answers for it."""
    if kind == "code":
        tests = [{"tests": [f"assert f(2) == {4 + n}", f"assert f(0) == {n}"]} for n in range(completions)]
        rows = [Example(f"r{n}", "Write f.", columns=columns) for n, columns in enumerate(tests)]
        return Code(), [answered(row, PROGRAM.format(n)) for n, row in enumerate(rows)]
    if kind == "math":
        rows = [Example(f"r{n}", "?", answer=f"\\frac{{{n + 2}x\\sqrt{{3}}}}{{7}}") for n in range(completions)]
        texts = [f"So it is \\boxed{{\\frac{{\\sqrt{{3}}}}{{7}} \\cdot {n + 2}x}}." for n in range(completions)]
        return Math(), [answered(row, text) for row, text in zip(rows, texts, strict=True)]
    task = gw.tasks.reasoning_gym(kind, size=completions, held_out=4)
    return task.rewards[0], [answered(row, f"<answer>{row.answer}</answer>") for row in task.train]


def answered(row: Example, text: str) -> Rollout:
    return Rollout(Prompt(row, (1,)), (0,), (True,), (0.0,), text, True, 0)


def scored(reward: Any, rollouts: list[Rollout]) -> None:
    """Raises RuntimeError where an answer isn't right: what is measured then is something else."""
    wrong = [score for score in reward.score(rollouts) if score.value != 1.0]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(rollouts)} right answers were not, the first as {wrong[0]}")


def cpu_seconds() -> float:
    """Of this process, of those below it that live, and of all that they have waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(map(of_process, below(os.getpid())))


def below(process: int) -> list[int]:
    found = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [*found, *(child for each in found for child in below(each))]


def of_process(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
