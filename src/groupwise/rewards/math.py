"""This module scores by mathematical equality: plain values are compared here, exactly; formulas in a process that can
be killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.isolation.pool import Outcome, WorkerPool, require_guards, shared_pool
from groupwise.rewards.answers import check_options, references_of
from groupwise.rewards.reading.algebra import WARM_UP
from groupwise.rewards.reading.conventions import CONVENTIONS
from groupwise.rewards.reading.equality import Verdict, compare_values
from groupwise.rewards.reading.reader import Reader
from groupwise.rewards.reading.references import read_reference
from groupwise.rewards.reading.spans import Reference
from groupwise.rewards.reading.structure import opens_thinking
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.reading.values import Value, as_item, is_plain
from groupwise.types import Example, Rollout, Score

READ_AT_ONCE = 100
MOST_CLASSES = 64
"""Of the readings that need algebra, so many of one prompt are compared with each other when they vote."""


@dataclass(frozen=True)
class Math:
    """This reward is 1 where the completion's final answer equals the example's mathematically, otherwise 0
    (docs/answers.md).

    A completion that was cut off before it marked an answer has none, whatever it had computed by then:
    ``unparseable``. Numbers with units, choices, words and lists of them are compared exactly and at once; formulas go
    to math-verify, at most ``time_limit_seconds`` an answer. An answer that takes longer is not wrong: its value is
    None and its status ``timeout``. One that cannot be read, or is out of bounds (over 2,000 characters, 50 nested
    brackets, powers or factorials of more than three digits, towers of powers), gets 0 and ``unparseable``. A row whose
    answer cannot be read is ``failed``, with the reason.

    Raises UserError where a row has no answer at all, and where nothing on this machine guards the process that reads
    formulas (:mod:`groupwise.isolation.pool`), unless ``unguarded``.
    """

    name: str = "math"
    weight: float = 1.0
    time_limit_seconds: float = 5.0
    unmarked: bool = True
    """Read an answer that nothing marks at the end of a finished completion; False: ``unparseable``, too."""
    tolerance: str = "exact"
    """How far a number may be off: 'exact', 'absolute 1e-3', 'relative 1e-4', 'percent' (a factor of 100), several."""
    conventions: tuple[str, ...] = tuple(CONVENTIONS)
    """Tried in this order; of ``tags``, ``hashes``, ``finals``, ``boxes``, ``lines``, ``phrases``, ``output``."""
    begins_in_thinking: bool = False
    """The chat template opens the thinking block: a completion that never closes it has no answer."""
    several: str = ""
    """What a row's JSON list of several answers means: ``any`` of them is right, or they are ``all`` one."""
    unguarded: bool = False
    """Compare formulas where no guards are."""

    def __post_init__(self) -> None:
        check_options(self.tolerance, self.conventions, self.several)

    def prepare(self) -> None:
        """Checks that there are guards for what reads formulas (``scoring.NeedsPreparation``). Raises UserError where
        there are none."""
        require_guards(self.name, self.unguarded)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns 1 where the answer equals a reference by value, 0 where it does not; ``unparseable`` without an
        answer, ``failed`` where the reference cannot be read."""
        golds = references_of(rollouts, self.name, self._reference)
        answers = [self._read(rollout, gold) for rollout, gold in zip(rollouts, golds, strict=True)]
        scores = [self._quick_score(gold, answer) for gold, answer in zip(golds, answers, strict=True)]
        slow = [(row, value) for row, score in enumerate(scores) if score is None for value in golds[row].values]
        items = [self._item(gold=as_item(value), answer=as_item(_some(answers[row]))) for row, value in slow]
        outcomes: dict[int, list[Outcome]] = {}
        for (row, _), outcome in zip(slow, _pool(self.unguarded).run(items, self.time_limit_seconds), strict=True):
            outcomes.setdefault(row, []).append(outcome)
        return [_slow_score(outcomes[row]) if score is None else score for row, score in enumerate(scores)]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Gives equal numbers to equal answers under this reward's own equality; None: no answer.

        The reference's is class 0, so that all answers that are right are one. An answer belongs to the first class
        whose first member it equals.
        """
        gold = self._reference(rollouts[0].prompt.example) if rollouts else Reference()
        answers = [self._read(rollout, gold) for rollout in rollouts]
        classes = _classes(list(gold.values), answers, self._quick, self._same)
        return [None if answer is None else classes[answer] for answer in answers]

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where its answer can be read, else why not. Formulas are read in the isolated
        process."""
        golds = [self._reference(example) for example in examples]
        reasons = [gold.why for gold in golds]
        slow = list(dict.fromkeys(value for gold in golds for value in gold.values if not is_plain(value)))
        readable = self._readable(slow)
        for row, gold in enumerate(golds):
            if not all(readable.get(value, True) for value in gold.values):
                reasons[row] = f"{gold.text[:60]!r} cannot be read as mathematics in {self.time_limit_seconds:g} s"
        return reasons

    def _readable(self, values: Sequence[Value]) -> dict[Value, bool]:
        """Says of each value whether algebra can read it: many at once in one process, one by one where they do not
        come back together."""
        if not values:
            return {}
        parts = [values[start : start + READ_AT_ONCE] for start in range(0, len(values), READ_AT_ONCE)]
        pool = shared_pool(
            "groupwise.rewards.reading.algebra:readable",
            json.dumps([[item["gold"] for item in WARM_UP]]),
            self.unguarded,
        )
        outcomes = pool.run([[as_item(value) for value in part] for part in parts], self.time_limit_seconds)
        found: dict[Value, bool] = {}
        for part, outcome in zip(parts, outcomes, strict=True):
            if outcome.status == "done":
                found.update(zip(part, outcome.value, strict=True))
        left = [value for value in values if value not in found]
        singly = pool.run([[as_item(value)] for value in left], self.time_limit_seconds)
        return found | {
            value: outcome.status == "done" and outcome.value[0] for value, outcome in zip(left, singly, strict=True)
        }

    def _read(self, rollout: Rollout, gold: Reference) -> Value | None:
        unmarked = self.unmarked and rollout.finished
        inside = rollout.prompt.opens_thinking or opens_thinking(rollout.prompt.example.prompt)
        return Reader(self.conventions, self.begins_in_thinking).answer(rollout.text, gold, unmarked, inside)

    def _reference(self, example: Example) -> Reference:
        if example.answer is None or not example.answer.strip():
            return Reference(why="the row has no answer")
        return read_reference(example.answer, self.several)

    def _quick_score(self, gold: Reference, answer: Value | None) -> Score | None:
        """Returns the score where no algebra is needed for it; None where it is."""
        if not gold.values:
            return Score(None, "failed", reason=gold.why)
        if answer is None:
            return Score(0.0, "unparseable")
        verdicts = {self._quick(value, answer) for value in gold.values}
        if "equal" in verdicts:
            return Score(1.0)
        return None if "unknown" in verdicts else Score(0.0)

    def _quick(self, gold: Value, answer: Value) -> Verdict:
        return compare_values(gold, answer, tolerance(self.tolerance))

    def _item(self, **values: Any) -> dict[str, Any]:
        near = tolerance(self.tolerance)
        return {**values, "tolerance": [str(near.absolute), str(near.relative)], "percent": near.percent}

    def _same(self, pairs: Sequence[tuple[Value, list[Value]]]) -> list[list[bool]]:
        """Says for each value which of the others equal it, by algebra where it takes that."""
        items = [self._item(answer=as_item(value), answers=[as_item(one) for one in others]) for value, others in pairs]
        outcomes = _pool(self.unguarded).run(items, self.time_limit_seconds * 2) if items else []
        return [
            outcome.value if outcome.status == "done" else [False] * len(others)
            for outcome, (_, others) in zip(outcomes, pairs, strict=True)
        ]


def _pool(unguarded: bool) -> WorkerPool:
    return shared_pool("groupwise.rewards.reading.algebra:compare", json.dumps(WARM_UP), unguarded)


def _some(value: Value | None) -> Value:
    assert value is not None
    return value


def _slow_score(outcomes: Sequence[Outcome]) -> Score:
    """Returns the score of one answer against each of the references that count."""
    verdicts = {str(outcome.value) for outcome in outcomes if outcome.status == "done"}
    if "equal" in verdicts:
        return Score(1.0)
    for outcome in outcomes:
        if outcome.status != "done":
            return Score(None, outcome.status, reason=outcome.reason)
    if verdicts == {"no gold"}:
        return Score(None, "failed", reason="the row's answer cannot be read as mathematics")
    return Score(0.0, "unparseable") if "no answer" in verdicts else Score(0.0)


def _classes(
    golds: list[Value],
    answers: Sequence[Value | None],
    quick: Callable[[Value, Value], Verdict],
    same: Callable[..., Any],
) -> dict[Value, int]:
    """Each distinct answer's class: 0 where it is the reference's, else that of the first answer it equals."""
    found = list(dict.fromkeys(answer for answer in answers if answer is not None))
    known = [*golds, *(value for value in found if value not in golds)]
    slow = [
        (value, known[:place][:MOST_CLASSES])
        for place, value in enumerate(known)
        if place >= len(golds) and any(quick(one, value) == "unknown" for one in known[:place])
    ]
    by_algebra = dict(zip((value for value, _ in slow), same(slow), strict=True))
    classes: dict[Value, int] = dict.fromkeys(golds, 0)
    representatives: list[tuple[int, Value]] = [(0, value) for value in golds]
    for place, value in enumerate(known):
        if value in classes:
            continue
        equal = by_algebra.get(value, [])
        for number, one in representatives:
            position = known.index(one)
            if quick(one, value) == "equal" or (position < len(equal) and equal[position]):
                classes[value] = number
                break
        else:
            classes[value] = place + 1
            representatives.append((place + 1, value))
    return classes
