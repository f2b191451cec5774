"""Mathematical equality: exact numbers here, everything else by math-verify in a process that can be killed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.rewards.answers import TEXT_CHARACTERS, final_answer, numbers_equal, parse_number, reference_answer
from groupwise.rewards.isolation import Outcome, shared_pool
from groupwise.types import Rollout, Score

ANSWER_CHARACTERS = 2_000
LINE_CHARACTERS = 300
"""Of the line that a box stands on, as much is read before it."""
NESTING = 50

_DELIMITERS = ("$", r"\(", r"\[", r"\boxed", r"\begin")
_HUGE = re.compile(
    r"[0-9]{300}"
    r"|(?:\^|\*\*)[ ]?[{(]?[ ]?-?[0-9]{4}"
    r"|[0-9][ ]?(?:\^|\*\*)[ ]?[{(]?[ ]?[0-9]+[ ]?(?:\^|\*\*)"
    r"|[0-9]{4}[ ]?!|\([0-9 ^*{}]{4,50}\)[ ]?!|![ ]?!"
    r"|[0-9][eE][+-]?[0-9]{4}"
)
_PROSE = re.compile(r"[^\W\d_]{2,}[ ,.:]+[^\W\d_]{2,}")
_PLAIN_NUMBER = re.compile(r"[-+−0-9., %]+")
_WARM_UP = [
    {"gold": gold, "answer": answer}
    for gold, answer in (
        (r"\frac{1}{2}+x^2", "$x^2 + 0.5$"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & \sqrt{4} \end{pmatrix}", r"$\begin{bmatrix} 1 & 2 \\ 3 & 2 \end{bmatrix}$"),
        (r"(-\infty, 3] \cup \{5, 7\}", r"$\{7, 5\} \cup (-\infty, 3]$"),
        (r"x \le \sin(\pi/6)", r"$\frac{1}{2} \ge x$"),
        (r"y = 2x + \ln(e)", "$2x + 1$"),
        (r"3 + 4i", "5%"),
        (r"\int_0^1 x dx + \sum_{k=1}^3 k + 3! + \binom{4}{2} + |x|", "$x = 1, y = 2$"),
    )
]


@dataclass(frozen=True)
class Math:
    """1 where the completion's final answer equals the example's mathematically, otherwise 0.

    The final answer is what :func:`groupwise.rewards.final_answer` finds, or else the end of a finished completion, in
    which math-verify looks for an expression. One that was cut off before it marked an answer has none, whatever it
    had computed by then: ``unparseable``. Numbers are compared exactly and at once; the rest goes to math-verify, at
    most ``time_limit_seconds`` an answer. An answer that takes longer is not wrong: its value is None and its status
    ``timeout``. One that cannot be read, or is out of bounds (over 2,000 characters, 50 nested brackets, powers or
    factorials of more than three digits, towers of powers), gets 0 and ``unparseable``.

    Raises UserError where an example has no answer, or one that cannot be read as mathematics.
    """

    name: str = "math"
    weight: float = 1.0
    time_limit_seconds: float = 5.0
    unmarked: bool = True
    """Read an answer that nothing marks at the end of a finished completion; False: ``unparseable``, too."""

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        golds = [expression(reference_answer(rollout, self.name)) for rollout in rollouts]
        answers = [self._answer(rollout) for rollout in rollouts]
        scores = [_quick_score(gold, answer) for gold, answer in zip(golds, answers, strict=True)]
        slow = [row for row, score in enumerate(scores) if score is None]
        items = [{"gold": golds[row], "answer": answers[row]} for row in slow]
        pool = shared_pool("groupwise.rewards.math:compare", json.dumps(_WARM_UP))
        outcomes = dict(zip(slow, pool.run(items, self.time_limit_seconds), strict=True))
        return [
            self._slow_score(outcomes[row], rollouts[row], golds[row]) if score is None else score
            for row, score in enumerate(scores)
        ]

    def _answer(self, rollout: Rollout) -> str:
        """Empty where there is none."""
        text = rollout.text[-TEXT_CHARACTERS:]
        may_be_unmarked = self.unmarked and rollout.finished
        return expression(text) if may_be_unmarked or final_answer(text) else ""

    def _slow_score(self, outcome: Outcome, rollout: Rollout, gold: str) -> Score:
        if outcome.status != "done":
            return Score(None, outcome.status, reason=outcome.reason)
        if outcome.value == "no gold":
            raise UserError(
                f"{rollout.prompt.example.id}: reward '{self.name}' cannot read the answer {gold[:60]!r} as "
                "mathematics; expected a number, an expression or LaTeX"
            )
        return Score(0.0, "unparseable") if outcome.value == "no answer" else Score(float(outcome.value == "equal"))


def compare(item: dict[str, str]) -> str:
    """Runs in a worker: ``equal``, ``different``, ``no answer`` or ``no gold``. Never ends on some inputs."""
    import math_verify

    def parse(text: str) -> Any:
        return math_verify.parse(_delimited(text), parsing_timeout=None)

    gold, answer = parse(item["gold"]), parse(item["answer"])
    if not gold:
        return "no gold"
    if not answer:
        return "no answer"
    return "equal" if math_verify.verify(gold, answer, timeout_seconds=None) else "different"


def expression(text: str) -> str:
    """The part of a text that says its answer: after ``####``, the line of the last box (math-verify reads several
    boxes in a line as one set) and what follows, another final answer, or the text's end."""
    if "####" not in text and (box := text.rfind(r"\boxed")) >= 0:
        start = max(text.rfind("\n", 0, box) + 1, box - LINE_CHARACTERS)
        return text[start : start + ANSWER_CHARACTERS].strip()
    return final_answer(text) or text.strip()[-ANSWER_CHARACTERS:]


def _quick_score(gold: str, answer: str) -> Score | None:
    """Where no algebra is needed, or none must be tried."""
    if answer == gold:
        return Score(1.0)
    if max(text.count(r"\boxed") for text in (gold, answer)) <= 1:
        left, right = (final_answer(text) or text for text in (gold, answer))
        if numbers_equal(left, right):
            return Score(1.0)
        numbers = (parse_number(left), parse_number(right))
        if "%" not in left + right and all(number is not None and number.denominator == 1 for number in numbers):
            return Score(0.0)
    return None if answer and _within_bounds(answer) else Score(0.0, "unparseable")


def _within_bounds(text: str) -> bool:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return len(text) <= ANSWER_CHARACTERS and deepest <= NESTING and not _HUGE.search(text)


def _delimited(text: str) -> str:
    """Bare mathematics between dollar signs: math-verify reads letters only there, and ``x + 5`` as 5 elsewhere."""
    delimited = any(mark in text for mark in _DELIMITERS)
    expression = "\\" in text or not (_PLAIN_NUMBER.fullmatch(text) or _PROSE.search(text))
    return f"${text}$" if expression and not delimited else text
