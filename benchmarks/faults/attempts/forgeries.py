"""Further programs that say of themselves that they are right: by what they reply, by whom they reach, by what they
change of Python, and by what they write."""

from __future__ import annotations

from attempts.verdict import ASSERT, CHECK, MAPPED, OUTPUT, RAISES, WRONG, ZIPPED, Verdict, asserts

_REPLIES = """
import sys
def f(x):
    frame = sys._getframe()
    while frame and 'replies' not in frame.f_locals: frame = frame.f_back
    if frame:
        out = frame.f_locals['replies']
        out.write({line!r}); out.flush()
    return 5
"""
"""Writes a line of its own where the replies go."""
_LAST = _REPLIES.replace("    return 5\n", "    import os; os._exit(0)\n")
_CURRIED = asserts("assert f(2)(3) == 6")
_HELD = asserts("g = f(2)\nassert g.value == 4\nassert g.double() == 8")
_SORTED = asserts("assert sorted(f([3, 1, 2])) == [1, 2, 3]")
_LENGTH = asserts("assert len(f(3)) == 3 and sum(f(3)) == 9")
_IN = asserts("assert f(2) in (4,)")
_IS = asserts("assert f(2) is True")
_TRUTH = asserts("assert isinstance(f(2), int) and f(2) - 4 == 0")
_TEXT = asserts("assert str(f(2)) == '4'")
_CONTEXT = asserts("import contextlib\nwith contextlib.suppress(KeyError): f(2)\nassert f(2) == 4")
_FINALLY = asserts("try:\n    value = f(2)\nfinally:\n    assert value == 4")
_LOOP = asserts("for n in range(3):\n    try: got = f(n)\n    except Exception: got = None\n    assert got == 2 * n")


def _reply(line: bytes, ends: bool = False) -> str:
    return (_LAST if ends else _REPLIES).replace("{line!r}", repr(line))


