"""This module is the command line. Top-level help is plain text: nothing heavy is imported before a command needs
it."""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes")
MEANT = {
    **dict.fromkeys(("train", "fit", "finetune", "rl", "launch", "start"), "run"),
    **dict.fromkeys(("eval", "test", "bench", "benchmark", "score"), "evaluate"),
    **dict.fromkeys(("infer", "generate", "sample", "ask", "talk"), "chat"),
    **dict.fromkeys(("merge", "save", "quantize", "gguf"), "export"),
    **dict.fromkeys(("upload", "publish"), "push"),
    **dict.fromkeys(("download", "pull", "get"), "fetch"),
    **dict.fromkeys(("validate", "dry_run", "dry-run", "plan"), "check"),
    **dict.fromkeys(("dashboard", "ui", "tensorboard", "studio"), "view"),
    **dict.fromkeys(("init", "create", "scaffold"), "new"),
    **dict.fromkeys(("continue",), "resume"),
    **dict.fromkeys(("ls", "runs"), "list"),
    **dict.fromkeys(("import", "translate", "migrate"), "convert"),
    **dict.fromkeys(("env", "info", "diagnose"), "doctor"),
    **dict.fromkeys(("api", "server"), "serve"),
}
"""Words of other systems, and what is meant here."""
COMMANDS = {
    "run": "train: a recipe file, or a method by its name on your model and data; continues a stopped run",
    "check": "what a recipe would do, and what would break, before anything is spent",
    "evaluate": "greedy accuracy, pass@k and maj@k of any model directory, with intervals",
    "view": "look at runs in the browser, live: curves, every rollout, every token, what if",
    "compare": "runs side by side at an equal budget, seeds together, with intervals; --html writes a page",
    "report": "a run as one file to look at, at any time: finished, stopped or at work",
    "list": "the runs below a directory: how far, and what they found",
    "resume": "go on with a stopped run: only its directory is needed",
    "export": "a run's model, adapter, rollouts and metrics as files for others",
    "push": "a model to the hub, with a card that holds its evaluation",
    "chat": "talk to a model in the terminal; --against another, side by side",
    "serve": "OpenAI's interface over a model: run any agent program, keep its conversations as rollouts",
    "fetch": "a small real chat model, or any GGUF file, as a directory to train",
    "convert": "a script of TRL, verl or OpenRLHF as a recipe, and what of it has no place",
    "new": "write a small task of your own: data, reward, recipe, test, all running",
    "explain": "what a method does to each token: its formula, every number, and in words",
    "audit": "does a reward reward what it should: false positives, false negatives, hostile answers",
    "doctor": "doctor machine: what this machine has, what is slower on it, and why",
    "corpus": "a training corpus out of a web crawl; benchmark questions kept out of any data",
    "methods": "the methods that ship, a line each",
}

UNWRITABLE = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO),
)
"""What a user mends by writing elsewhere."""
LONGEST_LINE = 120
"""Columns."""
SUMMARY = "Post-trains language models with reinforcement learning, centred on GRPO."
HELP = """usage: groupwise COMMAND ...

{summary}

commands:
{commands}

examples:
  groupwise run examples/quickstart.py
  groupwise run grpo --model PATH --data train.jsonl --reward math
  groupwise evaluate PATH --task stepwise:1

groupwise COMMAND --help tells more of each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 done, 1 a fault of ours (with a traceback), 2 something the user can mend, 130
    interrupted."""
    from groupwise.output.encoding import standard_streams_write_any_letter
    from groupwise.output.standard import abandon, write_out

    standard_streams_write_any_letter()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _answer(arguments)
        write_out()
        return code
    except OSError as error:
        abandon()
        if isinstance(error, BrokenPipeError):
            return 0
        return _say_unwritable(error, arguments)


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if arguments[0] in ("-V", "--version"):
        from groupwise.values.version import __version__

        print(f"groupwise {__version__}")
        return 0
    return _run_command(arguments[0], arguments[1:])


def _say_unwritable(error: OSError, arguments: list[str]) -> int:
    """Says in a line what a user mends by writing elsewhere, and raises whatever else it is. What is printed goes to no
    file that has a name here."""
    from groupwise.output.printable import visible

    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if error.errno not in UNWRITABLE or (error.filename is None and not full):
        raise error
    program = " ".join(["groupwise", *arguments[:1]])
    why = f"{error.filename}: {error.strerror}; choose another place"
    if error.filename is None:
        why = f"what it prints can't be written ({error.strerror}); make room there, or print to another place"
    print(visible(f"{program}: {why}"), file=sys.stderr)
    return 2


def _help() -> str:
    from groupwise.output.columns import hanging, room

    columns = room(LONGEST_LINE)
    lines = [hanging(f"  {name:<10} ", summary, columns) for name, summary in COMMANDS.items()]
    return HELP.format(summary=hanging("", SUMMARY, columns), commands="\n".join(lines))


def _run_command(name: str, arguments: list[str]) -> int:
    from groupwise.output.printable import visible

    if name not in COMMANDS:
        near = [MEANT[name]] if name in MEANT else difflib.get_close_matches(name, COMMANDS, n=1)
        near = [f"run {name}"] if name.isidentifier() and (RECIPES / f"{name}.py").is_file() else near
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


if __name__ == "__main__":
    sys.exit(main())
