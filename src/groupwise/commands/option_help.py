"""This module prints the page of ``groupwise run RECIPE --help``.

It is one column at every width, and of at most 100 letters, since a longer line is not read.
"""

from __future__ import annotations

import pydoc
import shutil
import sys
import textwrap
from argparse import Action, ArgumentParser
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.commands.options import Options
from groupwise.commands.request import is_recipe_file

if TYPE_CHECKING:
    from groupwise.commands.request import Request
    from groupwise.runs.recipe import Run

MOST_WIDTH, LEAST_WIDTH, INDENT, COLUMN, SHORTEST = 100, 50, 2, 30, 47

MOST_USED = (
    "steps",
    "prompts_per_step",
    "source.group_size",
    "source.max_completion_tokens",
    "source.temperature",
    "learning_rate",
    "beta",
    "lora.rank",
)
"""Endings, in this order; before them stand the model, the data and the reward, behind them where results go."""

OWN_SELDOM = (
    *("prompt_column", "answer_column", "ignore_column", "structured_answers", "demonstrations", "turns"),
    *("ahead", "stream", "processes", "decontaminate", "benchmarks", "ray", "ray_servers", "ray_python"),
)
OWN_FIRST, OWN_LAST = ("model", "data", "reward"), ("out",)

IN_SHORT = {
    "steps": "How often prompts are drawn and learned from.",
    "prompts_per_step": "Prompts drawn together in a step.",
    "kl.coefficient": "β, the weight of the KL to the reference policy; 0: none.",
    "lora.rank": "Low-rank adapters of this rank in place of all parameters; 0: none.",
    "seed": "With the recipe, all that decides the result.",
}
"""What options say where their own words presuppose the class that they belong to."""

IN_A_LINE = {
    "model": "a model directory or hub name",
    "data": "jsonl, json, csv, parquet or hub name",
    "reward": "math, answer, code, FILE.py:function ...",
    "out": "the run's directory (runs/NAME)",
    "steps": "draws of prompts",
    "prompts_per_step": "prompts a draw",
    "source.group_size": "completions a prompt",
    "source.max_completion_tokens": "where completions are cut",
    "source.temperature": "in sampling and learning",
    "learning_rate": "AdamW's, after the warm-up",
    "kl.coefficient": "weight of the KL; 0: none",
    "objective.coefficient": "weight of the reference",
    "lora.rank": "rank of adapters; 0: none",
}
"""What the first box says, where every option has one line of at most 47 letters, its default included."""

SWITCHES = {
    "kl": ("coefficient", "target"),
    "whitening": ("unit",),
    "entropy": ("coefficient", "target"),
    "critic": ("network",),
    "reference": ("model", "refresh_every"),
    "lora": ("rank",),
}
"""A slot -> the options that turn it on; it is off where all of them have an idle value."""

IDLE = ("", "none", "0", "0.0", "''", '""')

_SELDOM = """
    advantage.ddof advantage.epsilon advantage.unscored advantage.whiten_rewards aggregation.count_empty
    checkpoints.keep_every checkpoints.keep_last critic.clip critic.coefficient critic.learning_rate_factor
    engine.max_rows engine.threads entropy.rate evaluation.during evaluation.during_samples evaluation.min_p
    evaluation.temperature evaluation.top_k evaluation.top_p kl.bound kl.horizon kl.place kl.target kl.weight
    learner.betas learner.checkpointing learner.max_grad_norm learner.optimizer_bits learner.threads
    learner.weight_decay learning_rate_floor long_prompts most_skipped_steps most_unscored objective.ceiling
    objective.dual schedule_steps select.calculations select.duplicates select.threshold source.greedy_baseline
    source.min_p source.models source.most_rounds source.replay_from source.top_k source.top_p start truncated
    unreadable_answers whitening.ddof whitening.epsilon whitening.shift
"""
SELDOM = frozenset(_SELDOM.split())
"""Endings of options that only ``--help_all`` lists."""


