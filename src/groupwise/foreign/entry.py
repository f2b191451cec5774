"""This module has the entries of the table: what another system calls an option, and what it is here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Entry:
    """An entry is one thing that another system lets its user set."""

    system: str
    """TRL, verl, OpenRLHF or Unsloth."""
    names: tuple[str, ...]
    """As that system spells it, with the dots of nested ones; the present spelling first, older ones after it. One that
    ends in ``*`` stands for all that begin so."""
    ours: str
    """An option of ``groupwise run`` (``--steps``; several with a space between), or what a recipe says in Python;
    empty where there is no place for it."""
    words: str = ""
    """How its value becomes ours where it isn't the same, or why there is no place: a part of a sentence."""
    of: str = ""
    """The trainers to which it belongs where others mean something else by the name: ``DPO``."""
    value: Any = None
    """The one value of that option which this entry is about; None: every value."""
    topic: str = ""
    """The heading under which a page has it."""

    @property
    def options(self) -> tuple[str, ...]:
        """Returns ours that it becomes, where they are options."""
        return tuple(self.ours.split()) if self.ours.startswith("--") else ()


def option(names: str, ours: str, words: str = "", of: str = "") -> Entry:
    """Makes an entry whose value becomes that of an option, or of several. ``names`` and ``ours`` have spaces between
    them."""
    return Entry("", tuple(names.split()), ours, words, of)


def recipe(names: str, ours: str, words: str = "", of: str = "") -> Entry:
    """A recipe says it in Python."""
    return Entry("", tuple(names.split()), ours, words, of)


def value(name: str, value: object, ours: str, words: str = "", of: str = "") -> Entry:
    """One value of an option, and what it is here; ``ours`` empty: there is no such thing."""
    return Entry("", tuple(name.split()), ours, words, of, value)


def none(names: str, why: str, of: str = "") -> Entry:
    """Makes an entry that says: there is no place for it."""
    return Entry("", tuple(names.split()), "", why, of)


def section(system: str, topic: str, *entries: Entry) -> tuple[Entry, ...]:
    """Returns ``entries`` as those of ``system`` under one heading."""
    return tuple(replace(entry, system=system, topic=topic) for entry in entries)


def in_order(sections: Iterable[Iterable[Entry]]) -> tuple[Entry, ...]:
    """Returns all entries of several sections."""
    return tuple(entry for entries in sections for entry in entries)
