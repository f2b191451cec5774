"""This module runs programs that a model wrote, against the tests of their row. They run in a sandbox or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.guarded_calls import GuardedCalls
from groupwise.isolation.pool import Outcome
from groupwise.isolation.program_process import START_SECONDS, ProgramOutput
from groupwise.isolation.sandbox import SOURCE_BYTES, Sandbox
from groupwise.rewards.program_names import Names, names_of
from groupwise.rewards.program_text import begun_with, program
from groupwise.types import Example, Rollout, Score

COLUMNS = ("tests", "test_list", "test_cases", "input_output", "test")
EXPECTED = (
    'a list of assert statements, a list of {"input": ..., "output": ...}, {"inputs": [...], "outputs": [...]}, the '
    "text of a test, or any of these as JSON"
)
TIMEOUTS_TRIED = 2
"""Of one program; its further tests then count as not passed."""
_CHECK = re.compile(r"^(?:def[ \t]+check\b|check[ \t]*=)", re.MULTILINE)


@dataclass(frozen=True)
class InputOutputTest:
    """A test says what a program reads, and what it must then write."""

    given: str
    expected: str


Call = tuple[bytes, Sequence[InputOutputTest | str], Names, bool]
"""A program, its tests, the names that they take from it, and whether to stop at the first that it does not pass."""


@dataclass(frozen=True)
class Code:
    """The share of a row's tests that the completion's Python program passes, from 0 to 1; or all of them or nothing.

    The program is the last fenced block of the completion, or all of it where there is none. Tests stand in ``column``
    (else the first there is of tests, test_list, test_cases, input_output, test): pairs of input and output, compared
    line by line without the space at the ends, outside the sandbox; or asserts, which run in a second sandbox and get
    nothing from the program but plain values (numbers, texts, lists, tuples, sets, dictionaries ...) that its functions
    return. So a program can be wrong in any way and cannot say that it is right. ``test_setup_code`` and
    ``test_imports`` of a row stand before its asserts, and ``check(entry_point)`` after them where it has one.

    A program that raises, hangs, dies, takes too much memory or writes too much has not passed that test: that is a
    wrong answer, and no failure of the reward. Without a program: 0 and ``unparseable``. What the sandbox is, and
    that it is tried out before the run begins: :mod:`groupwise.isolation.sandbox`. Raises UserError where none works,
    and for a row whose tests cannot be read.
    """

    name: str = "code"
    weight: float = 1.0
    column: str = ""
    all_or_nothing: bool = False
    time_limit_seconds: float = 5.0
    """Of one test."""
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20
    threads: bool = False
    """Programs may start threads, where bubblewrap and namespaces are to be had; further processes never."""
    begun: str = ""
    """A column with the beginning of a program, which the completion goes on with or writes anew (HumanEval's
    ``prompt``); it stands before what the completion says."""

    @property
    def sandbox(self) -> Sandbox:
        """Is the sandbox that every program runs in, with this reward's limits."""
        return Sandbox(self.time_limit_seconds, self.memory_bytes, self.output_bytes, self.threads)

    def prepare(self) -> None:
        """Checks that there is a sandbox that holds, and starts the process beside it (``scoring.NeedsPreparation``).
        Raises UserError where there is none."""
        self.sandbox.check()
        _process_of(self).start()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns the share of its tests that each rollout's program passes, or with ``all_or_nothing`` 1 where it
        passes all; ``failed`` where the row has no test that can be run."""
        reasons = [unjudged(rollout.prompt.example, self.column) for rollout in rollouts]
        outcomes = self._outcomes(rollouts, self.all_or_nothing)
        return [
            Score(None, "failed", reason=reason) if reason else _as_score(outcome)
            for reason, outcome in zip(reasons, outcomes, strict=True)
        ]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Gives programs that do the same in all tests one number: they write the same, or pass the same asserts.

        Asserts do not tell what a program returned that passes none of them: it stands alone. None: no program.
        """
        done = [outcome.value for outcome in self._outcomes(rollouts, False)]
        keys: dict[tuple[Any, ...], int] = {}
        votes: list[int | None] = []
        for row, value in enumerate(done):
            if value is None or value["value"] is None:
                votes.append(None)
                continue
            is_silent = value["value"] == 0.0 and not any(result.startswith("wrote ") for result in value["results"])
            votes.append(keys.setdefault((*value["results"], row if is_silent else -1), len(keys)))
        return votes

    def _outcomes(self, rollouts: Sequence[Rollout], stops: bool) -> list[Outcome]:
        self.sandbox.check()
        sources = [self._source(rollout).encode("utf-8", "surrogatepass") for rollout in rollouts]
        tests = [row_tests(rollout.prompt.example, self.column) for rollout in rollouts]
        names = [_names(rollout.prompt.example, self.column) for rollout in rollouts]
        calls = [(*call, stops) for call in zip(sources, tests, names, strict=True)]
        longest = (self.time_limit_seconds + 3 * START_SECONDS) * max(map(len, tests), default=1)
        outcomes = dict(_process_of(self).run(calls, longest))
        return [outcomes[row] for row in range(len(rollouts))]

    def _source(self, rollout: Rollout) -> str:
        source = program(rollout.text)
        return begun_with(rollout.prompt.example, self.begun, source) if self.begun else source

    def _judge(self, calls: Sequence[Call], seconds: float) -> Iterator[tuple[int, dict[str, Any]]]:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "programs") as pool:
            yield from enumerate(pool.map(self._share, calls, timeout=seconds * len(calls)))

    def _share(self, call: Call) -> dict[str, Any]:
        """Returns plain JSON: the value, None where there is no program; and in a few letters what it did in each
        test."""
        source, tests, names, stops = call
        if not source.strip() or len(source) > SOURCE_BYTES:
            return {"value": None}
        results: list[str] = []
        passed = slow = 0
        for test in tests:
            ran = self._run(source, test, names)
            passed += ran == ProgramOutput(PASSED)
            slow += ran.trouble == "time"
            results.append(
                ran.trouble
                or (ran.output.decode() if isinstance(test, InputOutputTest) else str(ran == ProgramOutput(PASSED)))
            )
            if slow == TIMEOUTS_TRIED or (stops and ran != ProgramOutput(PASSED)):
                break
        return {"value": float(passed == len(tests)) if stops else passed / len(tests), "results": results}

    def _run(self, source: bytes, test: InputOutputTest | str, names: Names) -> ProgramOutput:
        if isinstance(test, str):
            whole = "\n".join((*names.imports, test))
            return self.sandbox.test(source, whole.encode("utf-8", "surrogatepass"), names.expected)
        ran = self.sandbox.program(source, test.given.encode("utf-8", "surrogatepass"))
        written = _lines(ran.output.decode("utf-8", "replace"))
        if ran.trouble or written == _lines(test.expected):
            return ProgramOutput(b"" if ran.trouble else PASSED, ran.trouble)
        digest = hashlib.sha256("\n".join(written).encode("utf-8", "surrogatepass")).hexdigest()
        return ProgramOutput(f"wrote {digest[:16]}".encode())


