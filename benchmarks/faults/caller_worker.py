"""What a caller tries: programs, answers and texts, by the public rewards. A line of JSON for each attempt.

python caller_worker.py PLACE < NAMES        NAMES: a JSON list of attempts, or nothing: their list is printed
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attempts import Seen, answers, programs, verdicts
from surroundings import TOKEN, Surroundings

import groupwise as gw
from groupwise.errors import UserError
from groupwise.rewards import Code, FinalAnswer, Format, LengthPenalty, Math, ReasoningGym
from groupwise.rewards.judge import parse_score
from groupwise.rewards.programs import program
from groupwise.types import Example, Prompt, Rollout

MEMORY_BYTES = 256 << 20
PROGRAM_SECONDS, ENDLESS_SECONDS, ANSWER_SECONDS = 3.0, 1.0, 2.0
LATE_SECONDS = 45.0
"""On a busy machine: later than any limit of an attempt."""
CONTROLS = ("files: reads a token", "network: a port of the machine", "signals: to a process of the user's")
"""Tried without any sandbox, too: they must work there, or they show nothing."""
Attempt = Callable[[Surroundings, dict[str, Any]], Seen]


def main() -> None:
    """Tries what standard input names."""
    place = Path(sys.argv[1])
    os.environ.update(WANDB_API_KEY=TOKEN, HOME=str(place / "home"), MPLCONFIGDIR=str(place / "cache"))
    surroundings = Surroundings(place)
    facts = surroundings.facts() | {
        "calls": programs.CALLS,
        "x86": os.uname().machine == "x86_64",
        "memory_bytes": MEMORY_BYTES,
        "package": gw.__file__,
        "packages": str(Path(os.__file__).parent / "site-packages"),
        "mark": str(place / "home" / "MARK"),
        "other_port": 47570,
    }
    known = attempts()
    for name in json.load(sys.stdin) or known:
        print(json.dumps({"began": name}), flush=True)
        started = time.monotonic()
        seen = tried(known[name], surroundings, facts)
        seconds = time.monotonic() - started
        if seconds > LATE_SECONDS and seen.outcome in ("held", "refused"):
            seen = Seen("HUNG", f"{seconds:.0f} s")
        print(json.dumps({"name": name, "seconds": round(seconds, 2), **seen._asdict()}), flush=True)
    surroundings.close()


def tried(attempt: Attempt, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    """The attempt's own outcome, unless the surroundings say worse."""
    surroundings.heard.clear()
    facts = facts | {"victim": surroundings.victim.pid}
    try:
        seen = attempt(surroundings, facts)
    except UserError as error:
        seen = Seen("refused", str(error)[:160])
    except Exception as error:
        seen = Seen("TRACEBACK", f"{type(error).__name__}: {error}"[:160])
    outcome, detail = surroundings.harmed()
    return Seen(outcome, detail) if outcome else seen


def attempts() -> dict[str, Attempt]:
    """All of them, by name."""
    found: dict[str, Attempt] = {f"control: {name}": partial(control, name) for name in CONTROLS}
    for kind, tries in programs.KINDS.items():
        for what, source in tries.items():
            sources = (source,) if isinstance(source, str) else source
            found[f"{kind}: {what}"] = partial(program_attempt, kind, sources)
    found |= {f"forged: {what}": partial(verdict_attempt, verdict) for what, verdict in verdicts.FORGED.items()}
    found |= {f"lost: {what}": partial(verdict_attempt, verdict) for what, verdict in verdicts.LOST.items()}
    found["lost: beside one that takes all pipes"] = hoarded
    for body in answers.EVALUATED:
        found[f"answers: python that {body}"] = partial(evaluated, "binary_matrix", body)
        found[f"answers: sympy that {body}"] = partial(evaluated, answers.SYMBOLIC, body)
    for family in answers.PLAIN[1:]:
        for body in ("reads a token", "connects to a port", "truncates a file"):
            found[f"answers: {family} that {body}"] = partial(evaluated, family, body)
    found |= {f"answers: {what}": partial(forged_answer, what) for what in answers.FORGED}
    found |= {f"mathematics: {what}": partial(mathematics, what) for what in answers.MATHEMATICS}
    found |= {f"texts: {what}": partial(long_text, what) for what in answers.TEXTS}
    return found


def rollout(text: str, example: Example | None = None, **columns: Any) -> Rollout:
    example = example or Example("row:1", "2 + 2 =", answer="4", columns=columns)
    return Rollout(Prompt(example, (1, 2)), (0, 1), (True, True), (-0.1, -0.2), text, finished=True, version=0)


