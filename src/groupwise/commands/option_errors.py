"""This module says in one line what is wrong with the value of an option, out of what tyro says in a box."""

from __future__ import annotations

import ast
import itertools
import re

MORE = "; --help lists the options"
KINDS = {
    "invalid literal for int() with base 10: ": "a whole number",
    "could not convert string to float: ": "a number",
}
"""How Python says that a word is none, and what was expected."""
UNREADABLE = re.compile(r"Error parsing (\S+): ")
TUPLE = re.compile(r"Error parsing (\S+): Could not parse arguments (\[[^\]]*\]) into tuple type (.*)")
NO_CHOICE = re.compile(r"invalid choice ('[^']*') for argument '(\S+)'\. Expected one of (\(.*\))")


def told(box: str) -> str:
    """Returns the one line."""
    text = _unboxed(box)
    option = UNREADABLE.match(text)
    for words, expected in KINDS.items():
        if option and text[option.end() :].startswith(words):
            return f"{option[1]} is {text[option.end() + len(words) :]}; expected {expected}"
    several = TUPLE.match(text)
    if several and ("int" in several[3] or "float" in several[3]) and (values := _values(several[2])):
        given = " ".join(values)
        return f"{several[1]} is {given}; expected {'' if 'float' in several[3] else 'whole '}numbers"
    choice = NO_CHOICE.match(text)
    if choice and (names := _values(choice[3])):
        return f"{choice[2]} is {choice[1]}; expected {' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}"
    return text + MORE


def _values(text: str) -> list[str]:
    """Returns what a list or a tuple holds that tyro shows as Python writes it; nothing where a line of the box ended
    amid an escape."""
    try:
        return [str(each) for each in ast.literal_eval(text)]
    except (SyntaxError, ValueError):
        return []


def _unboxed(text: str) -> str:
    """The first paragraph of a box, under its title; rules are of other characters where output is not Unicode."""
    lines = [line.strip("│| ") for line in text.splitlines()[1:]]
    paragraph = itertools.takewhile(_has_words, itertools.dropwhile(lambda line: not _has_words(line), lines))
    return " ".join(paragraph).rstrip(".")


def _has_words(line: str) -> bool:
    return any(letter.isalnum() for letter in line)