PASSED = b"passed"


@functools.lru_cache(maxsize=8)
def _process_of(reward: Code) -> GuardedCalls:
    """Returns the process in which whatever a sandbox leaves behind ends up and is ended, whoever is process 1 of this
    machine: one for all equal rewards, since its forks copy the memory of whoever asks."""
    return GuardedCalls(reward._judge)


def _as_score(outcome: Outcome) -> Score:
    if outcome.status != "done":
        return Score(None, outcome.status, reason=outcome.reason)
    value = outcome.value["value"]
    return Score(0.0, "unparseable") if value is None else Score(value)


def row_tests(example: Example, column: str = "") -> list[InputOutputTest | str]:
    """A row's tests. Raises UserError where it has none that can be read."""
    columns = example.columns
    name = column or next((name for name in COLUMNS if columns.get(name)), COLUMNS[0])
    found = _read(columns.get(name))
    if not found:
        have = ", ".join(columns) or "no columns"
        raise UserError(
            f"{example.id}: reward 'code' finds no tests in column '{name}'; expected {EXPECTED}; it has {have}"
        )
    setup = [*_texts(columns.get("test_imports")), *_texts(columns.get("test_setup_code"))]
    entry = columns.get("entry_point")
    call = [f"check({entry})"] if isinstance(entry, str) and entry.isidentifier() else []
    tests = [
        "\n".join([*setup, test, *(call if _CHECK.search(test) else [])]) if isinstance(test, str) else test
        for test in found
    ]
    if any(isinstance(test, str) and len(test.encode("utf-8", "surrogatepass")) > SOURCE_BYTES for test in tests):
        raise UserError(f"{example.id}: a test in column '{name}' is longer than {SOURCE_BYTES} bytes; split it")
    return tests


def unjudged(example: Example, column: str = "") -> str:
    """Says why a row's tests can say nothing; empty: they leave the verdict to a name that no one defines."""
    unknown = _names(example, column).unknown
    if not unknown:
        return ""
    return (
        f"{example.id}: its tests use {', '.join(unknown)}, which neither they nor the row's prompt or reference "
        "define, so that an answer could define it and pass; add it to test_setup_code, or name it in entry_point"
    )


def _names(example: Example, column: str) -> Names:
    name = column or next((name for name in COLUMNS if example.columns.get(name)), COLUMNS[0])
    return names_of(example, [test for test in row_tests(example, column) if isinstance(test, str)], name)


def _read(value: Any) -> list[InputOutputTest | str]:
    """Returns the tests that a value holds; nothing where it is none of ``EXPECTED``."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value] if value.strip() else []
    match value:
        case {"fn_name": str(), **_rest}:
            return []
        case {"inputs": [*given], "outputs": [*expected]} if len(given) == len(expected):
            return [InputOutputTest(_text(one), _text(other)) for one, other in zip(given, expected, strict=True)]
        case [str(), *rest] if all(isinstance(test, str) for test in rest):
            return list(value)
        case [{"input": _, "output": _}, *_] if all(
            isinstance(t, Mapping) and {"input", "output"} <= {*t} for t in value
        ):
            return [InputOutputTest(_text(test["input"]), _text(test["output"])) for test in value]
    return []


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text for text in value or () if isinstance(text, str)]


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
