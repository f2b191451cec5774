"""This sink is the terminal: a live display of what is being done, or plain lines where nobody watches."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from groupwise.output.counting import counted
from groupwise.output.encoding import write_any_letter
from groupwise.output.printable import visible
from groupwise.protocols import Sink
from groupwise.sinks.step_lines import StepTable, cells, not_finite, wrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from groupwise.output.sample_completions import SampleCompletion

PHASES = {
    "sample": "sampling",
    "continue": "continuing steps",
    "gather": "gathering prompts",
    "reward": "scoring",
    "train": "training",
    "evaluate": "evaluating",
}
LINES_PER_STAGE = 20
PLAIN_WIDTH = 100
"""Of a table of steps where no terminal has a width: files, pipes."""
QUESTION, COMPLETION = 60, 120
"""Letters that are shown of an evaluation's completions."""
BAR = (8, 28)
"""Places of the live display's bar: at least, at most."""


class Terminal(Sink):
    """A terminal follows a run. ``live`` None: live where the console is a terminal and NO_COLOR is not set."""

    def __init__(self, run: str, console: Console | None = None, live: bool | None = None) -> None:
        from rich.console import Console

        self.run = run
        self.console = console or Console(highlight=False)
        write_any_letter(self.console.file)  # type: ignore[arg-type]
        self.is_live = self.console.is_terminal and not os.environ.get("NO_COLOR") if live is None else live
        self.name, self.steps, self.start, self.step = "", 0, 0, 0
        self.stage_started = self.phase_started = time.monotonic()
        self.phase_from = 0
        self.current: tuple[str, int, int] = ("", 0, 0)
        self.newest: Mapping[str, float] = {}
        self.table, self.header = StepTable("", 0), ""
        self.live: Live | None = None

    def stage(self, name: str, steps: int, start: int) -> None:
        """Begins a stage: its name, a table of its steps, and a bar where somebody watches."""
        self.name, self.steps, self.start, self.step = name, steps, start, start
        self.stage_started, self.current, self.newest = time.monotonic(), ("", 0, 0), {}
        self.table, self.header = StepTable(name, steps), ""
        after = f", continued after step {start}" if start else ""
        self.note(f"{self.run} · {name}: {counted(steps, 'step')}{after}")
        self._go_live()

    def phase(self, name: str, done: int, total: int) -> None:
        """Shows how far something of a step has come."""
        if name != self.current[0] or done < self.current[1]:
            self.phase_started, self.phase_from = time.monotonic(), done
        self.current = (name, done, total)
        self._go_live()

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Adds a step, and prints it where it is one of those that are printed."""
        self.step, self.newest = step, values
        self.table.add(values)
        every = max(1, self.steps // LINES_PER_STAGE)
        if step % every == 0 or step in (self.start + 1, self.steps) or "eval/accuracy" in values:
            self._tell(step, values)

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        """Prints a line for the best and for the worst; trackers have a random one, too, and the whole texts lie in
        evaluation.json, or are the report's."""
        extremes = {which: each for which, each in chosen.items() if which in ("best", "worst")}
        for which, each in (extremes or chosen).items():
            reward = "no reward" if each.reward is None else f"reward {each.reward:.3g}"
            self.note(f"  {which}, {reward}: {_short(each.question, QUESTION)} → {_short(each.text, COMPLETION)}")

    def note(self, text: str) -> None:
        """Prints a text in which nothing is markup, and nothing a terminal would obey. A terminal breaks it between
        words, never in one; elsewhere it is one line."""
        shown = visible(text)
        if self.console.is_terminal:
            shown = "\n".join(part for line in shown.split("\n") for part in wrapped(line, self.console.width))
        self._line(shown)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Ends the bar, and prints the summary, a line each."""
        if self.live:
            self.live.stop()
            self.live = None
        for name, value in summary.items():
            self.note(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        """A row of the table, its header where that is another than the last."""
        header = self.table.header(self.width)
        if header != self.header:
            self._line(header)
            self.header = header
        self._line(self.table.row(step, values, self.width))
        if broken := not_finite(values):
            self.note(f"  {broken}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)

    @property
    def width(self) -> int:
        """Returns the width of a table of steps."""
        return self.console.width if self.console.is_terminal else PLAIN_WIDTH

    def _go_live(self) -> None:
        from rich.live import Live

        if self.is_live and not self.live:
            self.live = Live(get_renderable=self._display, console=self.console, refresh_per_second=8, transient=True)
            self.live.start()

    def _display(self) -> RenderableType:
        from rich.console import Group as Rows
        from rich.text import Text

        rows: list[RenderableType] = [
            self._head(),
            Text(self._doing(), style="cyan", no_wrap=True, overflow="ellipsis"),
        ]
        if self.newest:
            table = f"{self.table.header(self.width)}\n{self.table.row(self.step, self.newest, self.width)}"
            rows.append(Text(table, style="dim", no_wrap=True, overflow="ellipsis"))
        return Rows(*rows)

    def _head(self) -> RenderableType:
        """Returns the bar as one line at any width: the bar shrinks first, then it goes, then the name is cut."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = time.monotonic() - self.stage_started
        done = self.step - self.start
        left = elapsed / done * (self.steps - self.step) if done else None
        name = visible(f"{self.run} · {self.name}" if self.name else self.run)
        told = [f"step {self.step}/{self.steps}"]
        told += [f"{clock(elapsed)} gone" + (f", {clock(left)} left" if left is not None else "")]
        room = self.console.width - sum(cells(text) + 2 for text in (name, *told))
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(1, self.steps), completed=self.step, width=min(room, BAR[1]))
        cut = max(1, cells(name) + room + 2)
        title = Text(name, style="bold", no_wrap=True)
        title.truncate(cut, overflow="ellipsis")
        parts: list[RenderableType] = [title, bar, *told] if room >= BAR[0] else [title, *told]
        for _ in parts:
            head.add_column(no_wrap=True)
        head.add_row(*parts)
        return head

    def _doing(self) -> str:
        name, done, total = self.current
        if not name:
            return "starting"
        elapsed = time.monotonic() - self.phase_started
        since = done - self.phase_from  # a count may go on where another phase came between
        rate = f"  {since / elapsed:,.1f}/s" if since and elapsed > 0.2 else ""
        return f"{PHASES.get(name, name)} {done:,}/{total:,}{rate}" if total else PHASES.get(name, name)


def _short(text: str, most: int) -> str:
    """Returns one line of a text, its end left out."""
    line = " ↵ ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= most else line[: most - 1] + "…"


def clock(seconds: float) -> str:
    """Returns ``4:07``, or ``1:04:07`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
