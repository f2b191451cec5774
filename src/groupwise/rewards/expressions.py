"""Reads what a model wrote as data where a verifier would run it as Python: a literal, or a formula of known functions.

Some verifiers give an answer to ``eval``, others to sympy, whose parser ends in ``eval``. What runs there stands beside
the score and could write it, or look up the right answer. So their modules get an ``eval`` that, while an answer is
scored (:func:`scoring`), takes literals alone, and sympy's parser takes numbers, variables, arithmetic and the
functions listed here. What the question itself holds is not a model's and is evaluated as ever.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST_CHARACTERS = 20_000
"""Of a text that is read as a literal or a formula."""
CONSTANTS = frozenset({"pi", "E", "I"})
FUNCTIONS = frozenset(
    {
        *("Add", "Mul", "Pow", "Mod", "Min", "Max", "Integer", "Rational", "Abs", "abs", "sign", "floor", "ceiling"),
        *("sqrt", "cbrt", "root", "exp", "log", "ln", "factorial", "factorial2", "binomial", "gamma"),
        *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "asec", "acsc", "atan2"),
        *("sinh", "cosh", "tanh", "coth", "sech", "csch", "asinh", "acosh", "atanh", "acoth", "asech", "acsch"),
        *("erf", "erfc", "erfi", "Ei", "Si", "Ci", "Shi", "Chi", "li", "Li", "fresnels", "fresnelc"),
    }
)
"""None of them solves what an answer is asked to solve, as ``expand`` and ``Integral`` would."""
_LEAVES = frozenset({"Symbol", "Float"})
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.UAdd, ast.USub)
_entry: ContextVar[Mapping[str, Any] | None] = ContextVar("entry", default=None)


@contextmanager
def scoring(entry: Mapping[str, Any]) -> Iterator[None]:
    """Takes text that the question ``entry`` does not hold for a model's as long as this lasts."""
    token = _entry.set(entry)
    try:
        yield
    finally:
        _entry.reset(token)


def guard(package: str) -> None:
    """Puts these readers into all loaded modules of the package, and into sympy's parser.

    Nothing is left to do where none was loaded since the last time, be it in the process that this one was forked from.
    """
    _guard(package, len(sys.modules))


@functools.cache
def _guard(package: str, loaded: int) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and vars(module).get("eval") is not evaluate:
            vars(module)["eval"] = evaluate
    from sympy.parsing import sympy_parser

    if sympy_parser.stringify_expr is not stringify:
        _sympys["stringify"], sympy_parser.stringify_expr = sympy_parser.stringify_expr, stringify
    check_formula("1 + 1")  # the first use takes milliseconds, here instead of in each process that is forked


_sympys: dict[str, Any] = {}


def evaluate(source: Any, names: dict[str, Any] | None = None, local: Mapping[str, object] | None = None, /) -> Any:
    """Does what ``eval`` does with text of ours; of a model's it reads a literal. Raises ValueError for all else."""
    if not _is_ours(source):
        return literal(source)
    if names is None:
        caller = sys._getframe(1)
        names, local = caller.f_globals, caller.f_locals if local is None else local
    return builtins.eval(source, names, local)


def literal(text: Any) -> Any:
    """The value of numbers, strings, lists and the like. Raises ValueError or SyntaxError for any other text."""
    return ast.literal_eval(_bounded(text))


def stringify(text: Any, local: dict[str, Any], names: dict[str, Any], transformations: Any) -> Any:
    """The Python that sympy's parser makes of a text and evaluates next. Raises ValueError where it is no formula."""
    if _is_ours(text):
        return _sympys["stringify"](text, local, names, transformations)
    if "'" in _bounded(text) or '"' in text:
        raise ValueError("a formula has no strings")
    code = _sympys["stringify"](text, local, names, transformations)
    check_formula(code, frozenset(filter(None, map(str, local))))
    return code


def check_formula(code: str, variables: frozenset[str] = frozenset()) -> None:
    """Raises ValueError unless this Python is arithmetic of numbers, ``variables``, constants and known functions."""
    left: list[ast.AST] = [ast.parse(code.strip(), mode="eval").body]
    while left:
        match left.pop():
            case ast.Constant(value) if type(value) in (int, float, complex):
                pass
            case ast.Name(name) if name in CONSTANTS or name in variables:
                pass
            case ast.UnaryOp(operator, operand) if isinstance(operator, _OPERATORS):
                left.append(operand)
            case ast.BinOp(first, operator, second) if isinstance(operator, _OPERATORS):
                left += [first, second]
            case ast.Call(ast.Name(name), [ast.Constant(str() | int())], []) if name in _LEAVES:
                pass
            case ast.Call(ast.Name(name), arguments, []) if name in FUNCTIONS:
                left += arguments
            case part:
                raise ValueError(f"{ast.unparse(part)[:80]!r} is no part of a formula")


def _bounded(text: Any) -> str:
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise ValueError(f"expected a text of at most {MOST_CHARACTERS:,} characters")
    return text


def _is_ours(text: Any) -> bool:
    """Says whether no answer is being scored, or the question holds this very text."""
    entry = _entry.get()
    if entry is None:
        return True
    left = [entry.get("answer"), entry.get("metadata")]
    while left:
        match left.pop():
            case str(held) if held == text:
                return True
            case dict() as held:
                left += held.values()
            case list() | tuple() | set() as several:
                left += several
    return False
