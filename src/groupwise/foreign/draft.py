"""A draft is a recipe under way: what of a script has found its place, what has not, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groupwise.errors import UserError
from groupwise.foreign.entry import Entry
from groupwise.foreign.script import DataPath, Script
from groupwise.foreign.table import entries_of
from groupwise.values.finite import is_finite

OFF: tuple[Any, ...] = (None, False, "", "none", "no", "null", [], {})


class Draft:
    """A draft is filled by the translator of one system, and written by ``recipe_text``."""

    def __init__(self, script: Script, method: str) -> None:
        self.script, self.method = script, method
        self.stage = "ppo" if method.endswith("_ppo") else "grpo" if script.trainer == "PPO" else script.trainer.lower()
        self.given: dict[str, Any] = {}
        self.where: dict[str, str] = {}
        for setting in script.settings:
            self.given[setting.name], self.where[setting.name] = setting.value, setting.where
        self.taken: set[str] = set()
        self.options: dict[str, str] = {}
        """Options of ``groupwise run`` without dashes, and their values as Python."""
        self.slots: dict[str, str] = {}
        """Slots of the algorithm, as Python."""
        self.rewards: list[str] = []
        self.model: str | None = None
        self.system: str | None = None
        self.data: DataPath | None = script.data
        self.held_out: DataPath | None = script.held_out
        self.columns: dict[str, str] = {}
        """``prompt_column`` and ``answer_column``."""
        self.limit: int | None = None
        self.steps = "100"
        self.assumed: list[str] = []
        self.unplaced: list[str] = []
        self.idle: list[str] = []
        """What was given and makes no difference."""

    def take(self, *names: str, default: Any = None) -> Any:
        """The value of the first name that was given; all of them count as used."""
        self.taken |= set(names)
        found = next((self.given[name] for name in names if name in self.given), None)
        return default if found is None else found

    def direct(self, *names: str) -> None:
        """Takes options whose value is ours as it is."""
        for name in names:
            if name in self.given and self.given[name] is not None:
                entry = next(entry for entry, _ in entries_of(name, (self.script.system,)) if entry.options)
                self.options[entry.options[0].lstrip("-")] = repr(self.take(name))
            self.taken.add(name)

    def number(self, *names: str, default: float = 0.0) -> float:
        """A value that must be a number; another counts as not read."""
        value = self.take(*names, default=default)
        if not is_finite(value):
            self.unplaced.append(f"{names[0]}={value}: expected a number, {default:g} is taken")
            return default
        return value

    def whole(self, *names: str, default: int = 0) -> int:
        """Returns a value that must be a whole number."""
        return int(self.number(*names, default=default))

    def count(self, *names: str, default: int) -> int:
        """Returns a whole number of at least 1. Raises UserError."""
        found = self.whole(*names, default=default)
        if found < 1:
            raise UserError(f"{names[0]}={found}; expected at least 1")
        return found

    def evaluate(self, length: int, samples: int = 1) -> None:
        """A plan for held-out rows, of answers as long as those that are trained on."""
        self.options |= {"evaluation.problems": "100", "evaluation.sampled_problems": "100" if samples > 1 else "0"}
        self.options |= {"evaluation.samples": str(samples), "evaluation.max_completion_tokens": str(length)}

    def assume(self, text: str) -> None:
        """Notes something that the recipe takes for granted; the same text is noted once."""
        if text not in self.assumed:
            self.assumed.append(text)

    def place_none(self, name: str, why: str) -> None:
        """Notes what was given and has no place, and why."""
        self.unplaced.append(f"{name}={short(self.given.get(name))}: {why}")

    def rest(self) -> None:
        """Notes what no translator took, by what the table says of it."""
        for name, value in self.given.items():
            if name in self.taken or value in OFF:
                continue
            entry = next(iter(self._entries(name)), None)
            if entry is None:
                self.place_none(name, f"no option of {self.script.system} that the table knows")
            elif entry.ours:
                self.place_none(
                    name, f"here {' '.join(entry.options) or entry.ours}: {entry.words or 'set it by hand'}"
                )
            else:
                self.place_none(name, entry.words)

    def _entries(self, name: str) -> Sequence[Entry]:
        found = [entry for entry, _ in entries_of(name, (self.script.system, "Unsloth"))]
        return [entry for entry in found if not entry.of or self.script.trainer in entry.of] or found


def passes(epochs: float, prompts: int, whole: bool) -> str:
    """Writes steps of so many passes over the rows, as Python; ``whole``: the rows that fill no step are left out."""
    one = f"(len(task.train) // {prompts})" if whole else f"math.ceil(len(task.train) / {prompts})"
    if float(epochs).is_integer():
        return f"max(1, {int(epochs)} * {one})" if epochs > 1 else f"max(1, {one.strip('()') if whole else one})"
    return f"max(1, math.ceil({epochs!r} * {one}))"


def shown(value: float) -> str:
    """A number with a point, as Python: 1e-06, 0.2, 3.0."""
    return repr(float(value))


def short(value: object) -> str:
    """A value in at most 60 letters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
