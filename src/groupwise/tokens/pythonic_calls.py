"""This module reads calls of tools that are written as Python: ``[search(query='x', most=3)]``. Nothing is evaluated:
values are constants, and lists and mappings of them."""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

from groupwise.environments.protocol import Call
from groupwise.tokens.call_values import arguments_of, call_of, json_at, skipped

MOST_LETTERS = 65_536
"""Of the calls of one turn: a parser of Python takes long, and much memory, for more."""
_WORDS = {"true": True, "false": False, "null": None}
"""Constants of JSON, which models and templates mix in."""
_PARSING = threading.Lock()
"""Filters of warnings belong to the process."""
_BEGINS = re.compile(r"\[\s*[A-Za-z_][A-Za-z0-9_.]*\s*\(")


def pythonic(opens: str, closes: str) -> Callable[[str, Any], Iterator[Call | str]]:
    """Returns a reader of calls between two marks, or of JSON there: LFM2, OLMo 3."""

    def read(text: str, types: Any) -> Iterator[Call | str]:
        at = text.find(opens)
        while at >= 0:
            start = at + len(opens)
            stop = text.find(closes, start)
            if stop < 0:
                yield f"behind {opens} stands no {closes}"
                return
            body = text[start:stop]
            value, end, wrong = json_at(body, 0)
            if wrong or skipped(body, end) < len(body):
                yield from pythonic_calls(body)
            else:
                yield from map(call_of, value if isinstance(value, list) else [value])
            at = text.find(opens, stop)

    return read


def pythonic_calls(text: str) -> Iterator[Call | str]:
    """Yields the calls of a list, or of lines with one each, and a text for what is none."""
    if len(text) > MOST_LETTERS:
        yield f"the calls have {len(text):,} letters; at most {MOST_LETTERS:,}"
        return
    try:
        found = _parsed(text.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        yield f"it is no call of Python's ({said}): {text.strip()[:60]!r}"
        return
    if not found:
        yield "there is no call"
    for statement in found:
        whole = statement.value if isinstance(statement, ast.Expr) else statement
        for each in whole.elts if isinstance(whole, ast.List | ast.Tuple) else [whole]:
            yield _call(each)


def bare_calls(text: str) -> Iterator[Call | str]:
    """Yields the calls of an answer that is nothing but a list of them; of any other answer nothing."""
    text = text.strip()
    if _BEGINS.match(text) and text.endswith("]"):
        yield from pythonic_calls(text)


def pythonic_text(calls: Sequence[Call]) -> str:
    """Writes calls as a list."""
    each = (
        f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})" for call in calls
    )
    return f"[{', '.join(each)}]"


def _parsed(text: str) -> list[ast.stmt]:
    """Parses what a model wrote, of which Python warns nobody (``'\\d'``), whatever it does with warnings."""
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text).body


def _call(node: Any) -> Call | str:
    if not isinstance(node, ast.Call):
        return f"it is {_shown(node)}; expected name(argument=value)"
    name = _name(node.func)
    if not name:
        return f"it calls {_shown(node.func)}; expected the name of a tool"
    if node.args or any(each.arg is None for each in node.keywords):
        return f"{name}: an argument has no name; expected {name}(argument=value)"
    arguments: dict[str, Any] = {}
    for each in node.keywords:
        try:
            arguments[str(each.arg)] = _value(each.value)
        except (ValueError, RecursionError):
            return f"{name}: the argument {each.arg} is {_shown(each.value)}; expected a constant"
    return arguments_of(name, arguments)


def _name(node: Any) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _value(node: Any) -> Any:
    """Raises ValueError for what is no constant that JSON has."""
    match node:
        case ast.Constant(str() | int() | float() | None as value) if value != inf:
            return value
        case ast.Name(name) if name in _WORDS:
            return _WORDS[name]
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
        case ast.List(items) | ast.Tuple(items):
            return [_value(each) for each in items]
        case ast.Dict(keys, values) if all(isinstance(key, ast.Constant) for key in keys):
            pairs = zip(keys, values, strict=True)
            return {str(key.value): _value(value) for key, value in pairs if isinstance(key, ast.Constant)}
    raise ValueError


def _shown(node: Any) -> str:
    try:
        return repr(ast.unparse(node)[:60])
    except (RecursionError, ValueError):
        return "too deep"
