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
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from groupwise.isolation.limits import become_nobody, limit
from groupwise.isolation.plain_values import PROTOCOLS, decoded, encoded

LINE_BYTES = 1 << 20
_ENDED = object()
PASSED = b"passed"


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
        what, *request = decoded(json.loads(line), lambda number, _: answer.objects[number])
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
        return ["value", encoded(function(*arguments, **named), self._kept)]

    def method(self, thing: Any, name: str, arguments: list[Any], named: dict[str, Any]) -> list[Any]:
        return ["value", encoded(getattr(thing, name)(*arguments, **named), self._kept)]

    def get(self, thing: Any, name: str) -> list[Any]:
        value = getattr(thing, name)
        return ["method"] if callable(value) else ["value", encoded(value, self._kept)]

    def set(self, thing: Any, name: str, value: Any) -> list[Any]:
        setattr(thing, name, value)
        return ["value", None]

    def invoke(self, thing: Any, arguments: list[Any], named: dict[str, Any]) -> list[Any]:
        return ["value", encoded(thing(*arguments, **named), self._kept)]

    def length(self, thing: Any) -> list[Any]:
        return ["value", len(thing)]

    def item(self, thing: Any, key: Any) -> list[Any]:
        return ["value", encoded(thing[key], self._kept)]

    def iterate(self, thing: Any) -> list[Any]:
        return ["value", {"object": [self._kept(iter(thing)), ["__next__"]]}]

    def next(self, thing: Any) -> list[Any]:
        try:
            return ["value", encoded(next(thing), self._kept)]
        except StopIteration:
            return ["ended"]

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
        line = json.dumps(encoded([what, *request], _number)).encode() + b"\n"
        said, value = self._reply(line)
        if said == "raised":
            raise _exception(value)
        if said == "ended" and what == "next":
            return _ENDED
        if said in ("ended", "method") and what != "get":
            os._exit(1)  # no such reply was asked for
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
                return said, decoded(value[0], functools.partial(_thing, self.ask))
            return (said, None) if said in ("method", "ended") else ("raised", str(value[0]))
        except BaseException:
            os._exit(1)


class _Object:
    """An object of the answer's class, which stays there: its attributes are asked for, and its length, items and
    calls where it has them. It equals itself alone and is true, whatever it says of itself."""

    def __init__(self, number: int, ask: Callable[..., Any]) -> None:
        vars(self).update(_number=number, _ask=ask)

    def __getattr__(self, name: str) -> Any:
        return vars(self)["_ask"]("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["_ask"]("set", self, name, value)

    def __bool__(self) -> bool:
        return True


def _call(self: _Object, *arguments: Any, **named: Any) -> Any:
    return vars(self)["_ask"]("invoke", self, list(arguments), named)


def _length(self: _Object) -> int:
    return int(vars(self)["_ask"]("length", self))


def _item(self: _Object, key: Any) -> Any:
    return vars(self)["_ask"]("item", self, key)


def _iterator(self: _Object) -> Iterator[Any]:
    return _items(vars(self)["_ask"]("iterate", self))


def _next(self: _Object) -> Any:
    if (item := vars(self)["_ask"]("next", self)) is _ENDED:
        raise RuntimeError("the answer's iterator has ended")  # a StopIteration would end the test's own loops
    return item


_METHODS = dict(zip(PROTOCOLS, (_call, _length, _item, _iterator, _next), strict=True))


def _thing(ask: Callable[..., Any], number: int, protocols: list[str]) -> _Object:
    """What stands in a test for an object of the answer's."""
    return _with(tuple(name for name in PROTOCOLS if name in protocols))(number, ask)


@functools.cache
def _with(protocols: tuple[str, ...]) -> type[_Object]:
    return type("Answer", (_Object,), {name: _METHODS[name] for name in protocols})


def _items(iterator: Any) -> Iterator[Any]:
    while (item := vars(iterator)["_ask"]("next", iterator)) is not _ENDED:
        yield item


def _number(value: Any) -> int:
    """Of an object of the answer's. Raises TypeError for any other thing that is no plain value."""
    if isinstance(value, _Object):
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
