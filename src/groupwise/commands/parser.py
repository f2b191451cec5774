"""The options of every command: one style, and one line for a mistake."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from groupwise.commands.flags import flags_of, refuse_twice, underscored
from groupwise.errors import UserError
from groupwise.output.columns import hanging, room

RUN = "groupwise run"
LONGEST_LINE = 110
"""Columns of help."""
REWARDS = (
    "math[:TOLERANCE], answer, code, format[:PATTERN], length[:TOKENS], a published rule (gsm8k, deepseekmath, tora, "
    "pal, math_verify), process:DIR, outcome:DIR, FILE.py:function, module:function"
)
"""What a reward can be called on the command line (``rewards.by_name``)."""
WEIGHT = "its weight after a star: 'math*0.5'"
JUDGE = "the reward that says what is right (the first): one of them, or another, which is then no part of the reward"

MEANT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("limit", "num_problems", "max_samples", "num_examples"), ("--problems", "--limit")),
    **dict.fromkeys(("k", "n", "num_samples", "n_samples", "n_repeats"), ("--samples",)),
    **dict.fromkeys(("max_new_tokens", "max_tokens", "max_gen_toks", "max_length"), ("--max_completion_tokens",)),
    **dict.fromkeys(("num_fewshot", "fewshot", "few_shot"), ("--shots",)),
    **dict.fromkeys(("tasks", "benchmark", "benchmarks", "dataset"), ("--task", "--data")),
    **dict.fromkeys(("output_path", "output", "save", "results"), ("--json", "--out")),
    **dict.fromkeys(("output_dir", "o"), ("--out", "--json")),
    **dict.fromkeys(("system_prompt", "system_instruction"), ("--system",)),
    **dict.fromkeys(("base", "baseline", "versus"), ("--against",)),
    "metric": ("--reward",),
}
"""Words of lm-eval and others, and the options that are meant where a command has them."""


def refuse_other_name(words: Sequence[str], option: str) -> None:
    """Raises UserError where a word is another system's name for an option that is missing."""
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    if other := next((name for name in names if option in MEANT.get(name.lstrip("-"), ())), None):
        raise UserError(f"unknown option {other}: perhaps you meant {option}")


def parser(name: str, description: str, examples: str, usage: str | None = None) -> argparse.ArgumentParser:
    """Makes an argument parser in the style of every command: a summary, the options, examples; errors as UserError."""
    made = _Parser(
        prog=f"groupwise {name}",
        description="\n".join(hanging("", line, room(LONGEST_LINE)) for line in description.splitlines()),
        epilog=f"examples:\n{examples}",
        usage=usage,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    return made


def _formatter(prog: str) -> argparse.HelpFormatter:
    columns = room(LONGEST_LINE)
    place = 34 if columns > 80 else 24
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=place, width=columns)


class _Parser(argparse.ArgumentParser):
    """Dashes and underscores alike in the names of options; one line for a mistake, with the nearest name."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        words = [underscored(word) for word in args or ()]
        self._refuse_twice(words)
        return super().parse_known_args(words, namespace)

    def _refuse_twice(self, words: Sequence[str]) -> None:
        """An option that takes one value would forget the first without a word."""
        known = self._option_string_actions
        mine = [flag for flag in flags_of(words)[1] if f"--{flag.name}" in known]
        several = argparse._AppendAction | argparse._StoreTrueAction
        refuse_twice(mine, [flag.name for flag in mine if isinstance(known[f"--{flag.name}"], several)])

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        chosen, rest = self.parse_known_args(args, namespace)
        unknown = next((word for word in rest if word.startswith("-")), None)
        if unknown is not None:
            from groupwise.foreign import explain

            name, known = unknown.partition("=")[0], self._option_string_actions
            meant = next((each for each in MEANT.get(name.lstrip("-"), ()) if each in known), None)
            near = [meant] if meant else difflib.get_close_matches(name, known, n=1)
            suggestion = f": perhaps you meant {near[0]}" if near else ""
            elsewhere = "" if meant else explain(rest[rest.index(unknown) :], known, RUN)
            self.error(f"unknown option {name}{elsewhere or suggestion}")
        if rest:
            self.error(f"unexpected {rest[0]!r}")
        return chosen

    def error(self, message: str):  # type: ignore[no-untyped-def]
        raise UserError(f"{message}; {self.prog} --help lists the options")
