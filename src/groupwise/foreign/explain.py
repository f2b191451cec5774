"""The words for an option that is not ours and that another system has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from groupwise.foreign.entry import Entry
from groupwise.foreign.table import OTHERS, TABLE, entries_of, plain, sentence, value_of

WITHOUT_VALUE = frozenset({"--fresh", "--dry_run", "--dry-run", "--help", "--help_all"})
OVERRIDE = re.compile(r"(\+\+|\+|~)?[A-Za-z_]\w*(\.\w+)+=.*", re.DOTALL)
IMPORTED = re.compile(r"^[ \t]*(from|import)\s+(trl|unsloth|verl|openrlhf)\b", re.MULTILINE)
OURS = re.compile(r"^[ \t]*(from|import)\s+groupwise\b", re.MULTILINE)
OTHER_SYSTEMS = tuple({entry.system: None for entry in OTHERS})
MOST = 4  # meanings in one message
NEAR = 0.88  # how much alike a mistyped name is
CONVERT = "groupwise convert makes a recipe of a whole script or command line"


def explain(words: Sequence[str], known: Collection[str] = (), home: str = "") -> str:
    """``: TRL's num_train_epochs is --steps ...`` of the first of ``words``, an option that is not ours, and what may
    be its value after it; empty where no other system has such an option.

    All meanings of the name are said, first those that are among the options ``known``. A mistyped name of another
    system counts where none of ours is as much alike. ``home``: the command whose options the table speaks of, where
    it is another one than the one that was typed.
    """
    name, equals, given = words[0].partition("=")
    value = given if equals else next((word for word in words[1:2] if not word.startswith("--")), None)
    found, lead = entries_of(name) or entries_of(name, OTHER_SYSTEMS), ""
    if not found:
        near = _near(plain(name), known)
        found, lead = (entries_of(near), "perhaps ") if near else ([], "")
    found = [(entry, plain(name) if spelling.endswith("*") else spelling) for entry, spelling in found]
    pieces = _pieces(found, value, known)
    elsewhere = home and any(entry.options for entry, _ in found)
    of = f"; these are options of {home}" if elsewhere and not _options(found) & set(known) else ""
    return f": {lead}{'; '.join(pieces[:MOST])}{of}" if pieces else ""


def refusal(words: Sequence[str], known: Collection[str] = ()) -> str | None:
    """Returns what to say of the first word of the form ``a.b=c``, ``+a.b=c`` or ``++a.b=c`` that is an option of
    verl."""
    at = _override(words)
    if at is None:
        return None
    name = words[at].partition("=")[0]
    return f"unknown option {name}{explain(words[at:], known)}; {CONVERT}"


def trains_elsewhere(text: str) -> bool:
    """Says whether a Python file imports another system and not this one."""
    return bool(IMPORTED.search(text)) and not OURS.search(text)


def convertible(word: str) -> bool:
    """Says whether ``groupwise convert`` takes it, by the look of it."""
    return word.endswith((".yaml", ".yml", ".sh")) or _override([word]) is not None


def _override(words: Sequence[str]) -> int | None:
    """The place of the first such word that is no option's value."""
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        waits = before.startswith("--") and "=" not in before and before not in WITHOUT_VALUE
        if not waits and OVERRIDE.fullmatch(word) and entries_of(word, ("verl",)):
            return place
    return None


def _pieces(found: list[tuple[Entry, str]], value: str | None, known: Collection[str]) -> list[str]:
    """One for each meaning; systems and trainers that mean the same stand together."""
    rows = [(value_of(entry, value), spelling) for entry, spelling in found] if value is not None else []
    of_value = [(row, spelling) for row, spelling in rows if row is not None]
    meanings: dict[str, list[tuple[Entry, str]]] = {}
    for entry, spelling in of_value or sorted(found, key=lambda pair: not set(pair[0].options) & set(known)):
        meanings.setdefault(sentence(entry), []).append((entry, spelling))
    return [_sentence(rows, meaning) for meaning, rows in meanings.items()]


def _sentence(rows: list[tuple[Entry, str]], meaning: str) -> str:
    """``TRL's beta (GRPO, RLOO) is --algorithm.kl.coefficient``."""
    names: dict[str, list[str]] = {}
    for entry, spelling in rows:
        shown = spelling if entry.value is None else f"{spelling}={entry.value}"
        of = names.setdefault(f"{entry.system}'s {shown}", [])
        of += [entry.of] if entry.of and entry.of not in of else []
    who = [name + (f" ({', '.join(of)})" if of else "") for name, of in names.items()]
    verb, _, rest = meaning.partition(" ")
    return f"{' and '.join(who)} {verb if len(who) == 1 else {'is': 'are', 'has': 'have'}[verb]} {rest}"


def _options(found: list[tuple[Entry, str]]) -> set[str]:
    return {option for entry, _ in found for option in entry.options}


def _near(name: str, known: Collection[str]) -> str | None:
    """A name of the table that ``name`` is likely to be a slip of."""
    names = {spelling for entry in TABLE for spelling in entry.names if not spelling.endswith("*")}
    names |= {spelling.rpartition(".")[2] for spelling in names if len(spelling.rpartition(".")[2]) > 5}
    near = difflib.get_close_matches(name, names, n=1, cutoff=NEAR)
    if not near:
        return None
    ours = {plain(option).rpartition(".")[2] for option in known} | {plain(option) for option in known}
    rivals = difflib.get_close_matches(name.rpartition(".")[2], ours, n=1, cutoff=NEAR)
    return None if rivals and _alike(name, rivals[0]) >= _alike(name, near[0]) else near[0]


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
