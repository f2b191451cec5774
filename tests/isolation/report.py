"""What the guards say and do for whoever runs this: one JSON line. The tests run it as each caller; with the word
``code``, ``math`` or ``gym`` it also says what that reward, which needs guards, scores."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.pool import WorkerPool
from groupwise.isolation.trials import bait, is_harmed, walls, why_not
from groupwise.isolation.walls import candidates
from groupwise.rewards import Code, Math
from groupwise.rewards.reasoning_gym import ReasoningGym
from groupwise.tasks import reasoning_gym
from groupwise.types import Example, Prompt, Rollout

MEMORY_BYTES = 1 << 30
RIGHT = "def f(x):\n    return 2 * x"


def main() -> None:
    try:
        kind = walls().kind
    except UserError as error:
        print(json.dumps({"refused": [str(error), *refusals()]}))
        return
    found: dict[str, Any] = {"walls": kind, "tried": {each: why_not(each) for each in candidates()}}
    sys.path.insert(0, str(Path(__file__).with_name("isolated")))
    with bait(MEMORY_BYTES) as known:
        (outcome,) = WorkerPool("hostile:act", size=1, memory_bytes=MEMORY_BYTES).run([known], 60.0)
        found["worker"] = outcome.value if outcome.status == "done" else outcome.reason
        found["harmed"] = is_harmed(known)
    found |= {name: score() for name, score in SCORES.items() if name in sys.argv}
    print(json.dumps(found))


def programs() -> list[Any]:
    """Scores of a right program and of one that is right for one of two tests."""
    code = Code(time_limit_seconds=60.0)
    code.prepare()
    return [score.value for score in code.score([rollout(RIGHT), rollout("def f(x): return 4")])]


def formulas() -> list[Any]:
    """Scores of a right formula and of a wrong one."""
    said = [rollout(r"\boxed{\frac{x+2}{2}}"), rollout(r"\boxed{x^2}")]
    return [score.value for score in Math(time_limit_seconds=60.0).score(said)]


def rollout(text: str) -> Rollout:
    columns = {"tests": ["assert f(2) == 4", "assert f('a') == 'aa'"]}
    return Rollout(
        Prompt(Example("1", "?", answer=r"\frac{x}{2}+1", columns=columns), (1,)), (0,), (True,), (0.0,), text, True, 0
    )


def gym() -> list[Any]:
    """Scores of a right answer, of one that reaches out, and of one that scores itself; empty without reasoning-gym."""
    if importlib.util.find_spec("reasoning_gym") is None:
        return []
    task = reasoning_gym("binary_matrix", size=1, held_out=0, max_n=4)
    (example,) = task.train
    write = "__import__('os').write(3, b'{\"value\": %s}') and __import__('os')._exit(0)"
    texts = [example.answer, "open('/etc/passwd').read()", write % "1e300", write % "NaN", write % "0.5"]
    rollouts = [
        Rollout(Prompt(example, (1,)), (0,), (True,), (0.0,), f"<answer>{text}</answer>", True, 0) for text in texts
    ]
    scorer = ReasoningGym("binary_matrix", {"max_n": 4}, time_limit_seconds=60.0)
    return [[score.value, score.reason or ""] for score in scorer.score(rollouts)]


def refusals() -> list[str]:
    said = []
    for reward in (Code(), Math(), ReasoningGym("binary_matrix")):
        try:
            reward.prepare()
        except UserError as error:
            said.append(str(error))
    return said


SCORES = {"code": programs, "math": formulas, "gym": gym}

if __name__ == "__main__":
    main()
