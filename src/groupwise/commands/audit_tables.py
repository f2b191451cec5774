"""This module prints what an audit of a reward found: a table of kinds of answers, rates, and mistakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from groupwise.output.counting import counted
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from groupwise.audit import Audit, Finding, Mistake, Rate

PIPED_WIDTH = 118
SHOWN_LETTERS = 76
SHOWN_MISTAKES = 2  # of each kind
STATUSES = {"unread": ("unparseable",), "timeout": ("timeout",), "failed": ("failed", "raised", "not_applicable")}
"""Columns, and the statuses that they count."""


def print_audit(done: Audit, data: str) -> None:
    """Prints how a reward judged each kind of answer, and what it got wrong."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    console.print(f"reward {_shown(done.reward)} on {counted(done.rows, 'row')} of {_shown(data)}", markup=False)
    sections = {
        "right answers": [each for each in done.findings if each.expected == "full"],
        "wrong, missing and hostile": [each for each in done.findings if each.expected == "none"],
        "graded outputs": list(done.graded),
        "up to you": [each for each in done.findings if each.expected == "any"],
    }
    console.print(_table(sections))
    for line in _summary(done):
        console.print(line, markup=False)
    everything = (*done.findings, *done.graded)
    mistakes = [(each, mistake) for each in everything for mistake in each.mistakes[:SHOWN_MISTAKES]]
    if mistakes:
        _print_mistakes(console, mistakes)


def _table(sections: dict[str, list[Finding]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("answers", no_wrap=True)
    for title in ("n", "full", "less", *STATUSES, "mistakes", "95 % interval", "ms each"):
        table.add_column(title, justify="right", no_wrap=True)
    for title, findings in sections.items():
        if findings:
            table.add_row(f"[bold]{escape(title)}[/bold]")
            for finding in findings:
                table.add_row(f"  {escape(finding.kind)}", *_cells(finding))
            table.add_section()
    return table


def _cells(finding: Finding) -> Iterator[str]:
    from groupwise.audit import Rate

    others = (sum(finding.statuses.get(status, 0) for status in own) for own in STATUSES.values())
    for count in (finding.answers, finding.full, finding.less, *others):
        yield f"{count:,}" if count else "[dim]0[/dim]"
    interval = Rate.of([finding]).interval
    if finding.expected == "any" or interval is None:
        yield from ("[dim]-[/dim]", "")
    else:
        colour = "red" if finding.wrong else "dim"
        yield f"[{colour}]{interval.value:.1%}[/{colour}]"
        yield f"[{colour}]{interval.low:.1%} to {interval.high:.1%}[/{colour}]"
    yield f"{1000 * finding.seconds / finding.answers:.2f}"


def _rate(rate: Rate) -> str:
    if rate.interval is None:
        return "none tried"
    return f"{rate.interval.value:.2%} [{rate.interval.low:.2%}, {rate.interval.high:.2%}]"


def _summary(done: Audit) -> Iterator[str]:
    pairs = [
        ("right answers without full reward", done.false_negatives),
        ("other answers with it", done.false_positives),
        ("graded right, without full reward", done.graded_false_negatives),
        ("graded wrong, with it", done.graded_false_positives),
    ]
    names = ("false negatives", "false positives", "false negatives by grade", "false positives by grade")
    for name, (what, rate) in zip(names, pairs, strict=True):
        if rate.answers:
            yield f"{name:<24}  {rate.mistakes:,} of {rate.answers:,}: {_rate(rate)}  ({what})"
    if done.agreement:
        agreed = done.agreement
        shares = f"{agreed.value:.2%} [{agreed.low:.2%}, {agreed.high:.2%}]"
        yield f"{'agreement with grades':<24}  {shares} of the graded outputs that it could judge"
    slowest = max((*done.findings, *done.graded), key=lambda each: each.seconds / each.answers)
    yield (
        f"{'time':<24}  {1000 * done.seconds_per_answer:.2f} ms an answer; slowest: {slowest.kind}, "
        f"{1000 * slowest.seconds / slowest.answers:.1f} ms"
    )
    if done.findings:
        yield f"Wrong answers were written as: {done.form}. Full reward: at least {done.correct_at:g}."
    if done.findings and done.false_negatives.mistakes == done.false_negatives.answers:
        yield "This reward gave full reward to no right answer, so that it gave none to wrong ones says nothing."
    if done.without_answer:
        yield f"{done.without_answer} rows have no reference answer: only their graded outputs were tried."


def _print_mistakes(console: Console, mistakes: Sequence[tuple[Finding, Mistake]]) -> None:
    console.print("\nfirst mistakes of each kind", style="bold")
    for finding, mistake in mistakes:
        value = "no value" if mistake.value is None else f"{mistake.value:g}"
        wanted = "full reward" if finding.expected == "full" else "none"
        head = f"{finding.kind}, {_shown(mistake.id)}: got {value} ({mistake.status}), expected {wanted}"
        console.print(head, style="red" if finding.expected == "none" else "yellow", markup=False, soft_wrap=True)
        for label, text in (
            ("answer", mistake.answer or "none"),
            ("completion", mistake.text),
            ("why", mistake.reason),
        ):
            if text or label == "completion":
                console.print(f"    {label:<10}  {_shown(text)}", markup=False, soft_wrap=True)


def _shown(text: str) -> str:
    """Returns a text on one line, its beginning left out where it is long, with nothing in it that a terminal would
    obey."""
    line = " ".join(text.split())
    return visible(line if len(line) <= SHOWN_LETTERS else f"... {line[-SHOWN_LETTERS:]}")
