"""Faults of rewards: a real GRPO run whose reward misbehaves on some completions, and hostile programs in the sandbox.

python benchmarks/faults/rewards.py
"""

from __future__ import annotations

import collections
import ctypes
import hashlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import groupwise as gw
from groupwise.isolation.sandbox import Sandbox
from groupwise.ledger.files import Ledger
from groupwise.rewards import Code
from groupwise.tasks.stepwise import Difficulty

STEPS, PROMPTS, GROUP = 20, 8, 8
LIMIT_SECONDS = 0.5
LEAK: list[Any] = []


def orphan() -> None:
    if os.fork() == 0:
        os.setsid()
        time.sleep(5)


DEEDS: dict[str, Callable[[], Any]] = {
    "raises": lambda: 1 / 0,
    "exits": lambda: sys.exit(0),
    "returns NaN": lambda: float("nan"),
    "returns infinity": lambda: float("inf"),
    "returns text": lambda: "1.0",
    "hangs": lambda: time.sleep(60),
    "ends its process": lambda: os._exit(0),
    "kills its process": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crashes": lambda: ctypes.string_at(0),
    "takes all memory": lambda: bytearray(8 << 30),
    "leaks": lambda: LEAK.append(bytearray(100 << 20)),
    "forks": os.fork,
    "leaves an orphan": orphan,
}
HARMLESS = {"leaks", "forks", "leaves an orphan"}
"""After these the completion still gets its reward."""


def deed_of(text: str) -> str:
    """Of about one completion in five, which is the same wherever it is asked."""
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
    return sorted(DEEDS)[number // 5 % len(DEEDS)] if number % 5 == 0 else ""


def worth(text: str) -> float:
    return sum(letter.isdigit() for letter in text) / 8


def misbehaves(completion: str) -> Any:
    deed = deed_of(completion)
    value = DEEDS[deed]() if deed else None
    return value if isinstance(value, float | str) else worth(completion)


PROGRAMS = {
    "infinite loop": "while True: pass",
    "fork bomb": "import os\nwhile True: os.fork()",
    "thread bomb": "import threading\nwhile True: threading.Thread(target=input).start()",
    "memory bomb": "x = []\nwhile True: x.append(bytearray(10 ** 7))",
    "output bomb": "while True: print('x' * 10 ** 6)",
    "power tower": "print(10 ** 10 ** 10)",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1)\nf(0)",
    "deep nesting": "(" * 50_000,
    "reads /etc/passwd": "print(open('/etc/passwd').read())",
    "lists the home": f"import os; print(os.listdir({os.path.expanduser('~')!r}))",
    "reads the reward": f"print(open({__file__!r}).read())",
    "reads the environment of its parent": "print(open('/proc/1/environ').read())",
    "opens a socket": "import socket; socket.create_connection(('1.1.1.1', 80), 1); print('x')",
    "resolves a name": "import socket; print(socket.gethostbyname('localhost'))",
    "starts a shell": "import subprocess; print(subprocess.check_output(['/bin/sh', '-c', 'id']))",
    "writes a file": "open('/tmp/x', 'w').write('x'); print('x')",
    "kills its parent": "import os; os.kill(os.getppid(), 9); print('x')",
    "kills all": "import os; os.kill(-1, 9); print('x')",
    "becomes root": "import os; os.setuid(0); print('x')",
}
FORGERIES = {
    "exits early": "raise SystemExit(0)",
    "ends early": "import os; os._exit(0)",
    "says passed": "import os\nos.write(1, b'passed')\nos.write(4, b'passed')\nos._exit(0)",
    "returns what equals all": "class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
    "changes asserts": "import builtins\nbuiltins.AssertionError = SystemExit\ndef f(x): return 0",
    "changes json": "import json\njson.dumps = lambda *_, **__: '[\"value\", true]'\ndef f(x): return 0",
}


def run() -> dict[str, Any]:
    """What was injected; ``lost``: what of it cost more than the answer itself."""
    run, programs, forged = run_with_faults(), hostile_programs(), forgeries()
    costs = {name: run[name] for name in ("other_completions_with_a_wrong_reward", "with_an_advantage_and_no_reward")}
    costs |= {"steps_lost": run["steps_lost"], "programs_not_contained": len(programs["others"])}
    costs |= {"forged_verdicts_passed": forged["passed"]}
    return {
        "faults_of_rewards": run["faults_injected"],
        "hostile_programs": programs["tried"],
        "forged_verdicts": forged["tried"],
        "isolation_milliseconds_for_64_completions": isolation_milliseconds(),
        "run": run,
        "programs": programs,
        "lost": [f"{count} {name.replace('_', ' ')}" for name, count in costs.items() if count],
    }


