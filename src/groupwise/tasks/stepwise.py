"""This task is stepwise arithmetic: the task that ships. Endless, exact, and every step can be checked.

A question, and its demonstration in the format of GSM8K (Cobbe et al. 2021, arXiv 2110.14168)::

    37 + 58 - 46 = ?

    <<37+58=95>>
    <<95-46=49>>
    #### 49
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from random import Random
from typing import Literal, overload

from groupwise.errors import UserError
from groupwise.tasks.task import Task
from groupwise.tokens.segmentation import Lines
from groupwise.types import Example, Rollout, Score

Split = Literal["train", "held_out"]

HELD_OUT_ONE_IN = 10
"""One question in so many, whatever the level and the seed, is never trained on."""

SLIPS = (-10, -2, -1, 1, 2, 10)
"""By how much a slip is off."""

MOST_DRAWS = 10_000
"""A split in which this many draws find no question has none."""

_APPLY: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_NUMBER = "[0-9]{1,18}"
_QUESTION = re.compile(rf"\s*({_NUMBER})((?:\s*[-+*]\s*{_NUMBER})+)\s*=\s*\?\s*")
_OPERATION = re.compile(rf"([-+*])\s*({_NUMBER})")
_FINAL = re.compile(rf"\s*####\s*({_NUMBER})\s*")
_STEP = re.compile(rf"\s*<<\s*({_NUMBER})\s*([-+*])\s*({_NUMBER})\s*=\s*({_NUMBER})\s*>>\s*")


@dataclass(frozen=True)
class Difficulty:
    """A difficulty says what the questions of a level look like. Raises UserError for a difficulty that has no
    questions."""

    operands: tuple[int, int] = (3, 3)
    """Fewest and most numbers in a question."""
    largest: int = 99
    """Every number and every intermediate result is in 0 .. largest."""
    operators: str = "+-"
    """Of ``+ - *``. A ``*`` comes only first and its right factor is in 2 .. 9, so that reading from left to right
    and the usual precedence agree."""

    def __post_init__(self) -> None:
        fewest, most = self.operands
        if not 2 <= fewest <= most:
            raise UserError(
                f"Difficulty: operands is {self.operands}; expected (fewest, most) with 2 <= fewest <= most"
            )
        if self.largest < 9:
            raise UserError(f"Difficulty: largest is {self.largest}; expected at least 9")
        if not set(self.operators) <= set(_APPLY) or not {"+", "-"} & set(self.operators):
            raise UserError(
                f'Difficulty: operators is "{self.operators}"; expected some of "+-*", with + or - among them'
            )


LEVELS: dict[int, Difficulty] = {
    1: Difficulty(operands=(3, 3), largest=20, operators="+-"),
    2: Difficulty(operands=(3, 3), largest=99, operators="+-"),
    3: Difficulty(operands=(3, 5), largest=99, operators="+-"),
    4: Difficulty(operands=(3, 4), largest=999, operators="+-*"),
    5: Difficulty(operands=(4, 6), largest=9999, operators="+-*"),
}
"""Level -> what its questions look like. Level 1 has 10,164 questions, level 2 a million."""


@dataclass(frozen=True)
class StepwiseArithmetic(Sequence[Example]):
    """This sequence holds ``size`` examples, each made when it is asked for: row ``i`` depends on nothing but ``(seed,
    split, i)``.

    Train and held-out questions are disjoint for all seeds and levels: a hash of the question's text says to which
    split it belongs, and a row is drawn again until its question is of its own split. Rows may repeat a question.
    """

    level: int | Difficulty = 2
    seed: int = 0
    size: int = 100_000
    split: Split = "train"
    slips: float = 0.0
    """Probability that a demonstrated step states a wrong result, as people's do now and then; the steps after it carry
    on from there, so that its final answer is wrong too. ``Example.answer`` is always the true one."""

    def __post_init__(self) -> None:
        if not isinstance(self.level, Difficulty) and self.level not in LEVELS:
            raise UserError(f"stepwise: level is {self.level!r}; expected one of {[*LEVELS]} or a Difficulty")
        if not 0 <= self.slips < 1:
            raise UserError(f"stepwise: slips is {self.slips}; expected a probability, 0 <= slips < 1")
        if self.size < 0:
            raise UserError(f"stepwise: size is {self.size}; expected 0 or more")

    @property
    def difficulty(self) -> Difficulty:
        """Is how hard its problems are."""
        return self.level if isinstance(self.level, Difficulty) else LEVELS[self.level]

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        rows = range(self.size)[index]
        return self._row(rows) if isinstance(rows, int) else [self._row(row) for row in rows]

    def _row(self, row: int) -> Example:
        random = Random(f"{self.seed}/{self.split}/{row}")
        questions = (_draw(self.difficulty, random) for _ in range(MOST_DRAWS))
        question = next((question for question in questions if split_of(question) == self.split), None)
        if question is None:
            raise UserError(f"stepwise: {self.difficulty} has no {self.split} question; make it harder")
        return Example(
            id=f"{self.split}:{row}",
            prompt=question,
            completion=demonstrate(question, lambda: random.choice(SLIPS) if random.random() < self.slips else 0),
            answer=demonstrate(question).rpartition("#### ")[2],
            columns={"question": question},
        )


def split_of(question: str) -> Split:
    """The split a question belongs to, in every run."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return "train" if int.from_bytes(digest, "big") % HELD_OUT_ONE_IN else "held_out"