def control(name: str, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    """The same program without a sandbox gets what it comes for, so that what keeps others from it is the sandbox."""
    kind, _, what = name.partition(": ")
    body = programs.KINDS[kind][what]
    command = [sys.executable, "-I", "-S", "-c", programs.source(str(body), facts)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=LATE_SECONDS, check=False)
    time.sleep(0.05)
    surroundings.heard.clear()
    return (
        Seen("held", "it works where nothing guards") if said.stdout == "GOT" else Seen("TRACEBACK", said.stderr[-160:])
    )


def program_attempt(kind: str, sources: tuple[str, ...], surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    seconds = ENDLESS_SECONDS if kind == "endless" else PROGRAM_SECONDS
    code = Code(time_limit_seconds=seconds, memory_bytes=MEMORY_BYTES)
    rollouts = [
        rollout(fenced(programs.source(body, facts)), tests=[{"input": "", "output": "GOT"}]) for body in sources
    ]
    if kind == "together":
        *_, score = code.score(rollouts)
    else:
        *_, score = [code.score([each])[0] for each in rollouts]
    return Seen("held", score.status) if score.value == 0.0 else Seen("ESCAPED", f"it got it ({score.value})")


def fenced(source: str) -> str:
    return f"```python\n{source}\n```"


def verdict_attempt(verdict: verdicts.Verdict, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    code = Code(time_limit_seconds=PROGRAM_SECONDS)
    score = code.score([rollout(fenced(verdict.program) if verdict.program else "", **verdict.columns)])[0]
    if score.value == 1.0 if verdict.right else not score.value:
        return Seen("held", score.status)
    return Seen("FORGED", f"{score.value} instead of {float(verdict.right)} ({score.status} {score.reason})")


def hoarded(surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    """Right programs beside one that takes all pipes."""
    hoarder = rollout(fenced(verdicts.HOARDER), **verdicts.ASSERT)
    right = [rollout(fenced(verdicts.LONG), **verdicts.ASSERT) for _ in range(4)]
    scores = Code(time_limit_seconds=PROGRAM_SECONDS).score([hoarder, *right])
    values = [score.value for score in scores[1:]]
    return Seen("held") if values == [1.0] * 4 else Seen("FORGED", f"right programs beside it: {values}")


EXAMPLES: dict[str, Example] = {}


def question(family: str) -> Example:
    """One of the family's questions."""
    if family not in EXAMPLES:
        EXAMPLES[family] = gw.tasks.reasoning_gym(family, size=1, held_out=1).train[0]
    return EXAMPLES[family]


def gym(family: str) -> ReasoningGym:
    return ReasoningGym(family, time_limit_seconds=ANSWER_SECONDS)


def evaluated(family: str, body: str, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    example = question(family)
    text = answers.submitted(answers.EVALUATED[body], str(example.answer), family, facts)
    score = gym(family).score([rollout(text, example)])[0]
    time.sleep(0.02)  # whoever was reached says so
    return Seen("ESCAPED", f"it worked ({score.value})") if score.value else Seen("held", score.status)


def forged_answer(what: str, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    """Its own score, then that of one who is wrong after it."""
    example = question("binary_matrix")
    text = answers.submitted(answers.FORGED[what], str(example.answer), "binary_matrix", facts)
    own, after = (gym("binary_matrix").score([rollout(each, example)])[0] for each in (text, "<answer>no</answer>"))
    if own.value or after.value:
        return Seen("FORGED", f"its own score is {own.value}, that of a wrong one after it {after.value}")
    return Seen("held", own.status)


def mathematics(what: str, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    score = Math(time_limit_seconds=ANSWER_SECONDS).score(
        [rollout(answers.MATHEMATICS[what].replace("MARK", facts["mark"]))]
    )[0]
    return Seen("FORGED", f"{score.value} for a wrong answer") if score.value else Seen("held", score.status)


def long_text(what: str, surroundings: Surroundings, facts: dict[str, Any]) -> Seen:
    """Every grader of texts on it; none takes long."""
    text = answers.TEXTS[what]
    slow = []
    graders: dict[str, Callable[[], object]] = {
        each.name: partial(each.score, [rollout(text)])
        for each in (FinalAnswer(last_number=True), Math(time_limit_seconds=ANSWER_SECONDS), LengthPenalty())
    }
    graders["format"] = partial(Format(r"(<think>(.*)+</think>)+\s*", time_limit_seconds=1.0).score, [rollout(text)])
    graders["code"] = partial(program, text)
    graders["judge"] = partial(parse_score, text, 10.0)
    for name, grade in graders.items():
        begun = time.process_time()
        grade()
        if time.process_time() - begun > 5.0:
            slow.append(f"{name}: {time.process_time() - begun:.0f} s")
    return Seen("HUNG", ", ".join(slow)) if slow else Seen("held")


if __name__ == "__main__":
    main()
