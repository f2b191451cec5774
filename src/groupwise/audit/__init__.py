"""This package says whether a reward rewards what it should: tried on right, wrong, missing and hostile answers, and on
graded ones.

A **false negative** is a right answer without full reward, a **false positive** any other answer with it. An answer
that the reward could not read, was too slow on or failed on is told apart from one that it called wrong.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from groupwise.audit.cases import FORMS, Case, Expected, gold, right_cases, wrong_cases
from groupwise.audit.labels import GradedOutput, graded_outputs
from groupwise.audit.scoring import Verdict, Written, as_rollout, judge
from groupwise.errors import UserError
from groupwise.evaluation.statistics import Interval, wilson_interval
from groupwise.protocols import Reward
from groupwise.types import Example
from groupwise.values.tolerance import reaches

__all__ = ["Audit", "Finding", "Mistake", "Rate", "audit"]

OWN_FORM = next(iter(FORMS))
GRADED_RIGHT, GRADED_WRONG = "graded right", "graded wrong"
SHOWN_MISTAKES = 3
"""Of each kind."""
KEPT_LETTERS = 400

Progress = Callable[[str, int], None]
"""``(kind of answer, how many of it)``, before they are tried."""

Tried = Callable[[Sequence[Case]], list[Verdict]]
"""Cases of one kind -> what the reward says of each."""

UNSCORED = ("timeout", "failed", "raised", "not_applicable")


@dataclass(frozen=True)
class Mistake:
    """This is one answer on which the reward did not do what was expected."""

    id: str
    answer: str | None
    """The reference answer."""
    text: str
    """The end of the completion."""
    value: float | None
    status: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """A finding is about all answers of one kind."""

    kind: str
    expected: Expected
    answers: int
    full: int
    """With at least the full reward."""
    less: int
    """Scored, with less than that."""
    statuses: Mapping[str, int]
    """Of the rest: unparseable, timeout, failed, raised, not_applicable."""
    seconds: float
    """In all."""
    mistakes: tuple[Mistake, ...] = ()
    """The first of them."""

    @property
    def wrong(self) -> int:
        """Counts how many got something else than expected; 0 where anything may be."""
        return {"full": self.answers - self.full, "none": self.full, "any": 0}[self.expected]


@dataclass(frozen=True)
class Rate:
    """A rate is mistakes among answers, with Wilson's 95 % interval."""

    mistakes: int
    answers: int
    interval: Interval | None
    """None where there were no answers."""

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Rate:
        """Counts the findings that are mistakes, among all of them."""
        counted = list(findings)
        mistakes, answers = sum(each.wrong for each in counted), sum(each.answers for each in counted)
        return cls(mistakes, answers, wilson_interval(mistakes, answers) if answers else None)