def demonstrate(question: str, slip: Callable[[], int] = lambda: 0) -> str:
    """Writes a solution, a step a line: the right one, but that ``slip()`` is added to each result (never below 0).

    Raises UserError where the text is not a question of this task.
    """
    value, operations = _parse(question)
    lines = []
    for sign, operand in operations:
        result = max(0, _APPLY[sign](value, operand) + slip())
        lines.append(f"<<{value}{sign}{operand}={result}>>")
        value = result
    return "\n".join([*lines, f"#### {value}"])


def check_steps(question: str, completion: str) -> list[bool]:
    """Says whether each step is right, one value for each line that is not blank before the ``####`` line.

    The k-th step is right where it applies the question's k-th operation to the result that the step before it
    states (the first: to the question's first number) and calculates correctly. So one slip is one wrong step: those
    that carry on faithfully from it are right. A line that is not ``<<a+b=c>>`` is wrong, and so is the next, which has
    no result to carry on from. Raises UserError where the text is not a question of this task.
    """
    start, operations = _parse(question)
    value: int | None = start
    verdicts = []
    for line, expected in zip_longest(_step_lines(completion), operations):
        if line is None:
            break
        step = _STEP.fullmatch(line)
        if step is None:
            verdicts.append(False)
            value = None
            continue
        left, sign, right, result = int(step[1]), step[2], int(step[3]), int(step[4])
        verdicts.append((sign, right) == expected and left == value and _APPLY[sign](left, right) == result)
        value = result
    return verdicts


def check_lines(question: str, completion: str) -> list[bool]:
    """Says whether each line that is not blank is right: ``check_steps``, then what stands from the ``####`` line on.

    The ``####`` line is right where it says what the last step states and no operation of the question is missing. So
    an attempt of right lines only has the true answer. A line after it is wrong. One value for each step of ``Lines``.
    """
    verdicts = check_steps(question, completion)
    lines = [line for line in completion.splitlines() if line.strip()]
    stated = _STEP.fullmatch(lines[len(verdicts) - 1]) if len(verdicts) == len(_parse(question)[1]) else None
    rest = lines[len(verdicts) :]
    found = _FINAL.fullmatch(rest[0]) if rest else None
    right = stated is not None and found is not None and int(found[1]) == int(stated[4])
    return verdicts + [right and place == 0 for place in range(len(rest))]


