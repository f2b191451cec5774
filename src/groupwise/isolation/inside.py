"""This module runs in a sandbox's process. Standard library only, beside the modules that come with it (``parcel``).

It lays down what it has (limits, user; where no namespaces stand around it also files and system calls) and then
becomes one of three:

* ``program``: the source, with standard input and output;
* ``functions``: the source, whose functions are called over the lines of standard input and output;
* ``tests``: the text of a test, in which ``names`` that it does not define are such functions of the other process,
  over the two descriptors of ``channel``. Only values come over, so that no answer can say that it is right; what the
  test prints goes nowhere, and the verdict goes out on a descriptor of its own.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from groupwise.isolation.limits import become_nobody, limit

LINE_BYTES = 1 << 20
PASSED = b"passed"
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def main(settings: dict[str, Any]) -> None:
    """Runs what the settings hold, a program or a call, once this process is restricted."""
    text = settings["source"].decode("utf-8", "surrogatepass")
    restrict(settings)
    sys.argv[:] = ["answer.py"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # site's, which is left out
    if settings["what"] == "program":
        exec(compile(text, "answer.py", "exec"), {"__name__": "__main__", "__builtins__": builtins})
    elif settings["what"] == "functions":
        _serve(text)
    else:
        _test(text, settings["names"], *settings["channel"])


def restrict(settings: dict[str, Any]) -> None:
    """Takes from this process all that it may not use."""
    if settings["filter"] is None:  # bubblewrap has laid down the rest
        limit(settings["seconds"], settings["memory_bytes"], settings["threads"])
        become_nobody()
        return
    from groupwise.isolation.confinement import CallFilter, drop_privileges, enter, ruleset

    rules = ruleset(settings["readable"], settings["listed"])
    limit(settings["seconds"], settings["memory_bytes"])
    become_nobody(keeps=os.__file__)
    drop_privileges()
    enter(rules)
    CallFilter(settings["filter"]).enter()


def _serve(text: str) -> None:
    """Line after line, a request as ``_Answer`` has it -> ``["value", v]``, ``["method"]`` or ``["raised", type]``."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 0)  # standard error leads nowhere
    os.dup2(2, 1)
    names: dict[str, Any] = {"__name__": "answer", "__builtins__": builtins}
    exec(compile(text, "answer.py", "exec"), names)
    answer = _Answer(names)
    while line := requests.readline(LINE_BYTES):
        what, *request = _decoded(json.loads(line), answer.objects.__getitem__)
        try:
            reply = getattr(answer, what)(*request)
        except Exception as error:
            reply = ["raised", _kind(error)]
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


class _Answer:
    """The answer's functions, and those of its objects that a test has seen, by number."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.objects: list[Any] = []

    def call(self, name: str, arguments: list[Any], named: dict[str, Any]) -> list[Any]:
        function = self.names[name] if name in self.names else getattr(self.names["Solution"](), name)
        return ["value", _encoded(function(*arguments, **named), self._kept)]

    def method(self, thing: Any, name: str, arguments: list[Any], named: dict[str, Any]) -> list[Any]:
        return ["value", _encoded(getattr(thing, name)(*arguments, **named), self._kept)]

    def get(self, thing: Any, name: str) -> list[Any]:
        value = getattr(thing, name)
        return ["method"] if callable(value) else ["value", _encoded(value, self._kept)]

    def set(self, thing: Any, name: str, value: Any) -> list[Any]:
        setattr(thing, name, value)
        return ["value", None]

    def _kept(self, value: Any) -> int:
        self.objects.append(value)
        return len(self.objects) - 1


def _kind(error: Exception) -> str:
    """The nearest of Python's own types that it is one of."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"), "Exception")


