"""This module describes what a function or an object is, as plain data: two that may behave differently describe
differently.

A function is its source, what it closes over, its defaults, and the values and functions of its own file that it names;
a partial what it holds; an instance its class and its attributes. Where something cannot be told apart from another of
its kind (a lock, an open file, a compiled object), the description says so (``UNKNOWN``), and nobody may rely on it:
``unknowns`` lists such places.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

UNKNOWN = "cannot be compared"
LONGEST_CHARACTERS = 2_000
"""A value inside a function or an object that is longer as text stands as its hash."""
PLAIN = (Decimal, Fraction, date, time, timedelta, tzinfo, UUID, range, slice, complex)
"""Types whose repr is their value."""

Describe = Callable[[Any], Any]


def identity(value: Any, describe: Describe) -> Any:
    """Describes whatever is no plain value, mapping, list or dataclass; ``describe`` describes the parts."""
    if isinstance(value, functools.partial):
        return {
            "partial": describe(value.func),
            "arguments": [_short(describe(each)) for each in value.args],
            "keywords": {name: _short(describe(each)) for name, each in sorted(value.keywords.items())},
        }
    if isinstance(value, types.MethodType):
        named = {"method": value.__func__.__qualname__, "of": describe(value.__self__)}
        return named if is_named_alone(named) else named | _code(value.__func__)
    if isinstance(value, types.FunctionType):
        return {
            "function": _name_of(value),
            **_code_of_theirs(value),
            **_surroundings(value, describe),
        }
    if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType | types.WrapperDescriptorType):
        return _of_builtin(value, describe)
    if isinstance(value, type):
        return {"class": _name_of(value), **_code_of_theirs(value)}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    return _of_value(value, describe)


def unknowns(description: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields ``(path, type)`` of every part of a description that cannot be compared."""
    if isinstance(description, Mapping):
        if UNKNOWN in description:
            yield path, str(description[UNKNOWN])
        for key, part in description.items():
            yield from unknowns(part, f"{path}.{key}" if path else str(key))
    elif isinstance(description, list):
        for place, part in enumerate(description):
            yield from unknowns(part, f"{path}.{place}")


def source_hash(value: Any) -> str:
    """Returns a hash of the source of a function or a class; of its compiled code where there is none."""
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = repr(_compiled(value))
    return _hash(source)


def _compiled(value: Any) -> Any:
    """What of a function or a class is there without its source."""
    if isinstance(value, types.FunctionType):
        return _of_code(value.__code__)
    if isinstance(value, type) and _written_in_python(value):
        held = {name: part for name, part in vars(value).items() if name not in ("__dict__", "__weakref__")}
        plain = (bool, int, float, str, bytes, type(None))
        return [(name, repr(held[name]) if isinstance(held[name], plain) else _compiled(held[name])) for name in held]
    return _name_of(value) if hasattr(value, "__qualname__") else _name_of(type(value))


def ours(kind: Any) -> bool:
    """Says whether a class or a function comes with this package, whose version is recorded by itself."""
    return kind.__module__ == "groupwise" or str(kind.__module__).startswith("groupwise.")


def is_named_alone(description: Mapping[str, Any]) -> bool:
    """Says whether it is of a function, a method or a class of ours that its name tells apart from all others: not of
    one that has none (lambda)."""
    if "method" in description:
        owner = description.get("of")
        return isinstance(owner, Mapping) and "is" in owner and "sha256" not in owner
    name = str(description.get("function", description.get("class", "")))
    return name.startswith("groupwise.") and "<lambda>" not in name


def _of_value(value: Any, describe: Describe) -> Any:
    if isinstance(value, enum.Enum):
        return {"is": _name_of(type(value)), "value": value.name}
    if isinstance(value, set | frozenset):
        return {"set": sorted((describe(each) for each in value), key=lambda part: json.dumps(part, sort_keys=True))}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value), "sha256": hashlib.sha256(bytes(value)).hexdigest()[:16]}
    if isinstance(value, re.Pattern):
        return {
            "pattern": value.pattern if isinstance(value.pattern, str) else repr(value.pattern),
            "flags": value.flags,
        }
    if isinstance(value, PLAIN):
        return {"is": _name_of(type(value)), "value": repr(value)}
    array = _array(value)
    if array is not None:
        return array
    return _of_instance(value, describe)