def run_with_faults() -> dict[str, Any]:
    task = gw.tasks.stepwise(level=Difficulty(operands=(2, 2), largest=9), held_out_size=4)
    reward = gw.as_reward(misbehaves, time_limit_seconds=LIMIT_SECONDS, memory_bytes=512 << 20)
    stage = gw.Stage(
        "grpo",
        replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=GROUP, max_completion_tokens=8)),
        replace(task, rewards=(reward,)),
        steps=STEPS,
        prompts_per_step=PROMPTS,
        learning_rate=1e-3,
    )
    model = gw.NewModel(hidden_size=32, layers=2, heads=2, intermediate_size=64, context_tokens=64)
    recipe = gw.Run("faults", model, (stage,), learner=gw.Local(device="cpu", threads=1), evaluation=gw.HeldOut(0))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        gw.run(recipe, Path(directory, "run"), sinks=())
        ledger = Ledger(Path(directory, "run", "ledger"))
        rows = [row for step in ledger.steps("grpo") for row in ledger.read("grpo", step)]
        steps = len(ledger.steps("grpo"))
    injected = collections.Counter(deed_of(row["text"]) for row in rows)
    wrong = [row["text"] for row in rows if row["reward"] != _expected(row["text"])]
    unscored = [row for row in rows if row["reward"] is None]
    return {
        "steps": steps,
        "completions": len(rows),
        "faults_injected": sum(injected.values()) - injected[""],
        "by_kind": {deed: injected[deed] for deed in sorted(DEEDS)},
        "completions_without_reward": len(unscored),
        "other_completions_with_a_wrong_reward": len(wrong),
        "with_an_advantage_and_no_reward": sum(any(row["advantages"]) for row in unscored),
        "steps_lost": STEPS - steps,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _expected(text: str) -> float | None:
    deed = deed_of(text)
    return None if deed and deed not in HARMLESS else worth(text)


def hostile_programs() -> dict[str, Any]:
    sandbox = Sandbox(time_limit_seconds=1.0, memory_bytes=256 << 20)
    sandbox.check()
    outcomes, longest = {}, 0.0
    for name, source in PROGRAMS.items():
        started = time.perf_counter()
        ran = sandbox.program(source.encode(), b"")
        longest = max(longest, time.perf_counter() - started)
        outcomes[name] = "contained" if ran.trouble and (not ran.output or ran.trouble == "output") else repr(ran)[:200]
    return {
        "tried": len(PROGRAMS),
        "contained": sum(outcome == "contained" for outcome in outcomes.values()),
        "others": {name: outcome for name, outcome in outcomes.items() if outcome != "contained"},
        "longest_seconds": round(longest, 2),
    }


def forgeries() -> dict[str, Any]:
    from groupwise.types import Example, Prompt, Rollout

    tests = {"asserts": ["assert f(2) == 4"], "output": [{"input": "2", "output": "4"}]}
    rollouts = [
        Rollout(Prompt(Example(name, "?", columns={"tests": test}), (1,)), (0,), (True,), (0.0,), source, True, 0)
        for name, source in FORGERIES.items()
        for test in tests.values()
    ]
    scores = Code(time_limit_seconds=2.0).score(rollouts)
    return {"tried": len(scores), "passed": sum(bool(score.value) for score in scores)}


def isolation_milliseconds(calls: int = 30) -> float:
    """What a process of its own costs for 64 completions of 800 letters, beyond the function: the median."""
    from groupwise.types import Example, Prompt, Rollout

    rollouts = [
        Rollout(Prompt(Example(f"r{number}", "?"), (1,)), (0,), (True,), (0.0,), f"{number:03} " * 200, True, 0)
        for number in range(64)
    ]
    medians = []
    for isolated in (True, False):
        reward, seconds = gw.as_reward(lambda completion: float(len(completion)), isolated=isolated), []
        for _ in range(calls):
            started = time.perf_counter()
            reward.score(rollouts)
            seconds.append(time.perf_counter() - started)
        medians.append(statistics.median(seconds))
    return round(1e3 * (medians[0] - medians[1]), 2)


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=1))