def show(recipe: Run, request: Request, own: ArgumentParser) -> None:
    """Prints the page for a recipe and the command's own options: on a terminal that it is too tall for, in a pager, so
    that its first lines are what is seen first."""
    lines = list(Page(Options(recipe), own, everything=request.help == "help_all").lines(request.subject))
    tall = len(lines) >= shutil.get_terminal_size((80, 24)).lines
    if tall and sys.stdin.isatty() and sys.stdout.isatty():
        pydoc.pager("\n".join(lines))
    else:
        print("\n".join(lines))


class Page:
    """The options of one recipe and of the command that runs it, as lines of text."""

    def __init__(self, options: Options, own: ArgumentParser, everything: bool) -> None:
        self.options, self.everything, self.program = options, everything, own.prog
        self.own = {
            action.option_strings[-1].removeprefix("--"): action for action in own._actions[1:] if action.option_strings
        }
        terminal = shutil.get_terminal_size((80, 24)).columns
        self.width = max(LEAST_WIDTH, min(MOST_WIDTH, terminal))
        self.first = self._most_used()

    def lines(self, subject: str) -> Iterator[str]:
        """Yields the lines of the whole page, from the usage to the examples."""
        example = " --model MODEL --data FILE" * ("model" in self.own) + " [options]"
        yield from self._wrapped(f"usage: {self.program} {subject}{example}")
        yield from self._about(subject)
        yield from self._box("most used", self._first_rows())
        yield ""
        yield from self._wrapped(
            "A name may be cut to any ending that is unique: --group_size is --algorithm.source.group_size. --options "
            "FILE.toml takes them all from a file."
        )
        yield from self._section("the command", self._own_rows())
        yield from self._sections()
        if not self.everything:
            hidden = len(self.options.actions) - len(self.shown()) + sum(name in self.own for name in OWN_SELDOM)
            yield f"\n{hidden} more: {self.program} {subject} --help_all"

    def shown(self) -> list[str]:
        """The recipe's options that the page has a row for."""
        rows = [name for names in self._groups().values() for name in names if not self._is_hidden(name)]
        return [*self.first, *rows]

    def _about(self, subject: str) -> Iterator[str]:
        """A method's first sentence; a recipe file has said itself what it is."""
        if not is_recipe_file(subject):
            from groupwise.commands.methods import canonical, documentation

            yield from ("", *self._wrapped(documentation(canonical(subject)).splitlines()[0]), "")

    def _most_used(self) -> list[str]:
        return [name for ending in MOST_USED for name in self.options.names.candidates(ending)]

    def _groups(self) -> dict[str, list[str]]:
        """The other options by what stands before their last dot; where data come from, before what is made of them."""
        groups: dict[str, list[str]] = {}
        for name in self.options.actions:
            if name not in self.first or self.everything:
                groups.setdefault(name.rpartition(".")[0], []).append(name)
        places = {prefix: place for place, prefix in enumerate(groups)}

        def place(prefix: str) -> tuple[int, bool]:
            before = prefix.removesuffix(".source")
            return (places.get(before, 0), True) if before != prefix else (places[prefix], False)

        return {prefix: groups[prefix] for prefix in sorted(groups, key=place)}

    def _first_rows(self) -> list[tuple[str, str]]:
        """Returns the first box, which has every option in one line."""
        own = [[self._own_row(name) for name in names if name in self.own] for names in (OWN_FIRST, OWN_LAST)]
        rows = [*own[0], *(self._row(name, self._briefest(name)) for name in self.first), *own[1]]
        names = [*(name for name in OWN_FIRST if name in self.own), *self.first]
        return [(row[0], self._in_a_line(name, row[1])) for name, row in zip([*names, *OWN_LAST], rows, strict=False)]

    def _in_a_line(self, name: str, text: str) -> str:
        words = next((words for ending, words in IN_A_LINE.items() if f".{name}".endswith(f".{ending}")), "")
        if not words:
            return textwrap.shorten(text, SHORTEST, placeholder=" ...")
        default = _default(self.options.actions[name]) if name in self.options.actions else ""
        return f"{words} (default: {default})" if default else words

    def _own_rows(self) -> list[tuple[str, str]]:
        seldom = () if self.everything else OWN_SELDOM
        whole = [name for name in OWN_FIRST if name in self.own and self._own_row(name)[1] != IN_A_LINE[name]]
        others = [name for name in self.own if name not in (*OWN_FIRST, *OWN_LAST, *seldom)]
        return [self._own_row(name) for name in (*whole, *others)]

    def _own_row(self, name: str) -> tuple[str, str]:
        action = self.own[name]
        value = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else "")
        return f"--{name} {value}".rstrip(), (action.help or "").replace("%%", "%")

    def _sections(self) -> Iterator[str]:
        """Yields slot after slot, and those that are off as a line each."""
        off = []
        for prefix, names in self._groups().items():
            if self._is_off(prefix) and not self.everything:
                switch = f"{prefix}.{SWITCHES[prefix.rpartition('.')[2]][0]}"
                off += [] if switch in self.first else [(_heading(prefix), f"off; {self._row(switch)[0]} turns it on")]
                continue
            yield from self._section(_heading(prefix), [self._row(name) for name in names if not self._is_hidden(name)])
        yield from self._section("slots that are off", off)

    def _is_off(self, prefix: str) -> bool:
        switches = [f"{prefix}.{name}" for name in SWITCHES.get(prefix.rpartition(".")[2], ())]
        known = [name for name in switches if name in self.options.actions]
        return bool(known) and all(_default(self.options.actions[name]) in IDLE for name in known)

    def _is_hidden(self, name: str) -> bool:
        if self.everything:
            return False
        prefix, _, last = name.rpartition(".")
        return last in SELDOM or f"{prefix.rpartition('.')[2]}.{last}" in SELDOM or self._is_off(prefix)

    def _row(self, name: str, spelling: str = "") -> tuple[str, str]:
        action = self.options.actions[name]
        spelling = spelling or (name if self.everything else self._named(name))
        text = " ".join(str(action.help).split()).replace("``", "")
        for ending, words in IN_SHORT.items():
            if f".{name}".endswith(f".{ending}"):
                text = f"{words} (default: {_default(action)})"
        return f"--{spelling} {action.metavar}", text

    def _briefest(self, name: str) -> str:
        """The field's word for it where there is one, else the shortest ending."""
        words = (word for word in ("beta", "lora") if self.options.names.candidates(word) == [name])
        return next(words, self.options.names.short(name))

    def _named(self, name: str) -> str:
        """Returns an option's slot and own name, behind the stage's where there are several."""
        parts = [part for part in name.split(".") if part != "algorithm"]
        spelling = ".".join(parts if len(parts) < 3 or parts[0] != "learner" else parts[1:])
        return spelling if self.options.names.candidates(spelling) == [name] else name

    def _section(self, title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
        if rows:
            yield from ("", title, *(line for row in rows for line in _entry(*row, self.width)))

    def _box(self, title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
        inner = self.width - 2
        yield f"╭─ {title} {'─' * (inner - len(title) - 3)}╮"
        for row in rows:
            for line in _entry(*row, inner - 1, indent=1):
                yield f"│{line:<{inner}}│"
        yield f"╰{'─' * inner}╯"

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(text, self.width, break_on_hyphens=False, break_long_words=False)


def _heading(prefix: str) -> str:
    return ".".join(part for part in prefix.split(".") if part != "algorithm") or "the run"


def _default(action: Action | Any) -> str:
    """Returns what an option is if it is not given, as its help has it."""
    _, mark, rest = " ".join(str(action.help).split()).partition("(default: ")
    return rest[:-1] if mark and rest.endswith(")") else ""


def _entry(option: str, text: str, width: int, indent: int = INDENT) -> Sequence[str]:
    """An option and what it does beside it, or under it where the name is long."""
    left = f"{' ' * indent}{option}"
    lines = textwrap.wrap(text, max(20, width - COLUMN), break_on_hyphens=False) or [""]
    if len(left) > COLUMN - 2:
        return [left, *(f"{' ' * COLUMN}{line}" for line in lines)]
    return [f"{left:<{COLUMN}}{lines[0]}".rstrip(), *(f"{' ' * COLUMN}{line}" for line in lines[1:])]
