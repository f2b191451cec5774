"""A run's rollouts under a method, on the terminal: a line for each, and totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from groupwise.commands.explanation import Page
from groupwise.commands.explanation_episodes import show_episodes
from groupwise.commands.explanation_tables import folded, push, short
from groupwise.explain import Numbers, StepBatch, Tokens, Totals, contrast, totals
from groupwise.output.counting import counted
from groupwise.output.printable import visible

MOST_LINES = 60
TEXT = 60  # letters of a completion
LEAST_TEXT = 8
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A line is rollouts of one group that look alike."""

    group: int
    times: int
    cells: tuple[Text, ...]
    text: str


def show(page: Page, name: str, rows: Sequence[Row], drawn: Sequence[StepBatch], found: Sequence[Numbers]) -> None:
    """Shows what each method would have done with a step's rows."""
    by_row = [_by_row(*pair) for pair in zip(drawn, found, strict=True)]
    groups = len({row["group"] for row in rows})
    page.heading(f"{name}: {counted(len(rows), 'rollout')} in {counted(groups, 'group')}")
    for method, one in zip(page.methods, drawn, strict=True):
        for reason, count in one.left_out.items():
            page.labelled(method.name, f"leaves out {count} of {counted(len(rows), 'rollout')}, {reason}")
    lines, names = _lines(rows, by_row), [method.name for method in page.methods]
    room = page.console.width - page.console.measure(_table(names, lines[:MOST_LINES], 0)).maximum - 2
    page.table(_table(names, lines[:MOST_LINES], room if room >= LEAST_TEXT else 0))
    if any(row.get("stop") is not None for row in rows):
        page.paragraph("tokens: sampled, in so many turns", 2, "dim")
    page.paragraph("push: Σ ∂J/∂log π of a completion's tokens; held: how many of them a clip holds", 2, "dim")
    hidden = sum(line.times for line in lines[MOST_LINES:])
    if hidden:
        page.paragraph(f"and {counted(hidden, 'more rollout')}; --json prints the numbers of all of them", 2)
    show_episodes(page, rows, by_row)
    for method, one, numbers in zip(page.methods, drawn, found, strict=True):
        page.labelled(method.name, _said(totals(one.case, numbers), numbers))
    if len(found) > 1:
        page.contrast(*([_flat(rows, table) for table in by_row]))
    _with_the_run(page, rows, by_row)


def _by_row(drawn: StepBatch, numbers: Numbers) -> dict[int, Tokens]:
    """Returns what the method makes of each row, by its number; what it leaves out is not there."""
    numbered = [row for group in drawn.rows for row in group]
    return dict(zip(numbered, numbers.responses(), strict=True))


def _table(names: Sequence[str], lines: Sequence[Line], letters: int) -> Table:
    """The texts cut to so many letters; without any, no column for them."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for title in ("group", "n", "reward", "tokens"):
        table.add_column(title, justify="right", no_wrap=True)
    for name in names:
        for title in ("A", "push", "held"):
            table.add_column(
                Text(f"{folded(name)}\n{title}" if len(names) > 1 else title), justify="right", no_wrap=True
            )
    if letters > 0:
        table.add_column("text", no_wrap=True, style="dim")
    before = None
    for line in lines:
        if before is not None and line.group != before:
            table.add_section()
        label, before = "" if line.group == before else str(line.group), line.group
        table.add_row(label, str(line.times), *line.cells, *([Text(line.text[:letters])] if letters > 0 else []))
    return table


def _lines(rows: Sequence[Row], by_row: Sequence[Mapping[int, Tokens]]) -> list[Line]:
    """Returns lines group by group; rollouts of a group that look alike share a line."""
    found: dict[tuple[int, str], Line] = {}
    for number, row in enumerate(rows):
        cells = [Text(_reward(row)), Text(_size(row))]
        cells += [cell for tokens in by_row for cell in _cells(tokens.get(number), sum(row["mask"]))]
        line = Line(row["group"], 1, tuple(cells), visible(" ".join(row["text"].split()))[:TEXT])
        key = (line.group, " | ".join([*(cell.plain for cell in cells), line.text]))
        found[key] = replace(line, times=found[key].times + 1) if key in found else line
    return sorted(found.values(), key=lambda line: line.group)


def _size(row: Row) -> str:
    """Says how many tokens the policy sampled; of an episode also in how many turns."""
    return f"{sum(row['mask'])}" + (f" in {len(row['turns'])}" if row.get("stop") is not None else "")


def _reward(row: Row) -> str:
    return "none" if row["reward"] is None else f"{row['reward']:.4g}"


def _cells(tokens: Tokens | None, sampled: int) -> list[Text]:
    if tokens is None:
        return [Text("out", style="dim"), Text(""), Text("")]
    mean = sum(tokens.advantages) / sampled
    clipped = sum(tokens.clipped)
    return [Text(short(mean, sign=True)), push(sum(tokens.coefficients)), Text(str(clipped or ""), style="yellow")]


def _said(found: Totals, numbers: Numbers) -> str:
    sizes = [
        f"mean |∂J/∂log π| {value:.3g} on tokens of {kind} answers"
        for kind, value in (("right", found.right), ("other", found.wrong))
        if value is not None
    ]
    shares = f"{found.pushed:.1%} of {counted(found.tokens, 'token')} pushed, {found.clipped:.1%} held by a clip"
    return "; ".join([f"J = {numbers.objective:.6g}", shares, *sizes])


def _flat(rows: Sequence[Row], found: Mapping[int, Tokens]) -> list[float]:
    """Returns the coefficients of all rows in order; 0 for what is left out."""
    lists = (found[n].coefficients if n in found else [0.0] * len(row["mask"]) for n, row in enumerate(rows))
    return [value for values in lists for value in values]


def _with_the_run(page: Page, rows: Sequence[Row], by_row: Sequence[Mapping[int, Tokens]]) -> None:
    """The run's own coefficients are in its ledger."""
    own = [value for row in rows for value in row["coefficients"]]
    for method, found in zip(page.methods, by_row, strict=True):
        cosine = contrast(_flat(rows, found), own).cosine
        said = "" if cosine is None else f"cosine of its gradient and the run's own: {cosine:.4f}"
        page.labelled(method.name, said or "it or the run itself had no gradient here")
