"""This module scores answers that a completion's program computes, as in program-aided language models (PAL, arXiv
2211.10435)."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from groupwise.isolation.guarded_calls import GuardedCalls
from groupwise.isolation.pool import Outcome
from groupwise.isolation.program_process import START_SECONDS
from groupwise.isolation.sandbox import SOURCE_BYTES, Sandbox
from groupwise.rewards.answers import FinalAnswer, references_of
from groupwise.rewards.program_text import program
from groupwise.rewards.reading.equality import compare_values
from groupwise.rewards.reading.parsing import understand
from groupwise.rewards.reading.spans import Reference
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.reading.values import Value, is_plain
from groupwise.types import Example, Rollout, Score

_SOLUTION = re.compile(rb"^def\s+solution\s*\(", re.MULTILINE)
_CALL = b"\nprint(solution())\n"


@dataclass(frozen=True)
class ProgramAnswer:
    """This reward is 1 where the completion's Python program computes the example's answer, otherwise 0.

    The program is the last fenced block, or all of the completion. Its answer is what ``solution()`` returns where it
    defines that, else the last line that it prints. It runs in a sandbox (:mod:`groupwise.isolation.sandbox`). One that
    raises, hangs or prints nothing that can be read gets 0 and ``unparseable``; a row whose answer cannot be read is
    ``failed``. Raises UserError where a row has no answer at all or no sandbox works.
    """

    name: str = "program"
    weight: float = 1.0
    tolerance: str = "exact"
    """As in :class:`FinalAnswer`."""
    time_limit_seconds: float = 10.0
    memory_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        tolerance(self.tolerance)

    @property
    def sandbox(self) -> Sandbox:
        """Is the sandbox that every program runs in, with this reward's limits."""
        return Sandbox(self.time_limit_seconds, self.memory_bytes, output_bytes=1 << 16)

    def prepare(self) -> None:
        """Checks that there is a sandbox that holds, and starts the process beside it (``scoring.NeedsPreparation``).
        Raises UserError where there is none."""
        self.sandbox.check()
        _process_of(self).start()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns 1 for a rollout whose program prints the reference answer, 0 for another; a program that does not end
        in time is a ``timeout``."""
        golds = references_of(rollouts, self.name, self._reference)
        outcomes = self._outcomes(rollouts)
        return [self._score(gold, outcome) for gold, outcome in zip(golds, outcomes, strict=True)]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Gives equal numbers to equal results under this reward's own equality; None: no result."""
        gold = self._reference(rollouts[0].prompt.example) if rollouts else Reference()
        classes, near = list(gold.values), tolerance(self.tolerance)
        votes: list[int | None] = []
        for outcome in self._outcomes(rollouts):
            value = _result(outcome)
            if value is None:
                votes.append(None)
                continue
            same = (place for place, one in enumerate(classes) if compare_values(one, value, near) == "equal")
            place = next(same, len(classes))
            classes += [value] if place == len(classes) else []
            votes.append(0 if place < len(gold.values) else place)
        return votes

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where its answer can be read, else why not."""
        return FinalAnswer(self.name).unreadable(examples)

    def _reference(self, example: Example) -> Reference:
        return FinalAnswer(self.name).reference(example)

    def _score(self, gold: Reference, outcome: Outcome) -> Score:
        if not gold.values:
            return Score(None, "failed", reason=gold.why)
        if outcome.status != "done":
            return Score(None, outcome.status, reason=outcome.reason)
        found = _result(outcome)
        if found is None:
            return Score(0.0, "unparseable")
        near = tolerance(self.tolerance)
        return Score(float(any(compare_values(value, found, near) == "equal" for value in gold.values)))

    def _outcomes(self, rollouts: Sequence[Rollout]) -> list[Outcome]:
        """Returns what each program printed, None where it did not end well."""
        self.sandbox.check()
        sources = [program(rollout.text).encode("utf-8", "surrogatepass") for rollout in rollouts]
        outcomes = dict(_process_of(self).run(sources, self.time_limit_seconds + 3 * START_SECONDS))
        return [outcomes[row] for row in range(len(rollouts))]

    def _run_all(self, sources: Sequence[bytes], seconds: float) -> Iterator[tuple[int, dict[str, Any]]]:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "programs") as pool:
            yield from enumerate(pool.map(self._run, sources, timeout=seconds * len(sources)))

    def _run(self, source: bytes) -> dict[str, Any]:
        if not source.strip() or len(source) > SOURCE_BYTES - len(_CALL):
            return {"printed": None}
        ran = self.sandbox.program(source + _CALL if _SOLUTION.search(source) else source, b"")
        return {"printed": None if ran.trouble else ran.output.decode("utf-8", "replace")}


@functools.lru_cache(maxsize=8)
def _process_of(reward: ProgramAnswer) -> GuardedCalls:
    """Returns the process in which whatever a sandbox leaves behind ends up and is ended: one for all equal rewards."""
    return GuardedCalls(reward._run_all)


def _result(outcome: Outcome) -> Value | None:
    """The value on the last line that was printed."""
    printed = outcome.value["printed"] if outcome.status == "done" else None
    line = (printed or "").strip().rpartition("\n")[2]
    value = understand(line) if line else None
    return value if value is not None and is_plain(value) else None
