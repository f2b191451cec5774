"""The command line. Top-level help is plain text: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "train: a recipe file, or a method by its name on your model and data; continues a stopped run",
    "check": "what a recipe would do, and what would break, before anything is spent",
    "evaluate": "greedy accuracy, pass@k and maj@k of any model directory, with intervals",
    "chat": "talk to a model in the terminal; --against another, side by side",
    "convert": "a script of TRL, verl or OpenRLHF as a recipe, and what of it has no place",
    "new": "write a small task of your own: data, reward, recipe, test, all running",
    "explain": "what a method does to each token: its formula, every number, and in words",
    "audit": "does a reward reward what it should: false positives, false negatives, hostile answers",
    "methods": "the methods that ship, a line each",
}

UNWRITABLE = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO),
)
"""What a user mends by writing elsewhere."""
RUN = "groupwise run"
REWARDS = (
    "math[:TOLERANCE], answer, code, format[:PATTERN], length[:TOKENS], a published rule (gsm8k, deepseekmath, tora, "
    "pal, math_verify), process:DIR, outcome:DIR, FILE.py:function, module:function"
)
"""What a reward can be called on the command line (``rewards.by_name``)."""
WEIGHT = "its weight after a star: 'math*0.5'"
JUDGE = "the reward that says what is right (the first): one of them, or another, which is then no part of the reward"

HELP = """usage: groupwise COMMAND ...

Post-trains language models with reinforcement learning, centred on GRPO.

commands:
{commands}

examples:
  groupwise run examples/quickstart.py
  groupwise run grpo --model PATH --data train.jsonl --reward math
  groupwise evaluate PATH --task stepwise

groupwise COMMAND --help tells more of each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 done, 1 a fault of ours (with a traceback), 2 something the user can mend, 130
    interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(commands="\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())), end="")
        return 0
    if arguments[0] in ("-V", "--version"):
        from groupwise import __version__

        print(f"groupwise {__version__}")
        return 0
    return _run_command(arguments[0], arguments[1:])


def _run_command(name: str, arguments: list[str]) -> int:
    from groupwise.visible import visible

    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f": perhaps you meant {near[0]}" if near else f"; there are {', '.join(COMMANDS)}"
        print(visible(f"groupwise: unknown command {name}{hint}"), file=sys.stderr)
        return 2
    from groupwise.errors import UserError

    command = importlib.import_module(f"groupwise.commands.{name}")
    try:
        return int(command.execute(arguments) or 0)
    except UserError as error:
        print(visible(f"groupwise {name}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"groupwise {name}: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return 0
        if error.errno not in UNWRITABLE or error.filename is None:
            raise
        print(visible(f"groupwise {name}: {error.filename}: {error.strerror}; choose another place"), file=sys.stderr)
        return 2


def parser(name: str, description: str, examples: str, usage: str | None = None) -> argparse.ArgumentParser:
    """An argument parser in the style of every command: a summary, the options, examples; errors as UserError."""
    made = _Parser(
        prog=f"groupwise {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        usage=usage,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
        allow_abbrev=False,
    )
    return made


def underscored(word: str) -> str:
    """``--dry-run=1`` as ``--dry_run=1``; what is no option stays as it is."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


class _Parser(argparse.ArgumentParser):
    """Dashes and underscores alike in the names of options; one line for a mistake, with the nearest name."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        words = [underscored(word) for word in args or ()]
        self._refuse_twice(words)
        return super().parse_known_args(words, namespace)

    def _refuse_twice(self, words: Sequence[str]) -> None:
        """An option that takes one value would forget the first without a word."""
        from groupwise.commands.flags import flags_of, refuse_twice

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
            near = difflib.get_close_matches(name, known, n=1)
            suggestion = f": perhaps you meant {near[0]}" if near else ""
            self.error(f"unknown option {name}{explain(rest[rest.index(unknown) :], known, RUN) or suggestion}")
        if rest:
            self.error(f"unexpected {rest[0]!r}")
        return chosen

    def error(self, message: str):  # type: ignore[no-untyped-def]
        from groupwise.errors import UserError

        raise UserError(f"{message}; {self.prog} --help lists the options")


if __name__ == "__main__":
    sys.exit(main())
