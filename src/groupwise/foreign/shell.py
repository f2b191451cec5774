"""This module reads command lines of other systems: of a shell script, whose variables are put in and which is not run,
or as typed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

import yaml

from groupwise.errors import UserError
from groupwise.foreign.literals import Unknown, value_of
from groupwise.foreign.other_names import ELSEWHERE
from groupwise.foreign.script import Script, Setting
from groupwise.foreign.table import entries_of

VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^{}]*))?\}|(\w+))")
ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
MOST_DEPTH = 10
DOTTED = re.compile(r"[+~]*\w+\.")
LEADING = ("export", "local", "declare", "readonly", "if", "then", "else", "elif", "for", "while", "do", "case")
ARITHMETIC = re.compile(r"\$\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\)")
ENDS = {";", "&&", "||", "|", "&"}
TRL_TRAINERS = {"grpo": "GRPO", "rloo": "RLOO", "dpo": "DPO", "sft": "SFT", "reward": "Reward"}
OPENRLHF_TRAINERS = {"train_ppo_ray": "PPO", "train_dpo": "DPO", "train_sft": "SFT", "train_rm": "Reward"}


def read_shell(text: str, path: str) -> Script:
    """Reads the first training command of a script. Raises UserError where there is none."""
    variables: dict[str, str] = {}
    depth = 0
    for words in _commands(text, path):
        words = [_put_in(word, variables) for word in words]
        while words and words[0] in LEADING:
            depth += {"if": 1, "for": 1, "while": 1, "case": 1}.get(words[0], 0)
            words = words[1:]
        depth -= bool(words and words[0] in ("fi", "done", "esac"))
        while words and (found := ASSIGNED.fullmatch(words[0])):
            variables[found[1]] = found[2]
            if depth:
                del variables[found[1]]  # what it is depends on a condition
            words = words[1:]
        # A list of overrides may be a variable itself: split what was put in.
        words = [part for word in words for part in (word.split() if " --" in word or word.count("=") > 1 else [word])]
        script = command(words)
        if script is not None:
            return script
        if (system := _elsewhere(words)) is not None:
            raise UserError(
                f"{path}: a command of {system}, which convert does not read; expected one of TRL, verl or OpenRLHF: "
                "begin with groupwise new NAME, or a method, whose unknown options say what they are here"
            )
    raise UserError(
        f"{path}: no training command was found; expected trl grpo ..., python -m verl.trainer.main_ppo ... or "
        "python -m openrlhf.cli.train_ppo_ray ..."
    )


def _elsewhere(words: Sequence[str]) -> str | None:
    """The system whose command it is, of those that have no table."""
    names = (word.rpartition("/")[2].removesuffix(".py") for word in words[:6] if not word.startswith("-"))
    return next((ELSEWHERE[name] for name in names if name in ELSEWHERE), None)


def command(words: Sequence[str]) -> Script | None:
    """A training command as it is typed, with whatever launches it before it; None where it is none."""
    for place, word in enumerate(words):
        name = word.rpartition("/")[2].removesuffix(".py").rpartition(".")[2]
        before, rest = words[:place], words[place + 1 :]
        if "verl.trainer" in word or name in ("main_ppo", "sft_trainer", "fsdp_sft_trainer", "main_dapo"):
            return overrides(rest, "SFT" if "sft" in name else "")
        if "openrlhf.cli" in word and name in OPENRLHF_TRAINERS:
            return _flags("OpenRLHF", OPENRLHF_TRAINERS[name], rest, before)
        if name in TRL_TRAINERS and (word.endswith(".py") or (place and words[place - 1].rpartition("/")[2] == "trl")):
            return _flags("TRL", TRL_TRAINERS[name], rest, before)
    nested = [word for word in words if DOTTED.match(word)]
    if words and all("=" in word for word in words) and any(entries_of(word, ("verl",)) for word in nested):
        return overrides(words)
    return None


def overrides(words: Sequence[str], trainer: str = "") -> Script:
    """Reads verl's ``a.b=c``, ``+a.b=c`` and ``++a.b=c``; ``~a.b`` takes one away."""
    settings: list[Setting] = []
    unread = []
    for word in words:
        name, equals, value = word.lstrip("+").partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][\w.@/]*", name):
            if "$" in value or "`" in value:
                unread.append(f"{name}={value}: a variable that the script does not set")
            else:
                settings.append(Setting(name, plain_value(value)))
        elif word.startswith("--config"):
            unread.append(f"{word}: the configuration file that the command reads; convert it too")
        elif word in ("@", "$@", "${@}") or word.startswith(("2>", ">", "~")):
            continue
        elif word:
            unread.append(f"{word}: not of the form a.b=c")
    names = {setting.name.partition(".")[0] for setting in settings}
    trainer = trainer or ("SFT" if "actor_rollout_ref" not in names and "optim" in names else "PPO")
    return Script("verl", trainer, settings, unread=unread)


