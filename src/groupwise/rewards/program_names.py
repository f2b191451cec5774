"""This module says which names of a row's tests are the answer's: those that the row expects of it, and no judge that
nobody defines."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from groupwise.types import Example

_DEFINED = re.compile(r"^([ \t]{0,8})(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*=[^=]", re.MULTILINE)
_IMPORT = re.compile(r"^(?:import|from)[ \t][^\n;(]+$", re.MULTILINE)


@dataclass(frozen=True)
class Names:
    """These names are what the tests of a row use and do not define."""

    expected: tuple[str, ...] = ()
    """Functions of the answer."""
    unknown: tuple[str, ...] = ()
    """Nobody defines them, and no answer may."""
    imports: tuple[str, ...] = ()
    """Lines of the row's own code that the tests need."""


def names_of(example: Example, tests: Sequence[str], tested: str) -> Names:
    """Returns the names that the row's tests call: its ``entry_point``, and what any other text of the row defines (its
    prompt, its reference).

    Where nothing does, it is all that the tests leave undefined, but for a name whose mere truth an assert takes of
    another undefined call: ``assert is_close(f(1), 2)`` leaves the verdict to whoever defines ``is_close``.
    ``tested``: the column of the tests.
    """
    used = set().union(*map(_undefined, tests)) if tests else set()
    texts = list(_texts(example, tested))
    free = {name for name in used if not hasattr(builtins, name)}
    entry = example.columns.get("entry_point")
    defined = {name for text in texts for indent, name, _ in _DEFINED.findall(text) if name in free or not indent}
    defined |= {name for text in texts for _, _, name in _DEFINED.findall(text)} | {str(entry)}
    lines = {line for text in texts for line in _IMPORT.findall(text) if _bound(line) & (free - defined)}
    free -= set().union(*map(_bound, lines)) - defined if lines else set()
    unknown = free - defined if defined & used else set().union(*(_judges(test, free) for test in tests))
    told = () if any("import *" in test for test in tests) else sorted(unknown)  # a star may define anything
    return Names(tuple(sorted((free | defined & used) - unknown)), tuple(told), tuple(sorted(lines)))


def _undefined(test: str) -> set[str]:
    """Returns the names that a test uses and does not define; Python may."""
    try:
        top = symtable.symtable(test, "tests.py", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return set()
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    inside = [symbol for table in _tables(top) for symbol in table.get_symbols()]
    own |= {symbol.get_name() for symbol in inside if symbol.is_declared_global()}
    used = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return {name for name in used - own if not name.startswith("__")}


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _texts(example: Example, tested: str) -> Iterator[str]:
    """Returns all of a row but its tests."""
    values = [value for name, value in example.columns.items() if name != tested and not name.startswith("test")]
    for value in (*values, example.prompt, example.answer):
        yield from (text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str))


def _bound(line: str) -> set[str]:
    """Returns the names that a line of imports binds."""
    try:
        nodes = [node for node in ast.parse(line.strip()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    except (SyntaxError, ValueError):
        return set()
    return {alias.asname or alias.name.partition(".")[0] for node in nodes for alias in node.names}


def _judges(test: str, free: set[str]) -> set[str]:
    """Returns the free names whose truth alone an assert takes, of what another free name returned."""
    try:
        asserted = [node.test for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Assert)]
    except (SyntaxError, ValueError, RecursionError):
        return set()
    judges: set[str] = set()
    for truth in asserted:
        while isinstance(truth, ast.UnaryOp) and isinstance(truth.op, ast.Not):
            truth = truth.operand
        if isinstance(truth, ast.Call) and isinstance(truth.func, ast.Name) and truth.func.id in free:
            inner = [node for part in (*truth.args, *truth.keywords) for node in ast.walk(part)]
            called = {node.func.id for node in inner if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
            judges |= {truth.func.id} if called & (free - {truth.func.id}) else set()
    return judges