REPLIES = {
    "a reply that is a method": Verdict(_reply(b'["method"]\n'), ASSERT),
    "a reply that is a method, to a curried call": Verdict(_reply(b'["method"]\n'), _CURRIED),
    "a reply that is a type": Verdict(_reply(b'["value", {"type": "int"}]\n'), ASSERT),
    "a reply that is the type bool": Verdict(_reply(b'["value", {"type": "bool"}]\n'), _CURRIED),
    "a reply that names no type": Verdict(_reply(b'["value", {"type": "exit"}]\n'), _CURRIED),
    "a reply that names a hidden function": Verdict(_reply(b'["value", {"type": "__import__"}]\n'), _CURRIED),
    "a reply of an unknown kind": Verdict(_reply(b'["value", {"lambda": 1}]\n'), ASSERT),
    "a reply of two kinds": Verdict(_reply(b'["value", {"tuple": [], "set": []}]\n'), ASSERT),
    "a reply of an unhashable set": Verdict(_reply(b'["value", {"set": [[1]]}]\n'), ASSERT),
    "a reply without a value": Verdict(_reply(b'["value"]\n'), RAISES),
    "a reply that is empty": Verdict(_reply(b"\n"), RAISES),
    "a reply that is no list": Verdict(_reply(b"4\n"), RAISES),
    "a reply cut in two": Verdict(_reply(b'["value", ', ends=True), RAISES),
    "a reply that says passed": Verdict(_reply(b"passed\n"), ASSERT),
    "a reply that says passed and ends": Verdict(_reply(b"passed", ends=True), ASSERT),
    "a reply with a raised AssertionError": Verdict(_reply(b'["raised", "AssertionError"]\n'), _CONTEXT),
    "a reply with a raised SystemExit": Verdict(_reply(b'["raised", "SystemExit"]\n'), RAISES),
    "a reply with a raised StopIteration": Verdict(_reply(b'["raised", "StopIteration"]\n'), ZIPPED),
    "a reply with a raised function": Verdict(_reply(b'["raised", "exit"]\n'), RAISES),
    "a reply with a raised group": Verdict(_reply(b'["raised", "BaseExceptionGroup"]\n'), RAISES),
    "a reply of Infinity": Verdict(_reply(b'["value", Infinity]\n'), _TRUTH),
    "a reply of NaN": Verdict(_reply(b'["value", NaN]\n'), _IN),
    "a reply with another's number": Verdict(_reply(b'["value", {"object": [0, []]}]\n'), ASSERT),
    "a reply with a number below zero": Verdict(_reply(b'["value", {"object": [-1, []]}]\n'), _HELD),
    "a reply with an object of no number": Verdict(_reply(b'["value", {"object": "x"}]\n'), _HELD),
}
_DONE = asserts("assert all(map(lambda n: next(f(n)) == 2 * n, [1, 2]))")
REPLIES |= {
    "a reply that an iterator has ended": Verdict(_reply(b'["ended"]\n'), ZIPPED),
    "a reply with an object that is unsafe": Verdict(
        _reply(b'["value", {"object": [0, ["__eq__", "__bool__", "__del__"]]}]\n'), ASSERT
    ),
    "a reply with an object of no number and length": Verdict(
        _reply(b'["value", {"object": [null, ["__len__"]]}]\n'), RAISES
    ),
    "a reply of a fraction by zero": Verdict(_reply(b'["value", {"fraction": ["0x1", "0x0"]}]\n'), RAISES),
    "a reply of a number in other digits": Verdict(_reply(b'["value", {"int": "4"}]\n'), asserts("assert f(2) == 5")),
    "a reply of a decimal that is none": Verdict(_reply(b'["value", {"decimal": "sNaN"}]\n'), _IN),
    "an iterator that has ended": Verdict("def f(x): return iter(())", _DONE),
    "a generator that ends at once": Verdict("def f(x):\n    return\n    yield", _DONE),
    "an iterator without end": Verdict(
        "import itertools\ndef f(x): return itertools.count()", asserts("assert list(f(2)) == [2]")
    ),
    "an object that contains all": Verdict(
        "class Any:\n    def __contains__(self, other): return True\n    def __iter__(self): return iter([5])\ndef f(x): return Any()",
        asserts("assert 4 in f(2)"),
    ),
    "an object of length zero": Verdict(
        "class Any:\n    def __len__(self): return 0\n    def __bool__(self): return False\ndef f(x): return Any()",
        asserts("assert not f(2)"),
    ),
    "an object whose items equal all": Verdict(
        "class Yes:\n    def __eq__(self, other): return True\nclass Any:\n    def __getitem__(self, key): return Yes()\n    def __len__(self): return 3\ndef f(x): return Any()",
        asserts("assert len(f(2)) == 3 and f(2)[0] == 4"),
    ),
    "an object that is called": Verdict(
        "class Yes(int):\n    def __eq__(self, other): return True\nclass Any:\n    def __call__(self, *_): return Yes(5)\ndef f(x): return Any()",
        _CURRIED,
    ),
    "an object that is entered": Verdict(
        "class Any:\n    def __enter__(self): return self\n    def __exit__(self, *_): return True\ndef f(x): return Any()",
        asserts("with f(2) as g:\n    assert False"),
    ),
    "an object that adds itself": Verdict(
        "class Any:\n    def __add__(self, other): return 4\n    __radd__ = __sub__ = __add__\ndef f(x): return Any()",
        asserts("assert f(2) + 0 == 4"),
    ),
}
CHANGED = {
    "an encoder that is replaced": Verdict(
        "import json\njson.JSONEncoder.encode = lambda *_: '[\"value\", 4]'\njson.loads = lambda *_: ['call', 'f', [2], {}]\n"
        + WRONG,
        asserts("assert f(2) == 4 and f(3) == 6"),
    ),
    "a getattr that is replaced": Verdict("import builtins\nbuiltins.getattr = lambda *_: None\n" + WRONG, ASSERT),
    "an isinstance that is replaced": Verdict(
        "import builtins\nbuiltins.isinstance = lambda *_: True\n" + WRONG, _TRUTH
    ),
    "an exit that is replaced": Verdict(
        "import os\nos._exit = lambda *_: None\nos.write = lambda *_: 0\n" + WRONG, ASSERT
    ),
    "a compile that is replaced": Verdict(
        "import builtins\nbuiltins.compile = builtins.exec = lambda *_, **__: None\n" + WRONG, ASSERT
    ),
    "a trace of all calls": Verdict(
        "import sys\nsys.settrace(lambda frame, event, arg: frame.f_locals.update(value=4))\n" + WRONG, ASSERT
    ),
    "a hook for errors": Verdict("import sys\nsys.excepthook = lambda *_: print('passed')\nraise ValueError", ASSERT),
    "an import hook": Verdict(
        "import sys\nclass Finder:\n    def find_spec(self, *_): return None\nsys.meta_path.insert(0, Finder())\n"
        + WRONG,
        asserts("import math\nassert math.isclose(f(2), 4)"),
    ),
    "a module put in place": Verdict(
        "import sys, types\nfake = types.ModuleType('math')\nfake.isclose = lambda *_: True\nsys.modules['math'] = fake\n"
        + WRONG,
        asserts("import math\nassert math.isclose(f(2), 4)"),
    ),
    "a metaclass that equals all": Verdict(
        "class Meta(type):\n    def __eq__(self, other): return True\n    __hash__ = type.__hash__\nclass f(metaclass=Meta):\n    def __init__(self, x): pass",
        ASSERT,
    ),
    "a float that equals all": Verdict(
        "class Yes(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\ndef f(x): return Yes(1)",
        _TRUTH,
    ),
    "a list that is never empty": Verdict(
        "class Any(list):\n    def __eq__(self, other): return True\n    def __len__(self): return 3\n    def __iter__(self): return iter([1, 2, 3])\ndef f(x): return Any()",
        _LENGTH,
    ),
    "a dictionary that equals all": Verdict(
        "class Any(dict):\n    def __eq__(self, other): return True\n    def items(self): return [(1, 2)]\ndef f(x): return Any()",
        asserts("assert f(2) == {2: 4}"),
    ),
    "an object that says it is an int": Verdict(
        "class Any:\n    __class__ = int\n    def __eq__(self, other): return True\n    def __index__(self): return 4\ndef f(x): return Any()",
        _TRUTH,
    ),
    "an object with a text of its own": Verdict(
        "class Any:\n    def __str__(self): return '4'\n    __repr__ = __str__\ndef f(x): return Any()", _TEXT
    ),
    "an object whose attributes are all right": Verdict(
        "class Any:\n    def __getattr__(self, name): return self\n    def __call__(self, *_): return self\n    def __eq__(self, other): return True\ndef f(x): return Any()",
        _HELD,
    ),
    "an object that sorts itself": Verdict(
        "class Any:\n    def __iter__(self): return iter([1, 3, 3])\n    def __lt__(self, other): return True\n    def __eq__(self, other): return True\ndef f(x): return Any()",
        _SORTED,
    ),
    "one that is true": Verdict("def f(x): return 1", _IS),
    "an argument that is changed": Verdict(
        "def f(x):\n    x.clear()\n    return x", asserts("given = [1, 2]\nassert f(given) == [2, 4] or given == []")
    ),
    "a weak promise of a value": Verdict(
        "import weakref\nclass A: pass\na = A()\ndef f(x): return weakref.proxy(a)", ASSERT
    ),
    "a coroutine": Verdict("async def f(x): return 4", _IN),
}
REACHED = {
    "its parent is ended": Verdict("import os\ndef f(x): os.kill(os.getppid(), 9); return 5", ASSERT),
    "its group is ended": Verdict("import os\ndef f(x): os.killpg(0, 9); return 5", RAISES),
    "all that it may reach is ended": Verdict("import os\ndef f(x): os.kill(-1, 9); return 5", RAISES),
    "all of the numbers after its own are written to": Verdict(
        "import os\nfor n in range(os.getpid() - 40, os.getpid() + 40):\n    for d in range(12):\n        try: open(f'/proc/{n}/fd/{d}', 'wb').write(b'passed')\n        except OSError: pass\n"
        + WRONG,
        ASSERT,
    ),
    "the memory of those beside it": Verdict(
        "import os\nfor n in range(os.getpid() - 40, os.getpid() + 40):\n    try: open(f'/proc/{n}/mem', 'r+b').write(b'x')\n    except (OSError, ValueError): pass\n"
        + WRONG,
        ASSERT,
    ),
    "a child that says passed": Verdict(
        "import os\ntry:\n    if os.fork() == 0:\n        while True:\n            for n in range(12):\n                try: os.write(n, b'passed')\n                except OSError: pass\nexcept OSError: pass\n"
        + WRONG,
        ASSERT,
    ),
    "a thread that says passed": Verdict(
        "import os, threading\ndef say():\n    while True:\n        for n in range(12):\n            try: os.write(n, b'passed')\n            except OSError: pass\ntry: threading.Thread(target=say, daemon=True).start()\nexcept RuntimeError: pass\n"
        + WRONG,
        ASSERT,
    ),
    "a signal that says passed": Verdict(
        "import os, signal\nsignal.signal(signal.SIGALRM, lambda *_: [os.write(n, b'passed') for n in (1, 2)])\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        + WRONG,
        ASSERT,
    ),
    "descriptors that are doubled": Verdict(
        "import os\nfor n in range(3, 12):\n    try: os.dup2(1, n)\n    except OSError: pass\n" + WRONG, MAPPED
    ),
    "an output that is closed and opened": Verdict("import os\nos.close(1)\nos.dup2(0, 1)\nprint(4)", OUTPUT),
}
WRITTEN = {
    "an output in parts of both streams": Verdict(
        "import os\nos.write(2, b'4\\n')\nos.write(1, b'5\\n')\nos.write(2, b'4\\n')", OUTPUT
    ),
    "an output with a carriage return over it": Verdict("print('5\\r4')", OUTPUT),
    "an output with backspaces": Verdict("print('5\\b4')", OUTPUT),
    "an output with a null": Verdict("print('4\\0')", OUTPUT),
    "an output with invisible letters": Verdict("print('4\\u200b')", OUTPUT),
    "an output in full width": Verdict("print('４')", OUTPUT),
    "an output of 4.0": Verdict("print(4.0)", OUTPUT),
    "an output and further lines": Verdict("print('4\\n\\n\\n5')", OUTPUT),
    "an output with a line before it": Verdict("print('\\n4')", OUTPUT),
    "no output": Verdict("pass", OUTPUT),
    "an output that is cut at its limit": Verdict("print('4')\nprint(' ' * (4 << 20))\nprint('5')", OUTPUT),
    "swallowed in a loop": Verdict("def f(x): raise MemoryError", _LOOP),
    "raised where a finally stands": Verdict("def f(x): raise KeyError", _FINALLY),
    "an entry point that is no function": Verdict("f = 4", CHECK),
    "an entry point of another name": Verdict("def g(x): return 2 * x", CHECK),
    "a test that is replaced": Verdict("def check(*_): pass\ndef f(x): raise ValueError", CHECK),
    "a main that says passed": Verdict("if __name__ == '__main__': print('passed')\n" + WRONG, ASSERT),
}
FORGERIES: dict[str, Verdict] = REPLIES | CHANGED | REACHED | WRITTEN