class _Names(dict[str, Any]):
    """The names of a test: its own, Python's, and ``expected`` of the answer, whose functions they are."""

    def __init__(self, expected: list[str], read: int, write: int) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._expected = frozenset(expected)
        self._replies, self._requests = os.fdopen(read, "rb"), os.fdopen(write, "wb")

    def __missing__(self, name: str) -> Any:
        if name in self._expected:
            return lambda *arguments, **named: self.ask("call", name, list(arguments), named)
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise NameError(f"name {name!r} is not defined")

    def ask(self, what: str, *request: Any) -> Any:
        line = json.dumps(_encoded([what, *request], _number)).encode() + b"\n"
        said, value = self._reply(line)
        if said == "raised":
            raise _exception(value)
        if said == "method":
            thing, name = request
            return lambda *arguments, **named: self.ask("method", thing, name, list(arguments), named)
        return value

    def _reply(self, line: bytes) -> tuple[str, Any]:
        """An answer's process that is dead or talks nonsense ends the test at once: an exception could be what the test
        waits for."""
        try:
            self._requests.write(line)
            self._requests.flush()
            said, *value = json.loads(self._replies.readline(LINE_BYTES))
            if said == "value":
                return said, _decoded(value[0], lambda number: _Object(number, self.ask))
            if said != "method":
                return "raised", str(value[0])
            return said, None
        except BaseException:
            os._exit(1)


class _Object:
    """An object of the answer's class, which stays there: its attributes are asked for, and it equals itself alone."""

    def __init__(self, number: int, ask: Callable[..., Any]) -> None:
        vars(self).update(_number=number, _ask=ask)

    def __getattr__(self, name: str) -> Any:
        return vars(self)["_ask"]("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["_ask"]("set", self, name, value)


def _number(value: Any) -> int:
    """Of an object of the answer's. Raises TypeError for any other thing that is no plain value."""
    if type(value) is _Object:
        return int(vars(value)["_number"])
    raise TypeError(type(value).__name__)


def _exception(name: str) -> Exception:
    """One of Python's own exceptions. An iteration's end would end the test's loops, which is not an answer's to do."""
    kind = getattr(builtins, name, RuntimeError)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return RuntimeError()
    if issubclass(kind, StopIteration | StopAsyncIteration):
        return RuntimeError(f"the answer raised {name}")
    if issubclass(kind, BaseExceptionGroup):
        return RuntimeError() if kind is BaseExceptionGroup else ExceptionGroup("", [RuntimeError()])
    return kind.__new__(kind)


def _test(text: str, expected: list[str], read: int, write: int) -> NoReturn:
    """Says ``passed`` where the test ran to its end."""
    verdict = os.dup(1)
    os.dup2(2, 1)  # what it prints leads nowhere
    exec(compile(text, "tests.py", "exec"), _Names(expected, read, write))
    os.write(verdict, PASSED)
    os._exit(0)


def _encoded(value: Any, keep: Callable[[Any], int]) -> Any:
    """Plain values as JSON that keeps their types, also of what is one of them (a Counter is a dictionary); of anything
    else the number that ``keep`` gives it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, int | float | str):
        kinds: tuple[Any, ...] = (int, float, str)
        return next(kind.__getnewargs__(value)[0] for kind in kinds if isinstance(value, kind))  # of no subclass
    if isinstance(value, list):
        return [_encoded(item, keep) for item in value]
    if isinstance(value, dict):
        return {"dict": [[_encoded(key, keep), _encoded(item, keep)] for key, item in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple | set | frozenset):
        name = next(name for name, kind in _SEQUENCES.items() if isinstance(value, kind))
        return {name: [_encoded(item, keep) for item in value]}
    names = [name for name, one in vars(builtins).items() if one is value and isinstance(one, type)]
    if names:
        return {"type": names[0]}
    return {"object": keep(value)}


def _decoded(value: Any, thing: Callable[[int], Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, thing) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {_decoded(key, thing): _decoded(item, thing) for key, item in inner}
    if kind == "complex":
        return complex(*inner)
    if kind == "type":
        found = getattr(builtins, inner)
        return found if isinstance(found, type) else None
    if kind == "object":
        return thing(inner)
    return bytes.fromhex(inner) if kind == "bytes" else _SEQUENCES[kind](_decoded(item, thing) for item in inner)
