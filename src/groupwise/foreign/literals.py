"""This module reads the value of a Python expression without running it: literals, names that are assigned once, and
arithmetic."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

MOST_LETTERS = 100_000
LARGEST = 1e30


class Unknown(Exception):  # noqa: N818 - it is an answer
    """The expression has no value unless the script is run. The message is the part that has none."""


Lookup = Callable[[str], Any]
"""The value of a name. Raises Unknown."""


def value_of(node: ast.expr, lookup: Lookup, depth: int = 0) -> Any:
    """Returns what the expression stands for. Raises Unknown."""
    if depth > 50:
        raise Unknown(shown(node))

    def inner(part: ast.expr) -> Any:
        return value_of(part, lookup, depth + 1)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return lookup(node.id)
        case ast.List() | ast.Tuple():
            return [inner(part) for part in node.elts]
        case ast.Dict():
            return {inner(key): inner(part) for key, part in zip(node.keys, node.values, strict=True) if key}
        case ast.UnaryOp(op=ast.USub()):
            return _number(-1, inner(node.operand), ast.Mult(), node)
        case ast.BinOp():
            return _number(inner(node.left), inner(node.right), node.op, node)
        case ast.JoinedStr():
            return _text(node, inner)
        case ast.Attribute(value=ast.Name(id="torch")):
            return node.attr  # torch.bfloat16
        case ast.Call():
            return _call(node, inner)
    raise Unknown(shown(node))


def shown(node: ast.AST) -> str:
    """Returns the expression on one line."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _number(left: Any, right: Any, op: ast.operator, node: ast.AST) -> Any:
    known: Mapping[type, Callable[[Any, Any], Any]] = {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.Div: lambda a, b: a / b,
        ast.FloorDiv: lambda a, b: a // b,
        ast.Pow: lambda a, b: float(a) ** b if isinstance(a, float) or b < 0 else a**b,
    }
    texts = isinstance(left, str) and isinstance(right, str) and isinstance(op, ast.Add)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    small = texts or (numbers and abs(left) < LARGEST and abs(right) < (100 if isinstance(op, ast.Pow) else LARGEST))
    if type(op) not in known or not small:
        raise Unknown(shown(node))
    try:
        found = known[type(op)](left, right)
    except (ArithmeticError, ValueError) as error:
        raise Unknown(shown(node)) from error
    if (isinstance(found, str) and len(found) > MOST_LETTERS) or (
        isinstance(found, float) and not math.isfinite(found)
    ):
        raise Unknown(shown(node))
    return found


def _text(node: ast.JoinedStr, inner: Callable[[ast.expr], Any]) -> str:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
            raise Unknown(shown(node))
        parts.append(str(inner(part.value if isinstance(part, ast.FormattedValue) else part)))
    return "".join(parts)


def _call(node: ast.Call, inner: Callable[[ast.expr], Any]) -> Any:
    """``dict(a=1)``, ``int(2.0)``, ``os.path.join("a", "b")``, ``Path("a")``; nothing else is called."""
    called = ast.unparse(node.func)
    given = [inner(part) for part in node.args]
    named = {keyword.arg: inner(keyword.value) for keyword in node.keywords if keyword.arg}
    if len(named) < len(node.keywords):
        raise Unknown(shown(node))
    if called == "dict" and not given:
        return named
    if called in ("int", "float", "str", "Path", "list", "tuple") and len(given) == 1 and not named:
        made: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str, "Path": str}
        try:
            return made.get(called, list)(given[0])
        except (TypeError, ValueError, OverflowError) as error:
            raise Unknown(shown(node)) from error
    if called == "os.path.join" and given and all(isinstance(part, str) for part in given):
        return "/".join(part.rstrip("/") for part in given)
    raise Unknown(shown(node))
