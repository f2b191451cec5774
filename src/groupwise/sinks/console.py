"""The terminal: a live display of what is being done, or plain lines where nobody watches."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.types import Group
from groupwise.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

SHOWN = {
    "reward": ("reward", "{:.3f}"),
    "eval/accuracy": ("held-out", "{:.3f}"),
    "mean_token_accuracy": ("token accuracy", "{:.3f}"),
    "loss": ("loss", "{:.4f}"),
    "kl": ("kl", "{:.4f}"),
    "value_loss": ("value loss", "{:.4f}"),
    "entropy": ("entropy", "{:.3f}"),
    "completions/mean_length": ("length", "{:.0f}"),
    "frac_reward_zero_std": ("no signal", "{:.0%}"),
    "groups_dropped": ("dropped groups", "{:.0f}"),
    "groups_short": ("short by", "{:.0f} groups"),
    "completions/unscored": ("without reward", "{:.0f}"),
    "completions/clipped_ratio": ("truncated", "{:.0%}"),
    "skipped_updates": ("skipped updates", "{:.0f}"),
    "empty_updates": ("updates with nothing to learn from", "{:.0f}"),
    "tokens_per_second/sample": ("sampled", "{:,.0f} tokens/s"),
    "tokens_per_second/train": ("trained", "{:,.0f} tokens/s"),
}
"""Metric -> how the line names and prints it. What a run must never hide (truncation, skips) appears when above 0."""

ONLY_IF_ABOVE_ZERO = (
    "groups_dropped",
    "groups_short",
    "completions/unscored",
    "completions/clipped_ratio",
    "skipped_updates",
    "empty_updates",
    "kl",
)
PHASES = {
    "sample": "sampling",
    "continue": "continuing steps",
    "gather": "gathering prompts",
    "reward": "scoring",
    "train": "training",
    "evaluate": "evaluating",
}
LINES_PER_STAGE = 20
HUGE = 1e15


class Terminal:
    """Follows a run in the terminal. ``live`` None: live where the console is a terminal and NO_COLOR is not set."""

    def __init__(self, run: str, console: Console | None = None, live: bool | None = None) -> None:
        from rich.console import Console

        self.run = run
        self.console = console or Console(highlight=False)
        self.is_live = self.console.is_terminal and not os.environ.get("NO_COLOR") if live is None else live
        self.name, self.steps, self.start, self.step = "", 0, 0, 0
        self.stage_started = self.phase_started = time.monotonic()
        self.phase_from = 0
        self.current: tuple[str, int, int] = ("", 0, 0)
        self.newest: Mapping[str, float] = {}
        self.live: Live | None = None

    def stage(self, name: str, steps: int, start: int) -> None:
        self.name, self.steps, self.start, self.step = name, steps, start, start
        self.stage_started, self.current, self.newest = time.monotonic(), ("", 0, 0), {}
        self.note(f"{self.run} · {name}: {steps} steps" + (f", continued after step {start}" if start else ""))
        self._go_live()

    def phase(self, name: str, done: int, total: int) -> None:
        if name != self.current[0] or done < self.current[1]:
            self.phase_started, self.phase_from = time.monotonic(), done
        self.current = (name, done, total)
        self._go_live()

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.step, self.newest = step, values
        every = max(1, self.steps // LINES_PER_STAGE)
        if step % every == 0 or step in (self.start + 1, self.steps) or "eval/accuracy" in values:
            self.note(f"{stage} {step:>{len(str(self.steps))}}/{self.steps}  {line(values)}")

    def groups(self, stage: str, step: int, groups: Sequence[Group], coefficients: Sequence[Sequence[float]]) -> None:
        """Not shown: the report paints them."""

    def note(self, text: str) -> None:
        """Nothing in it is markup, and nothing a terminal would obey."""
        self.console.print(visible(text), markup=False, emoji=False, soft_wrap=True)

    def close(self, summary: Mapping[str, Any]) -> None:
        if self.live:
            self.live.stop()
            self.live = None
        for name, value in summary.items():
            self.note(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")

    def _go_live(self) -> None:
        from rich.live import Live

        if self.is_live and not self.live:
            self.live = Live(get_renderable=self._display, console=self.console, refresh_per_second=8, transient=True)
            self.live.start()

    def _display(self) -> RenderableType:
        from rich.console import Group as Rows
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = time.monotonic() - self.stage_started
        done = self.step - self.start
        left = elapsed / done * (self.steps - self.step) if done else None
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"{self.run} · {self.name}" if self.name else self.run, style="bold"),
            ProgressBar(total=max(1, self.steps), completed=self.step, width=28),
            f"step {self.step}/{self.steps}",
            f"{clock(elapsed)} gone" + (f", {clock(left)} left" if left is not None else ""),
        )
        rows: list[RenderableType] = [head, Text(self._doing(), style="cyan", no_wrap=True, overflow="ellipsis")]
        if self.newest:
            rows.append(Text(line(self.newest), style="dim", no_wrap=True, overflow="ellipsis"))
        return Rows(*rows)

    def _doing(self) -> str:
        name, done, total = self.current
        if not name:
            return "starting"
        elapsed = time.monotonic() - self.phase_started
        since = done - self.phase_from  # a count may go on where another phase came between
        rate = f"  {since / elapsed:,.1f}/s" if since and elapsed > 0.2 else ""
        return f"{PHASES.get(name, name)} {done:,}/{total:,}{rate}" if total else PHASES.get(name, name)


def line(values: Mapping[str, float]) -> str:
    """The key metrics of one step, in a fixed order; one that is absent is left out.

    So is the loss where there is a reward: group-relative advantages sum to zero, and so does it, whatever is learned.
    """
    idle = {name for name in ONLY_IF_ABOVE_ZERO if not values.get(name)} | ({"loss"} if "reward" in values else set())
    shown = [name for name in SHOWN if name in values and name not in idle]
    parts = [f"{SHOWN[name][0]} {_printed(values[name], SHOWN[name][1])}" for name in shown]
    parts[1 if "reward" in shown else 0 : 1 if "reward" in shown else 0] = _each_reward(values)
    kinds = [name.partition("/")[2] for name in values if name.startswith("skipped_updates/")]
    return "  ".join(parts + [f"(not finite: {', '.join(kinds)})"] * bool(kinds))


def _printed(value: float, form: str = "{:.3f}") -> str:
    """A number of hundreds of digits in its exponent's form."""
    return f"{value:.3g}" if abs(value) >= HUGE else form.format(value)


def _each_reward(values: Mapping[str, float]) -> list[str]:
    """The mean of each reward by itself, before its weight, where there are several."""
    names = {name: name.removeprefix("rewards/").removesuffix("/mean") for name in values}
    means = [f"{short} {_printed(values[name])}" for name, short in names.items() if name == f"rewards/{short}/mean"]
    return means if len(means) > 1 else []


def clock(seconds: float) -> str:
    """``4:07``, or ``1:04:07`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