@dataclass(frozen=True)
class StepRule:
    """This reward scores each step of a completion by the task's own rule, no model needed: process supervision.

    A score of 1 or 0 at each step's last token (``Score.steps``), steps being the task's ``Lines``; its value is
    1 where all are right. Without a step, or with two in one token, that is 0 and ``unparseable``. Raises UserError on
    a question of another task, and where the task does not say what a step is.
    """

    name: str = "steps"
    weight: float = 1.0
    so_far: bool = False
    """A step counts as right only where all before it are right, too: what continuations of it can find out."""

    @property
    def scores_steps(self) -> bool:
        """Says that every step gets a score of its own (``protocols.StepScoring``)."""
        return True

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns what the steps of each rollout are worth. Raises UserError for a task that does not know its
        steps."""
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        example = rollout.prompt.example
        verdicts = check_lines(str(example.columns.get("question", example.prompt)), rollout.text)
        if verdicts and not rollout.steps:
            raise UserError(f"{example.id}: reward '{self.name}' needs to know the steps; give the task steps=Lines()")
        if not verdicts or len(verdicts) != len(rollout.steps):
            return Score(0.0, "unparseable")
        if self.so_far:
            verdicts = list(accumulate(verdicts, operator.and_))
        return Score(float(all(verdicts)), steps=dict(zip(rollout.steps, map(float, verdicts), strict=True)))


def stepwise(
    level: int | Difficulty = 2,
    seed: int = 0,
    train_size: int = 100_000,
    held_out_size: int = 500,
    slips: float = 0.0,
) -> Task:
    """Makes the task stepwise arithmetic, rewarded by its final answer; ``slips`` are those of its training
    demonstrations.

    Held-out questions are all different. Raises UserError for an unknown level, and for one that has too few of them.
    """
    from groupwise.rewards import FinalAnswer

    return Task(
        name="stepwise",
        train=StepwiseArithmetic(level, seed, train_size, "train", slips),
        held_out=distinct(StepwiseArithmetic(level, seed, held_out_size * 10, "held_out"), held_out_size),
        rewards=(FinalAnswer(),),
        steps=Lines(),
    )


def distinct(rows: StepwiseArithmetic, count: int) -> tuple[Example, ...]:
    """The first ``count`` rows whose questions differ. Raises UserError where there are not so many."""
    found: dict[object, Example] = {}
    for row in rows:
        if len(found) == count:
            break
        found.setdefault(row.prompt, row)
    if len(found) < count:
        raise UserError(
            f"stepwise: {rows.difficulty} has only {len(found)} different {rows.split} questions; ask for no more"
        )
    return tuple(found.values())


def _draw(difficulty: Difficulty, random: Random) -> str:
    count = random.randint(*difficulty.operands)
    later = [sign for sign in difficulty.operators if sign != "*"]
    first = random.choice(difficulty.operators)
    factor = random.randint(2, 9)
    value = random.randint(0, difficulty.largest // factor if first == "*" else difficulty.largest)
    terms = [str(value)]
    for position in range(count - 1):
        sign = first if position == 0 else random.choice(later)
        room = value if sign == "-" else difficulty.largest - value
        operand = factor if sign == "*" else random.randint(0, room)
        value = _APPLY[sign](value, operand)
        terms.append(f"{sign} {operand}")
    return " ".join(terms) + " = ?"


def _parse(question: str) -> tuple[int, list[tuple[str, int]]]:
    match = _QUESTION.fullmatch(question)
    if match is None:
        raise UserError(f'stepwise: "{question[:80]}" is not a question of this task; expected like "37 + 58 - 46 = ?"')
    return int(match[1]), [(sign, int(number)) for sign, number in _OPERATION.findall(match[2])]


def _step_lines(completion: str) -> list[str]:
    lines = [line for line in completion.splitlines() if line.strip()]
    final = next((index for index, line in enumerate(lines) if line.lstrip().startswith("####")), len(lines))
    return lines[:final]