def plain_value(text: str) -> object:
    """Reads a value as YAML reads it: a number, true, null, a list; else the text."""
    bare = text.strip()
    try:
        found = yaml.safe_load(bare) if len(bare) < 10_000 else bare
    except (yaml.YAMLError, RecursionError, ValueError):
        return bare
    return number(found)


def number(value: object) -> object:
    """Reads a number, since YAML takes 1e-6 for a text."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d++\.?\d*+|\.\d++)[eE][+-]?\d+", value):
        return float(value)
    return value


def _flags(system: str, trainer: str, words: Sequence[str], before: Sequence[str]) -> Script:
    """``--name value``, ``--name=value``, ``--name a b c`` and ``--name`` alone."""
    settings: list[Setting] = []
    unread = []
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        at += 1
        if not name.startswith("--"):
            unread += [] if name.startswith((">", "2>")) or name in ("$@", "@") else [f"{name}: not an option"]
            continue
        values = [value] if equals else []
        while not equals and at < len(words) and not re.match(r"--[A-Za-z]", words[at]):
            values.append(words[at])
            at += 1
        given = [plain_value(each) for each in values]
        plain = name.lstrip("-").replace("-", "_")
        if any("$" in each for each in values):
            unread.append(f"{name} {' '.join(values)}: a variable that the script does not set")
        elif plain == "config":
            unread.append(f"--config {' '.join(values)}: the configuration file that the command reads; convert it too")
        else:
            settings.append(Setting(plain, True if not given else given[0] if len(given) == 1 else given))
    return Script(system, trainer, settings, unread=unread, devices=_devices(before))


def _devices(words: Sequence[str]) -> int:
    """What ``accelerate launch --num_processes 4`` or ``torchrun --nproc_per_node=4`` says."""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name.lstrip("-").replace("-", "_") in ("num_processes", "nproc_per_node", "num_gpus"):
            given = value if equals else after
            return int(given) if given.isdecimal() and len(given) < 9 and 0 < int(given) < 100_000 else 1
    return 1


def _commands(text: str, path: str) -> Iterator[list[str]]:
    """Each command's words; quotes are taken off, comments left out, and lines that end in a backslash joined."""
    joined = re.sub(r"\\\r?\n", " ", text).replace("\n", "\n\n")  # a comment takes the end of its line with it
    joined = ARITHMETIC.sub(lambda match: re.sub(r"\s", "", match[0]), joined)
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=";&|\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    words: list[str] = []
    try:
        for word in lexer:
            if word.strip(" \t\r") and (set(word) <= {"\n", ";", "&", "|"} or word in ENDS):
                yield words
                words = []
            else:
                words.append(word)
    except ValueError as error:
        raise UserError(f"{path}: not a shell script that can be read ({error}); check its quotes") from error
    yield words


def _put_in(word: str, variables: Mapping[str, str]) -> str:
    """``$NAME``, ``${NAME}`` and ``${NAME:-default}`` by the script's own values; HOME is ``~``."""

    def found(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        if name == "HOME":
            return "~"
        return variables.get(name, match[2] if match[2] is not None else match[0])

    for _ in range(MOST_DEPTH):
        after = VARIABLE.sub(found, word)
        if after == word:
            break
        word = after
    return ARITHMETIC.sub(lambda match: _computed(match, variables), word)


def _computed(match: re.Match[str], variables: Mapping[str, str]) -> str:
    """``$((2 * n))``, in whole numbers; as it stands where it has no value."""
    try:
        tree = ast.parse(match[1].replace("/", "//"), mode="eval").body
        return str(int(value_of(tree, lambda name: int(variables[name]))))
    except (Unknown, KeyError, ValueError, TypeError, SyntaxError, RecursionError):
        return match[0]
