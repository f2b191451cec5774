"""This module writes plain values as JSON that keeps their types, and reads them back. Standard library only: it
runs in a sandbox's process, beside ``inside``."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}
PROTOCOLS = ("__call__", "__len__", "__getitem__", "__iter__", "__next__")
"""What an object can do beside having attributes, as a test may ask of it."""
_LARGE = 1 << 63
"""From here on an integer is written in hexadecimal digits: Python limits those of tens."""


def encoded(value: Any, keep: Callable[[Any], int]) -> Any:
    """Returns plain values as JSON that keeps their types, also of what is one of them (a Counter is a dictionary); of
    anything else the number that ``keep`` gives it, with its protocols."""
    if value is None or type(value) in (bool, float, str):
        return value
    if isinstance(value, int | float | str):
        kinds: tuple[Any, ...] = (int, float, str)
        plain = next(kind.__getnewargs__(value)[0] for kind in kinds if isinstance(value, kind))  # of no subclass
        return {"int": hex(plain)} if isinstance(plain, int) and abs(plain) >= _LARGE else plain
    if isinstance(value, list):
        return [encoded(item, keep) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encoded(key, keep), encoded(item, keep)] for key, item in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, tuple | set | frozenset):
        name = next(name for name, kind in _SEQUENCES.items() if isinstance(value, kind))
        return {name: [encoded(item, keep) for item in value]}
    if isinstance(value, range):
        return {"range": [encoded(bound, keep) for bound in (value.start, value.stop, value.step)]}
    names = [name for name, one in vars(builtins).items() if one is value and isinstance(one, type)]
    if names:
        return {"type": names[0]}
    return _of_library(value) or {"object": [keep(value), _protocols(value)]}


def _protocols(value: Any) -> list[str]:
    """Those of its class: any class itself can be called."""
    return [name for name in PROTOCOLS if any(name in vars(kind) for kind in type(value).__mro__)]


def _of_library(value: Any) -> dict[str, Any] | None:
    """Values of the standard library that their text makes again; None of any other."""
    kind = (type(value).__module__, type(value).__name__)
    if kind == ("fractions", "Fraction"):
        return {"fraction": [hex(value.numerator), hex(value.denominator)]}
    if kind == ("decimal", "Decimal"):
        return {"decimal": str(value)}
    if kind in (("datetime", "date"), ("datetime", "datetime"), ("datetime", "time")):
        return {kind[1]: str(value.isoformat())}
    if kind == ("datetime", "timedelta"):
        return {"timedelta": [int(value.days), int(value.seconds), int(value.microseconds)]}
    return None


def decoded(value: Any, thing: Callable[[int, list[str]], Any]) -> Any:
    """Returns the values that were ``encoded``; ``thing``: what stands for an object, of its number and its
    protocols. Raises an exception for anything that was not."""
    if isinstance(value, list):
        return [decoded(item, thing) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "dict":
            return {decoded(key, thing): decoded(item, thing) for key, item in inner}
        case "int":
            return int(inner, 16)
        case "complex":
            return complex(*inner)
        case "type":
            found = getattr(builtins, inner)
            return found if isinstance(found, type) else None
        case "object":
            return thing(*inner)
        case "bytes" | "bytearray":
            return getattr(builtins, kind).fromhex(inner)
        case "range":
            return range(*(decoded(bound, thing) for bound in inner))
        case "tuple" | "set" | "frozenset":
            return _SEQUENCES[kind](decoded(item, thing) for item in inner)
    return _made_again(kind, inner)


def _made_again(kind: str, inner: Any) -> Any:
    """A value of the standard library, of its text."""
    import datetime
    from decimal import Decimal
    from fractions import Fraction

    match kind:
        case "fraction":
            return Fraction(*(int(part, 16) for part in inner))
        case "decimal":
            return Decimal(inner)
        case "timedelta":
            return datetime.timedelta(*inner)
        case "date" | "datetime" | "time":
            return getattr(datetime, kind).fromisoformat(inner)
    raise ValueError(kind)
