"""The program that starts in a sandbox. Standard library only; its text is handed to the interpreter there.

``argv``: what to do, the descriptor of the source, then seconds and bytes of memory. It lays down what it has (user,
descriptors, limits) and then becomes one of three:

* ``program``: the source, with standard input and output;
* ``functions``: the source, whose functions are called over the lines of standard input and output;
* ``tests``: the text of a test, in which every name that it does not define is such a function of the other process,
  over the two descriptors that follow in ``argv``. Only values come over, so that no answer can say that it is right.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

NOBODY = 65534
LINE_BYTES = 1 << 20
_SEQUENCES: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def main() -> None:
    what, source, seconds, memory_bytes, *channel = sys.argv[1:]
    with os.fdopen(int(source), "rb") as file:
        text = file.read().decode("utf-8", "surrogatepass")
    _restrict(int(seconds), int(memory_bytes))
    sys.argv[:] = ["answer.py"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # site's, which is left out
    if what == "program":
        exec(compile(text, "answer.py", "exec"), {"__name__": "__main__", "__builtins__": builtins})
    elif what == "functions":
        _serve(text)
    else:
        _test(text, int(channel[0]), int(channel[1]))


def _restrict(seconds: int, memory_bytes: int) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


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
            reply = ["raised", type(error).__name__]
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


class _Names(dict[str, Any]):
    """The names of a test: its own, Python's, and for every other one a function of the answer."""

    def __init__(self, read: int, write: int) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._replies, self._requests = os.fdopen(read, "rb"), os.fdopen(write, "wb")

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._requests.write(json.dumps(_encoded([name, list(arguments), named])).encode() + b"\n")
            self._requests.flush()
            said, value = json.loads(self._replies.readline(LINE_BYTES))
            if said == "value":
                return _decoded(value)
            kind = getattr(builtins, str(value), RuntimeError)
            raise kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError

        return call


def _test(text: str, read: int, write: int) -> None:
    """Says ``passed`` where the test ran to its end."""
    exec(compile(text, "tests.py", "exec"), _Names(read, write))
    sys.stdout.write("passed")


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


if __name__ == "__main__":
    main()
