"""This module keeps options as they were given: ``--NAME VALUE ...`` on the command line, or a key of an options
file."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from groupwise.errors import UserError

SHOWN_LETTERS = 60


@dataclass(frozen=True)
class Flag:
    """This is one option with its values, and where it stands."""

    name: str
    """Without the dashes before it: ``grpo.algorithm.kl.coefficient``."""
    values: tuple[str, ...]
    place: str = ""
    """The file, and the line where it is known; empty: the command line."""

    @property
    def words(self) -> list[str]:
        """Returns the words as a parser of the command line takes them; a single value may begin with a dash."""
        if len(self.values) == 1:
            return [f"--{self.name}={self.values[0]}"]
        return [f"--{self.name}", *self.values]

    @property
    def shown(self) -> str:
        """Returns its values for a message."""
        text = " ".join(self.values) or "nothing"
        return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 3]}..."

    @property
    def spelling(self) -> str:
        """Returns it as its writer sees it: ``--steps``, or ``run.toml: steps``."""
        return f"{self.place}: {self.name}" if self.place else f"--{self.name}"


def flags_of(words: Sequence[str]) -> tuple[list[str], list[Flag]]:
    """The words before the first option, and the options, each with the words up to the next."""
    before: list[str] = []
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if is_option(word):
            name, equals, value = underscored(word).partition("=")
            found.append((name.removeprefix("--"), [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            before.append(word)
    return before, [Flag(name, tuple(values)) for name, values in found]


def underscored(word: str) -> str:
    """Returns ``--dry-run=1`` as ``--dry_run=1``; what is no option stays as it is."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def is_option(word: str) -> bool:
    """Says whether a word names an option: ``--steps``, ``-x``; ``-1`` is a number, and ``-`` a file."""
    return word.startswith("--") or bool(re.fullmatch(r"-[A-Za-z]", word))


def words_of(flags: Iterable[Flag]) -> list[str]:
    """Does the inverse of ``flags_of``."""
    return [word for flag in flags for word in flag.words]


def refuse_twice(flags: Sequence[Flag], repeatable: Container[str] = ()) -> None:
    """Raises UserError where one place gives an option a second time: the first value would go unheard."""
    seen: dict[str, Flag] = {}
    for flag in flags:
        first = seen.setdefault(flag.name, flag)
        if first is not flag and flag.name not in repeatable:
            raise twice(first, flag)


def twice(first: Flag, second: Flag) -> UserError:
    """The error where two flags set one option."""
    if first.name != second.name:
        return UserError(
            f"{first.spelling} {first.shown} and {second.spelling} {second.shown} set one option; expected one of them"
        )
    return UserError(f"{first.spelling} is given twice, as {first.shown} and as {second.shown}; expected once")


def over(file: Sequence[Flag], line: Sequence[Flag]) -> list[Flag]:
    """The options of a file and of the command line, whose own stand in the place of the file's of the same name."""
    named = {flag.name for flag in line}
    return [*(flag for flag in file if flag.name not in named), *line]


def with_place(error: UserError, flags: Iterable[Flag]) -> UserError:
    """The same error, said of the file's key where a file gave the option that it names."""
    text = str(error)
    flag = next((flag for flag in flags if flag.place and re.search(rf"--{re.escape(flag.name)}(?![\w.])", text)), None)
    return error if flag is None else UserError(f"{flag.spelling}: {text}")
