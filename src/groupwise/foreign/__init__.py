"""This package knows what other systems' options are called here: one table, and recipes made of other systems' scripts
by it."""

from groupwise.foreign.entry import Entry
from groupwise.foreign.explain import CONVERT, convertible, explain, refusal, trains_elsewhere
from groupwise.foreign.table import TABLE, entries_of, sentence
from groupwise.foreign.values import VALUES

__all__ = [
    "CONVERT",
    "TABLE",
    "VALUES",
    "Entry",
    "convertible",
    "entries_of",
    "explain",
    "refusal",
    "sentence",
    "trains_elsewhere",
]
