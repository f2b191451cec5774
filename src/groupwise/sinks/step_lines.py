"""The steps of a stage as a table in the terminal: one header, aligned numbers, and as many columns as fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from groupwise.output.printable import visible

COLUMNS = {
    "reward": ("reward", "{:.3f}"),
    "eval/accuracy": ("held-out", "{:.3f}"),
    "mean_token_accuracy": ("token acc", "{:.3f}"),
    "loss": ("loss", "{:.4f}"),
    "completions/clipped_ratio": ("truncated", "{:.0%}"),
    "skipped_updates": ("skipped", "{:.0f}"),
    "empty_updates": ("empty", "{:.0f}"),
    "completions/unscored": ("unscored", "{:.0f}"),
    "frac_reward_zero_std": ("no signal", "{:.0%}"),
    "kl": ("kl", "{:.4f}"),
    "entropy": ("entropy", "{:.3f}"),
    "completions/mean_length": ("length", "{:.0f}"),
    "turns": ("turns", "{:.2f}"),
    "tools/calls": ("calls", "{:.2f}"),
    "value_loss": ("value loss", "{:.4f}"),
    "groups_dropped": ("dropped", "{:.0f}"),
    "groups_short": ("short", "{:.0f}"),
    "tokens_per_second/sample": ("sample tok/s", "{:,.0f}"),
    "tokens_per_second/train": ("train tok/s", "{:,.0f}"),
}
"""Metric -> title and form of its column, from left to right: the ones that a run must never hide (truncation, skips)
stand far from the right, where columns are left out."""

ONLY_IF_ABOVE_ZERO = (
    "groups_dropped",
    "groups_short",
    "completions/unscored",
    "completions/clipped_ratio",
    "skipped_updates",
    "empty_updates",
)
"""They get a column at the first step at which they are above 0, and the header stands again only for that."""

GAP = 2
LONGEST_TITLE = 16
HUGE = 1e15
BEHIND_REWARD = 0.5


@dataclass
class StepTable:
    """The columns that a stage has shown so far. A column that came stays, so that numbers stand below each other."""

    stage: str
    steps: int
    titles: dict[str, str] = field(default_factory=dict, init=False)
    """Of each metric that has a column."""
    widths: dict[str, int] = field(default_factory=dict, init=False)

    def add(self, values: Mapping[str, float]) -> None:
        """Makes the columns that a step needs."""
        for name, (title, _) in _present(values, "reward" in self.titles).items():
            self.titles.setdefault(name, title)
            widest = max(cells(title), cells(_text(name, values)))
            self.widths[name] = max(self.widths.get(name, 0), widest)

    def header(self, width: int) -> str:
        """The titles of the columns that fit into ``width``."""
        return self._joined(_one_line(self.stage), {name: self.titles[name] for name in self._fitting(width)})

    def row(self, step: int, values: Mapping[str, float], width: int) -> str:
        """The numbers of a step below them; empty where it has none."""
        shown = {name: _text(name, values) if name in values else "" for name in self._fitting(width)}
        return self._joined(f"{step:>{len(str(self.steps))}}/{self.steps}", shown)

    @property
    def _first(self) -> int:
        """The width of the column of the steps."""
        return max(cells(_one_line(self.stage)), 2 * len(str(self.steps)) + 1)

    def _fitting(self, width: int) -> list[str]:
        """Metrics from left to right, those on the right left out; one stands there in any case."""
        names, left = sorted(self.titles, key=_place), width - self._first
        fitting: list[str] = []
        for name in names:
            left -= GAP + self.widths[name]
            if left < 0 and fitting:
                break
            fitting.append(name)
        return fitting

    def _joined(self, first: str, shown: Mapping[str, str]) -> str:
        texts = [(first, self._first), *((text, self.widths[name]) for name, text in shown.items())]
        return (" " * GAP).join(" " * (width - cells(text)) + text for text, width in texts).rstrip()


def not_finite(values: Mapping[str, float]) -> str:
    """Says in words what the updates that a step left out had in them; empty where none was left out."""
    kinds = [name.partition("/")[2] for name in values if name.startswith("skipped_updates/")]
    return f"not finite: {', '.join(kinds)}" if kinds else ""


def cells(text: str) -> int:
    """Counts how many places of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int) -> list[str]:
    """A line broken at spaces only: a word that is wider than the terminal, such as a path, stays whole."""
    lines, present = [], ""
    for word in re.findall(r"\s*\S+|\s+$", text):
        if present and cells(present + word) > width:
            lines.append(present)
            word = word.lstrip()
        else:
            word = present + word
        present = word
    return [*lines, present]


def _present(values: Mapping[str, float], has_reward: bool) -> dict[str, tuple[str, str]]:
    """The metrics of a step that are worth a column, with title and form.

    The loss is not where there is a reward: group-relative advantages sum to zero, and so does it, whatever is learned.
    """
    idle = {name for name in ONLY_IF_ABOVE_ZERO if not values.get(name)}
    idle |= {"loss"} if has_reward or "reward" in values else set()
    found = {name: column for name, column in COLUMNS.items() if name in values and name not in idle}
    return found | _each_reward(values)


def _each_reward(values: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    """The mean of each reward by itself, before its weight, where there are several."""
    means = [name for name in values if name.startswith("rewards/") and name.endswith("/mean")]
    means = [name for name in means if name != "rewards/mean"]
    if len(means) < 2:
        return {}
    titles = {name: _title(name.removeprefix("rewards/").removesuffix("/mean")) for name in means}
    taken = {title for title, _ in COLUMNS.values()}
    return {name: (f"{title} reward" if title in taken else title, "{:.3f}") for name, title in titles.items()}


def _title(name: str) -> str:
    """A reward's name, shortened in its middle: what tells two apart may stand at either end."""
    name = _one_line(name)
    half = LONGEST_TITLE // 2
    return name if cells(name) <= LONGEST_TITLE else f"{name[: half - 1]}…{name[-half:]}"


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())


def _place(name: str) -> float:
    """Returns a column's place: each reward stands behind their weighted sum."""
    order: Sequence[str] = list(COLUMNS)
    return float(order.index(name)) if name in COLUMNS else BEHIND_REWARD


def _text(name: str, values: Mapping[str, float]) -> str:
    """A number of hundreds of digits in its exponent's form."""
    value, form = values[name], COLUMNS.get(name, ("", "{:.3f}"))[1]
    return f"{value:.3g}" if abs(value) >= HUGE else form.format(value)
