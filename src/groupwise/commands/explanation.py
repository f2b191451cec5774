"""This module puts an explanation on the terminal: of one method, or of two side by side."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groupwise.commands.explanation_tables import against_columns, token_columns, token_tables
from groupwise.commands.methods import documentation
from groupwise.explain import (
    Case,
    Numbers,
    contrast,
    definitions,
    effects,
    objective,
    premises,
    scale_effect,
    table_row,
)
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.training.combinations import remarks

if TYPE_CHECKING:
    from groupwise.commands.method import Method

PIPED_WIDTH = 100
MISSING_STEPS = (
    "no completion here has step scores, only one at its last token, so this is outcome supervision; its steps are "
    "seen where a reward scores them (process:DIR, or steps with --data stepwise)"
)
SCALE_OF_A_RUN = "the scale that a run gave a learned reward is shown by --run DIR"
LABEL = 20  # columns


class Page:
    """A page is lines of text and tables, as wide as the terminal."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = methods
        self.console = Console(highlight=False, markup=False, emoji=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console = Console(highlight=False, markup=False, emoji=False, width=PIPED_WIDTH)

    def describe(self, at_length: bool) -> None:
        """Prints the formula, what its letters mean, the row of the unified table; at length also the recipe's
        differences."""
        for method in self.methods:
            self._describe(method, at_length)

    def name_missing_steps(self, method: Method, case: Case) -> None:
        """Says where a method supervises steps, and these numbers have one score a completion."""
        if "step_rewards" in method.algorithm.advantage.needs() and not case.has_step_scores:
            self.labelled("to know", f"{method.name}: {MISSING_STEPS}", "yellow")

    def effects(self) -> None:
        """Says what each method does to a lone right answer, a lone wrong one, a long one, a truncated one."""
        for method in self.methods:
            self.heading(f"What {method.name} does" if len(self.methods) > 1 else "What it does")
            self.paragraph(premises(method.algorithm), 2)
            for what, said in effects(method.algorithm):
                self.labelled(what, said)
            self._blank()

    def tokens(self, case: Case, found: Sequence[Numbers], title: str) -> None:
        """Prints every number of every token."""
        count = sum(len(response.logprobs) for _, response in case.rows())
        self.heading(f"{title}: {counted(len(case.rows()), 'response')}, {counted(count, 'token')}")
        responses = [numbers.responses() for numbers in found]
        if len(found) == 1:
            columns = list(token_columns(self.methods[0].algorithm, case, responses[0]))
        else:
            columns = list(against_columns([method.name for method in self.methods], responses))
        tables, hidden = token_tables(case, columns, self.console.width)
        for table in tables:
            self.table(table)
        if hidden:
            self.paragraph(f"and {counted(hidden, 'more response')}; --json prints all of them", 2)
        for method, numbers in zip(self.methods, found, strict=True):
            self.labelled(method.name, f"J = {numbers.objective:.6g}, loss = {-numbers.objective:.6g}")
        if len(found) > 1:
            first, second = ([v for tokens in rows for v in tokens.coefficients] for rows in responses)
            self.contrast(first, second)
        self._blank()

    def scale(self, case: Case) -> None:
        """Says what the scale of rewards does to each method, and where that of a learned one is seen."""
        found = {method.name: scale_effect(method.algorithm, case, method.name) for method in self.methods}
        for name, said in found.items():
            if said:
                self.labelled("reward scale", f"{name}: {said}" if len(found) > 1 else said)
        if any(found.values()):
            self.labelled("", SCALE_OF_A_RUN)
            self._blank()

    def contrast(self, first: Sequence[float], second: Sequence[float]) -> None:
        """Says how far two gradients agree."""
        found = contrast(first, second)
        names = [method.name for method in self.methods]
        if found.cosine is None:
            self.labelled("agreement", "one of the two has no gradient at all")
            return
        size = f"; {names[0]}'s is {found.size:.3g} times as large" if found.size else ""
        self.labelled("agreement", f"cosine of the two gradients {found.cosine:.4f}{size}")
        alone = ", ".join(f"{share:.1%} only by {name}" for share, name in zip(found.alone, names, strict=True))
        self.labelled("tokens pushed", f"{found.opposed:.1%} in opposite directions, {alone}")

    def table(self, table: Table) -> None:
        """Prints a table as rich made it."""
        self.console.print(table)

    def _describe(self, method: Method, at_length: bool) -> None:
        title, differences = documented(method.name)
        self.heading(f"{method.name}: {title}")
        for change in method.changed:
            self.paragraph(change.replace("(there: ", "(the recipe: "), 2, "yellow")
        self._blank()
        lines = [" ".join(objective(method.algorithm))]
        for line in lines if len(lines[0]) + 2 <= self.console.width else objective(method.algorithm):
            self.paragraph(line, 2 if line.startswith("J") else 6, "cyan")
        self._blank()
        for definition in definitions(method.algorithm):
            self.paragraph(definition, 4)
        self._blank()
        for name, said in zip(("data source", "reward", "coefficient"), table_row(method.algorithm), strict=True):
            self.labelled(name, said)
        for remark in remarks(method.algorithm):
            self.labelled("to know", remark, "yellow")
        self._blank()
        if at_length and differences:
            for line in differences:
                self.paragraph(line, 2)
            self._blank()

    def heading(self, text: str) -> None:
        """Prints a line of its own in bold letters."""
        self.paragraph(text, 0, "bold")

    def labelled(self, label: str, text: str, style: str = "") -> None:
        """A name on the left, its words in a column of their own."""
        width = max(self.console.width - LABEL - 2, 30)
        for number, line in enumerate(textwrap.wrap(text, width, break_on_hyphens=False)):
            name = "" if number else label
            self.console.print(Text.assemble((f"  {name:<{LABEL - 1}} ", "dim"), (visible(line), style)))

    def paragraph(self, text: str, indent: int, style: str = "") -> None:
        """Prints text wrapped at blanks; below a number's text, where there is one."""
        deeper = indent + (3 if re.match(r"\d+\. ", text) else 0)
        width = max(self.console.width, 40) - deeper
        for number, line in enumerate(textwrap.wrap(text, width, break_on_hyphens=False)):
            self.console.print(Text(" " * (deeper if number else indent) + visible(line), style=style))

    def _blank(self) -> None:
        self.console.print()


def documented(name: str) -> tuple[str, list[str]]:
    """Returns parts of a recipe's docstring: its first line, and how it differs, the heading and a line for each
    number."""
    text = documentation(name)
    found = re.search(r"^(?:How it differs|It is the row).*?(?=\n\n(?!\d+\. )|\Z)", text, re.DOTALL | re.MULTILINE)
    parts = re.split(r"(?<!\n)\n++(?=\d++\. )", found.group()) if found else []
    return text.splitlines()[0] if text else name, [" ".join(part.replace("``", "").split()) for part in parts]