def _of_instance(value: Any, describe: Describe) -> Any:
    """Its class with its source, and its attributes by name."""
    kind = type(value)
    slots = [name for base in kind.__mro__ for name in _slots(base)]
    if not hasattr(value, "__dict__") and not slots:
        return {UNKNOWN: _name_of(kind)}
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))
    compiled = any(base.__dictoffset__ and not _written_in_python(base) for base in kind.__mro__ if base is not object)
    named = {name: _short(describe(part)) for name, part in sorted(held.items(), key=lambda item: str(item[0]))}
    found = {"is": _name_of(kind), **({} if ours(kind) else _code(kind)), **({"attributes": named} if named else {})}
    return found | ({UNKNOWN: _name_of(kind)} if compiled else {})


def _written_in_python(kind: type) -> bool:
    return bool(kind.__flags__ & (1 << 9))  # Py_TPFLAGS_HEAPTYPE


def _slots(kind: type) -> list[str]:
    named = kind.__dict__.get("__slots__", ())
    names = [named] if isinstance(named, str) else list(named)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _of_builtin(value: Any, describe: Describe) -> Any:
    """``math.sqrt`` by its name; a compiled object's method also by what it belongs to."""
    owner = getattr(value, "__self__", None)
    named = {"function": f"{value.__module__ or ''}.{value.__qualname__}".lstrip(".")}
    return named if owner is None or isinstance(owner, types.ModuleType) else named | {"of": describe(owner)}


def _array(value: Any) -> Any:
    """Of a numpy array or number, or a tensor; None of anything else."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        dtype, shape = str(value.dtype), list(value.shape)
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8) if value.numel() else value
        return {"tensor": dtype, "shape": shape, "sha256": hashlib.sha256(bytes(data.tolist())).hexdigest()[:16]}
    if torch is not None and isinstance(value, torch.dtype):
        return {"is": "torch.dtype", "value": str(value)}
    if numpy is not None and isinstance(value, numpy.generic):
        return {"is": _name_of(type(value)), "value": repr(value.item())}
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype != object:
        digest = hashlib.sha256(numpy.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        return {"array": str(value.dtype), "shape": list(value.shape), "sha256": digest}
    return None


def _code(value: Any) -> dict[str, str]:
    return {"sha256": source_hash(value)}


def _code_of_theirs(value: Any) -> dict[str, str]:
    """What tells it apart from another of its name: nothing where it is ours, or every edit of ours would end runs."""
    return {} if is_named_alone({"function": _name_of(value)}) else _code(value)


def _of_code(code: types.CodeType) -> Any:
    constants = [_of_code(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]


def _surroundings(function: types.FunctionType, describe: Describe) -> dict[str, Any]:
    """What a function's source leaves open: closed-over values, defaults, names of its own file; only what is there."""
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    parts = {
        "closure": {name: _short(describe(_content(cell))) for name, cell in closed},
        "defaults": [_short(describe(each)) for each in function.__defaults__ or ()],
        "keyword_defaults": {name: _short(describe(each)) for name, each in (function.__kwdefaults__ or {}).items()},
        "names": {name: _short(describe(each)) for name, each in _named(function)},
        "wraps": describe(function.__wrapped__) if hasattr(function, "__wrapped__") else None,
    }
    return {name: part for name, part in parts.items() if part}


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _named(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Values, functions and classes of the function's own file that its code names; what others wrote has versions."""
    top = (function.__module__ or "").partition(".")[0]
    if top == "groupwise" or top in sys.stdlib_module_names - {"__main__"}:
        return
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name, None)
        if isinstance(value, types.ModuleType) or value is None:
            continue
        home = getattr(value, "__module__", function.__module__)
        if home == function.__module__ or isinstance(value, bool | int | float | str | list | tuple | dict | set):
            yield name, value


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*inner)


def _short(description: Any) -> Any:
    """A long one as its hash; not one that says what cannot be compared."""
    text = json.dumps(description, sort_keys=True, default=str)
    if len(text) <= LONGEST_CHARACTERS or next(unknowns(description), None):
        return description
    return {"characters": len(text), "sha256": _hash(text)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


RECORDED = {"groupwise.sources.reward_metrics": "groupwise.sources.signal"}
"""Modules of ours whose functions recipes hold, and the name that runs record them by: whatever a module is called, a
run that began earlier goes on."""


def _name_of(kind: Any) -> str:
    return f"{RECORDED.get(kind.__module__, kind.__module__)}.{kind.__qualname__}"
