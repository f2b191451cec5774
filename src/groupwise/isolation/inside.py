"""What runs in a sandbox's process. Standard library only, beside the modules that come with it (``parcel``).

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
_SEQUENCES: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def main(settings: dict[str, Any]) -> None:
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
    if settings["filter"] is None:  # bubblewrap has laid down the rest
        limit(settings["seconds"], settings["memory_bytes"], settings["threads"])
        become_nobody()
        return
    from groupwise.isolation.confinement import drop_privileges, enter, filter_calls, ruleset

    rules = ruleset(settings["readable"], settings["listed"])
    limit(settings["seconds"], settings["memory_bytes"])
    become_nobody(keeps=os.__file__)
    drop_privileges()
    enter(rules)
    filter_calls(settings["filter"])


def _serve(text: str) -> None:
    """Line after line: ``[name, arguments, named arguments]`` -> ``["value", v]`` or ``["raised", type's name]``."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 0)  # standard error leads nowhere
    os.dup2(2, 1)
    names: dict[str, Any] = {"__name__": "answer", "__builtins__": builtins}
    exec(compile(text, "answer.py", "exec"), names)
    while line := requests.readline(LINE_BYTES):
        name, arguments, named = _decoded(json.loads(line))
        try:
            function = names[name] if name in names else getattr(names["Solution"](), name)
            reply: list[Any] = ["value", _encoded(function(*arguments, **named))]
        except Exception as error:
            reply = ["raised", _kind(error)]
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


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
        if name not in self._expected:
            if hasattr(builtins, name):
                return getattr(builtins, name)
            raise NameError(f"name {name!r} is not defined")

        def call(*arguments: Any, **named: Any) -> Any:
            request = json.dumps(_encoded([name, list(arguments), named])).encode() + b"\n"
            value, kind = self._reply(request)
            if kind is not None:
                raise _exception(kind)
            return value

        return call

    def _reply(self, request: bytes) -> tuple[Any, str | None]:
        """The value, or what was raised. An answer's process that is dead or talks nonsense ends the test at once: an
        exception could be what the test waits for."""
        try:
            self._requests.write(request)
            self._requests.flush()
            said, value = json.loads(self._replies.readline(LINE_BYTES))
            if said == "value":
                return _decoded(value), None
            return None, str(value)
        except BaseException:
            os._exit(1)


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


def _encoded(value: Any) -> Any:
    """Plain values as JSON that keeps their types. Raises TypeError for any other, and for a subclass of them."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_encoded(item) for item in value]
    if type(value) is dict:
        return {"dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    if type(value) is complex:
        return {"complex": [value.real, value.imag]}
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if type(value).__name__ in _SEQUENCES and type(value).__module__ == "builtins":
        return {type(value).__name__: [_encoded(item) for item in value]}
    raise TypeError(type(value).__name__)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {_decoded(key): _decoded(item) for key, item in inner}
    if kind == "complex":
        return complex(*inner)
    return bytes.fromhex(inner) if kind == "bytes" else _SEQUENCES[kind](map(_decoded, inner))
