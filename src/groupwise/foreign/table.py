"""This is the one table: what TRL, verl, OpenRLHF and Unsloth call their options, and what each is here."""

from __future__ import annotations

from collections.abc import Sequence

from groupwise.foreign.entry import Entry
from groupwise.foreign.openrlhf_names import OPENRLHF
from groupwise.foreign.other_names import NEMO, SWIFT
from groupwise.foreign.trl_names import TRL
from groupwise.foreign.unsloth_names import UNSLOTH
from groupwise.foreign.values import VALUES
from groupwise.foreign.verl_names import VERL

TABLE: tuple[Entry, ...] = (*TRL, *UNSLOTH, *VERL, *OPENRLHF)
SYSTEMS = ("TRL", "Unsloth", "verl", "OpenRLHF")

OTHERS: tuple[Entry, ...] = (*SWIFT, *NEMO)
"""Systems whose options are explained and whose files convert does not read."""

EXACT, ENDING, FAMILY = 0, 1, 2


def plain(word: str) -> str:
    """A name as the table has it: without dashes, pluses and a value."""
    return word.partition("=")[0].lstrip("-+~").replace("-", "_")


def entries_of(name: str, systems: Sequence[str] = SYSTEMS) -> list[tuple[Entry, str]]:
    """The entries that speak of ``name``, each with the spelling that it was found by.

    A whole name goes before the end of one (``actor.clip_ratio`` of ``actor_rollout_ref.actor.clip_ratio``), and that
    before a family (``vllm_*``), of which the one that says most is taken.
    """
    found: list[tuple[int, int, Entry, str]] = []
    for entry in (*TABLE, *OTHERS):
        if entry.system in systems:
            fits = [fit for spelling in entry.names if (fit := _fit(spelling, plain(name)))]
            if fits:
                rank, length, spelling = min(fits)
                found.append((rank, length, entry, spelling))
    best = min(((rank, length if rank == FAMILY else 0) for rank, length, *_ in found), default=None)
    return [
        (entry, spelling) for rank, length, entry, spelling in found if (rank, length if rank == FAMILY else 0) == best
    ]


def value_of(entry: Entry, value: object) -> Entry | None:
    """Returns what the table says of one value of the entry's option; None where it has no row of its own."""
    wanted = str(value).strip("'\"").lower()
    for row in VALUES:
        same = row.system == entry.system and row.names[0] in entry.names and str(row.value).lower() == wanted
        if same and (not row.of or not entry.of or row.of in entry.of):
            return row
    return None


def sentence(entry: Entry) -> str:
    """Says what it is here, as the rest of a sentence."""
    if not entry.ours:
        return f"has no place here: {entry.words}"
    where = "" if entry.options else " in a recipe"
    return f"is {' and '.join(entry.options) or entry.ours}{where}" + (f" ({entry.words})" if entry.words else "")


def _fit(spelling: str, name: str) -> tuple[int, int, str] | None:
    """How well a spelling of the table fits: the kind of fit, then how much of it is left open."""
    if spelling == name:
        return EXACT, 0, spelling
    if spelling.endswith("*"):
        stem = spelling[:-1]
        if name.startswith(stem):
            return FAMILY, -len(stem), spelling
        parts = stem.split(".")
        ends = (".".join(parts[place:]) for place in range(1, len(parts) - 1))
        stem = next((end for end in ends if "." in end.rstrip(".") and name.startswith(end)), "")
        return (FAMILY, -len(stem), spelling) if stem else None
    return (ENDING, 0, spelling) if spelling.endswith(f".{name}") else None