@dataclass(frozen=True)
class Audit:
    """This is what an audit found, kind by kind."""

    reward: str
    rows: int
    form: str
    """How wrong answers were written: the first way in which this reward reads right ones best."""
    correct_at: float
    findings: tuple[Finding, ...]
    seconds: float
    without_answer: int = 0
    """Rows that have no reference answer: only their graded outputs were tried."""
    graded: tuple[Finding, ...] = field(default=())
    """Outputs that came with a grade: right ones, wrong ones."""

    @property
    def false_negatives(self) -> Rate:
        """Returns how many right answers got too little."""
        return Rate.of(each for each in self.findings if each.expected == "full")

    @property
    def false_positives(self) -> Rate:
        """Returns how many wrong answers got too much."""
        return Rate.of(each for each in self.findings if each.expected == "none")

    @property
    def graded_false_negatives(self) -> Rate:
        """Returns how many outputs that a person called right got too little."""
        return Rate.of(each for each in self.graded if each.expected == "full")

    @property
    def graded_false_positives(self) -> Rate:
        """Returns how many outputs that a person called wrong got too much."""
        return Rate.of(each for each in self.graded if each.expected == "none")

    @property
    def agreement(self) -> Interval | None:
        """Returns the share of the graded outputs on which reward and grade agree, of those that it could judge; None:
        of none."""
        unscored = {each.kind: sum(each.statuses.get(status, 0) for status in UNSCORED) for each in self.graded}
        judged = sum(each.answers - unscored[each.kind] for each in self.graded)
        agreed = sum(each.full for each in self.graded if each.expected == "full") + sum(
            each.answers - each.full - unscored[each.kind] for each in self.graded if each.expected == "none"
        )
        return wilson_interval(agreed, judged) if judged else None

    @property
    def seconds_per_answer(self) -> float:
        """Returns the seconds that an answer took, in the mean."""
        everything = (*self.findings, *self.graded)
        return sum(each.seconds for each in everything) / max(1, sum(each.answers for each in everything))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes, the rates among them."""
        names = ("false_negatives", "false_positives", "graded_false_negatives", "graded_false_positives")
        rates = (self.false_negatives, self.false_positives, self.graded_false_negatives, self.graded_false_positives)
        summary = {name: asdict(rate) for name, rate in zip(names, rates, strict=True)}
        summary["agreement"] = asdict(self.agreement) if self.agreement else {}
        return {**asdict(self), **summary, "seconds_per_answer": self.seconds_per_answer}


def audit(
    reward: Reward,
    examples: Sequence[Example],
    correct_at: float = 1.0,
    limit_seconds: float = 30.0,
    output: str | None = None,
    label: str | None = None,
    on_kind: Progress = lambda kind, answers: None,
    written: Written = as_rollout,
) -> Audit:
    """Tries ``reward`` on answers made from the rows' reference answers, and on the rows' graded outputs.

    A value of at least ``correct_at`` is full reward. An answer that takes longer than ``limit_seconds`` is given up.
    ``output`` and ``label`` name the columns of graded outputs (``labels.graded_outputs``). ``written`` makes a
    rollout of an answer: of its text alone, or ``tokens.with_tokens``.

    Raises UserError where a row has neither a reference answer nor a graded output, and what the reward itself raises
    where it does so on every right answer.
    """
    started = time.perf_counter()
    answered = [example for example in examples if gold(example) is not None]
    graded = graded_outputs(examples, output, label)
    if not answered and not graded:
        raise UserError(
            "an audit needs rows with a reference answer, or with an output and a grade; name the columns with "
            "--answer_column, --output_column and --label_column"
        )
    tried = _asking(reward, limit_seconds, on_kind, written)
    form, findings = _constructed(reward.name, answered, tried, correct_at)
    known = [cases for cases in _graded_cases(graded) if cases]
    return Audit(
        reward=reward.name,
        rows=len(examples),
        form=form,
        correct_at=correct_at,
        findings=findings,
        without_answer=len(examples) - len(answered),
        graded=tuple(_finding(cases, tried(cases), correct_at) for cases in known),
        seconds=time.perf_counter() - started,
    )


def _asking(reward: Reward, limit_seconds: float, on_kind: Progress, written: Written) -> Tried:
    def tried(cases: Sequence[Case]) -> list[Verdict]:
        on_kind(cases[0].kind, len(cases))
        return judge(reward, cases, limit_seconds, written)

    return tried


def _constructed(
    name: str, answered: Sequence[Example], tried: Tried, correct_at: float
) -> tuple[str, tuple[Finding, ...]]:
    """The form in which the reward reads right answers, and what it says of right ones, then of all others."""
    verdicts = {form: tried(cases) for form in FORMS if (cases := right_cases(answered, form, "any"))}
    _refuse_misuse(name, verdicts)
    form = _best_form(verdicts, correct_at)
    findings = [
        _finding(right_cases(answered, each, "full" if each == form else "any"), said, correct_at)
        for each, said in verdicts.items()
    ]
    for cases in _by_kind(wrong_cases(answered, form)):
        findings.append(_finding(cases, tried(cases), correct_at))
    return form, tuple(findings)


def _refuse_misuse(name: str, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    """A reward that raises on every right answer was not made for such rows: that is for its user to mend."""
    found = [verdict for own in verdicts.values() for verdict in own]
    if found and all(verdict.status in ("raised", "failed") for verdict in found):
        raise UserError(f"the reward {name} scored no right answer: it {found[0].reason}")


def _best_form(verdicts: Mapping[str, Sequence[Verdict]], correct_at: float) -> str:
    """The row's own solutions where the reward reads most of them, else the way it reads best; the first of equals."""
    shares = {form: sum(_is_full(each, correct_at) for each in own) / len(own) for form, own in verdicts.items()}
    if not shares:
        return OWN_FORM
    if shares.get(OWN_FORM, 0.0) > 0.5:
        return OWN_FORM
    return max(shares, key=lambda form: shares[form])


def _by_kind(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """In the order in which the kinds come first."""
    everything = list(cases)
    order = {case.kind: place for place, case in reversed(list(enumerate(everything)))}
    for _, same in groupby(sorted(everything, key=lambda case: order[case.kind]), key=lambda case: case.kind):
        yield list(same)


def _graded_cases(graded: Sequence[GradedOutput]) -> tuple[list[Case], list[Case]]:
    right = [Case(GRADED_RIGHT, "full", each.example, each.text) for each in graded if each.right]
    wrong = [Case(GRADED_WRONG, "none", each.example, each.text) for each in graded if not each.right]
    return right, wrong


def _finding(cases: Sequence[Case], verdicts: Sequence[Verdict], correct_at: float) -> Finding:
    full = [_is_full(verdict, correct_at) for verdict in verdicts]
    expected = cases[0].expected
    mistaken = [row for row, got in enumerate(full) if expected != "any" and got != (expected == "full")]
    rest = Counter(verdict.status for verdict, got in zip(verdicts, full, strict=True) if not got)
    less = rest.pop("scored", 0)
    return Finding(
        kind=cases[0].kind,
        expected=expected,
        answers=len(cases),
        full=sum(full),
        less=less,
        statuses={str(status): number for status, number in rest.items()},
        seconds=sum(verdict.seconds for verdict in verdicts),
        mistakes=tuple(_mistake(cases[row], verdicts[row]) for row in mistaken[:SHOWN_MISTAKES]),
    )


def _mistake(case: Case, verdict: Verdict) -> Mistake:
    text = case.text[-KEPT_LETTERS:].encode("utf-8", "replace").decode()
    return Mistake(case.example.id, gold(case.example), text, verdict.value, verdict.status, verdict.reason)


def _is_full(verdict: Verdict, correct_at: float) -> bool:
    return verdict.value is not None and reaches(verdict.value, correct_at)
