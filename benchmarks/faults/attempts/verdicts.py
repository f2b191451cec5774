"""Programs that say of themselves that they are right, and right ones that something keeps from being found so."""

from __future__ import annotations

from attempts.forgeries import FORGERIES
from attempts.verdict import ASSERT, CHECK, MAPPED, OUTPUT, RAISES, RIGHT, WRONG, ZIPPED, Verdict, asserts

ANY = asserts("assert not any(f(n) != 2 * n for n in range(3))")
FILTERED = asserts("assert not list(filter(lambda n: f(n) != 2 * n, [1, 2, 3]))")
SORTED = asserts("bad = 0\nfor n in map(f, [1, 2, 3]): bad += n not in (2, 4, 6)\nassert bad == 0")
ATTEMPTED = asserts("import unittest\nt = unittest.TestCase()\nwith t.assertRaises(ValueError): f('x')")
_STDOUT = "import os\nfor n in range(32):\n    try: os.write(n, {text!r})\n    except OSError: pass\n"

FORGED: dict[str, Verdict] = {
    "StopIteration in a map": Verdict("def f(x): raise StopIteration", MAPPED),
    "StopIteration in a zip": Verdict("def f(x): raise StopIteration", ZIPPED),
    "StopIteration in a loop": Verdict("def f(x): raise StopIteration", SORTED),
    "StopIteration in a filter": Verdict("def f(x): raise StopIteration", FILTERED),
    "StopIteration in a generator": Verdict("def f(x): raise StopIteration", ANY),
    "StopIteration after a right answer": Verdict(
        "seen = []\ndef f(x):\n    if seen: raise StopIteration\n    seen.append(x)\n    return 2 * x", ZIPPED
    ),
    "StopIteration by another name": Verdict(
        "class StopIteration(Exception): pass\ndef f(x): raise StopIteration", ZIPPED
    ),
    "StopAsyncIteration": Verdict("def f(x): raise StopAsyncIteration", MAPPED),
    "GeneratorExit": Verdict("def f(x): raise GeneratorExit", MAPPED),
    "an iterator that is empty": Verdict("def f(x): return iter(())", ZIPPED),
    "dies where an error is asked for": Verdict("import os\ndef f(x): os._exit(0)", RAISES),
    "is interrupted where an error is asked for": Verdict("def f(x): raise KeyboardInterrupt", RAISES),
    "exits where an error is asked for": Verdict("def f(x): raise SystemExit", RAISES),
    "is killed where an error is asked for": Verdict("import os\ndef f(x): os.kill(os.getpid(), 9)", RAISES),
    "closes its output where an error is asked for": Verdict(
        "import os\ndef f(x):\n    for n in range(32):\n        try: os.close(n)\n        except OSError: pass", RAISES
    ),
    "answers with nonsense where an error is asked for": Verdict(_STDOUT.format(text=b"nonsense\n") + WRONG, RAISES),
    "answers too much where an error is asked for": Verdict("def f(x): return 'x' * (4 << 20)", RAISES),
    "answers what cannot be said where an error is asked for": Verdict("def f(x): return object()", RAISES),
    "dies in unittest": Verdict("import os\ndef f(x): os._exit(0)", ATTEMPTED),
    "raises another error": Verdict("def f(x): raise TypeError", RAISES),
    "an error with a forged name": Verdict(
        "class ValueError(TypeError): pass\nValueError.__name__ = 'AssertionError'\ndef f(x): raise ValueError", RAISES
    ),
    "an error that is a group": Verdict("def f(x): raise ExceptionGroup('x', [ValueError()])", RAISES),
    "AssertionError where it is swallowed": Verdict(
        "def f(x): raise AssertionError",
        asserts("ok = True\ntry: ok = f(2) == 4\nexcept TypeError: pass\nassert ok is True"),
    ),
    "exits early": Verdict("raise SystemExit(0)", ASSERT),
    "ends early": Verdict("import os; os._exit(0)", ASSERT),
    "says passed": Verdict(_STDOUT.format(text=b"passed") + WRONG, ASSERT),
    "says passed on a line": Verdict(_STDOUT.format(text=b"\npassed\n") + WRONG, ASSERT),
    "says passed and ends": Verdict(_STDOUT.format(text=b"passed") + "os._exit(0)", ASSERT),
    "says passed at the end": Verdict(
        "import atexit, os\natexit.register(lambda: [os.write(n, b'passed') for n in range(9)])\n" + WRONG, ASSERT
    ),
    "answers before it is asked": Verdict(_STDOUT.format(text=b'["value", 4]\n' * 9) + WRONG, CHECK),
    "answers twice": Verdict("import os\ndef f(x):\n    os.write(1, b'[\"value\", 4]\\n')\n    return 5", CHECK),
    "answers on every descriptor": Verdict(
        "import os\ndef f(x):\n    for n in range(32):\n        try: os.write(n, b'[\"value\", 4]\\n')\n        except OSError: pass\n    return 5",
        CHECK,
    ),
    "a number that equals all": Verdict(
        "class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes()", ASSERT
    ),
    "a text that equals all": Verdict(
        "class Yes(str):\n    def __eq__(self, other): return True\ndef f(x): return Yes()", ASSERT
    ),
    "an object that equals all": Verdict(
        "class Yes:\n    def __eq__(self, other): return True\ndef f(x): return Yes()", ASSERT
    ),
    "a class that is named int": Verdict(
        "class int(int):\n    def __eq__(self, other): return True\nint.__module__ = 'builtins'\ndef f(x): return int()",
        ASSERT,
    ),
    "nan": Verdict("def f(x): return float('nan')", asserts("assert f(2) >= 4 or f(2) == 4")),
    "a list within itself": Verdict("a = []\na.append(a)\ndef f(x): return a", ASSERT),
    "a list of a hundred thousand lists": Verdict(
        "def f(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a", ASSERT
    ),
    "a number of a million digits": Verdict("def f(x): return 10 ** 1000000", ASSERT),
    "changed asserts": Verdict("import builtins\nbuiltins.AssertionError = SystemExit\n" + WRONG, ASSERT),
    "changed functions": Verdict("import builtins\nbuiltins.all = builtins.any = lambda *_: True\n" + WRONG, MAPPED),
    "changed json": Verdict(
        "import json\njson.dumps = lambda *_, **__: '[\"value\", 4]'\n" + WRONG,
        asserts("assert f(2) == 4 and f(3) == 6"),
    ),
    "a function that the test calls by another name": Verdict(
        "def f(x): return 0\ndef is_close(a, b): return True\ndef isclose(a, b): return True",
        {"test": "def check(candidate):\n    assert is_close(candidate(2), 4)\n", "entry_point": "f"},
    ),
    "a test's own function": Verdict("def check(candidate): return True\ndef f(x): return 0", CHECK),
    "a test's own module": Verdict(
        "class math:\n    isclose = staticmethod(lambda a, b: True)\ndef f(x): return 0",
        asserts("import math\nassert math.isclose(f(2), 4)"),
    ),
    "a value seen in memory": Verdict(
        "import gc\ndef f(x): return [one for one in gc.get_objects() if isinstance(one, str) and 'assert f' in one][0] and 4",
        asserts("assert f(2) == 4 and f(3) == 6"),
    ),
    "the frames above it": Verdict(
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        if 'want' in frame.f_locals: return frame.f_locals['want']\n        frame = frame.f_back",
        ZIPPED,
    ),
    "the output of a test before": Verdict(
        "print(4)", {"tests": [{"input": "2", "output": "5"}, {"input": "3", "output": "6"}]}
    ),
    "all outputs at once": Verdict("print('4\\n5\\n6')", OUTPUT),
    "its input as output": Verdict("import sys; print(open(0).read())", OUTPUT),
    "an output and a crash": Verdict("print(4)\nraise SystemExit(1)", OUTPUT),
    "an output and no end": Verdict("print(4, flush=True)\nwhile True: pass", OUTPUT),
    "an output and an abort": Verdict("import os\nprint(4, flush=True)\nos.abort()", OUTPUT),
    "an output on the other stream": Verdict("import sys; print(4, file=sys.stderr)", OUTPUT),
    "surrogates in the output": Verdict("import os; os.write(1, b'4\\xff')", OUTPUT),
    "no program": Verdict("", ASSERT),
    "suppressed by the test": Verdict(WRONG, asserts("assert f(2) == 4 or exit(0)")),
}
FORGED |= FORGERIES
LONG = RIGHT + "# " + "x" * 20_000 + "\n"
LOST: dict[str, Verdict] = {
    "a generator that is listed": Verdict(
        "def f(x):\n    yield from range(x)", asserts("assert list(f(3)) == [0, 1, 2]\nassert next(f(3)) == 0"), True
    ),
    "a function that is returned": Verdict(
        "def f(x): return lambda y: x * y", asserts("assert f(2)(3) == 6 and callable(f(2))"), True
    ),
    "a container of its own": Verdict(
        "class It:\n    def __iter__(self): return iter([1, 2])\n    def __len__(self): return 2\n    def __getitem__(self, n): return [1, 2][n]\ndef f(x): return It()",
        asserts(
            "assert len(f(2)) == 2 and f(2)[1] == 2 and list(f(2)) == sorted(f(2)) == [1, 2] and not callable(f(2))"
        ),
        True,
    ),
    "ranges, fractions, decimals and days": Verdict(
        "import datetime, decimal, fractions\ndef f(x): return [range(x), fractions.Fraction(x, 3), decimal.Decimal(x) / 4, datetime.date(2020, 1, x), datetime.timedelta(x), bytearray(x)]",
        asserts(
            "import datetime, decimal, fractions\nassert f(2) == [range(2), fractions.Fraction(2, 3), decimal.Decimal('0.5'), datetime.date(2020, 1, 2), datetime.timedelta(2), bytearray(2)]"
        ),
        True,
    ),
    "numbers of six thousand digits": Verdict(
        "def f(x): return x * 10", asserts("assert f(10 ** 6000) == 10 ** 6001"), True
    ),
    "views of a dictionary": Verdict("def f(x): return x.items()", asserts("assert list(f({1: 2})) == [(1, 2)]"), True),
    "asserts": Verdict(RIGHT, ASSERT, True),
    "input and output": Verdict("print(2 * int(input()))", OUTPUT, True),
    "a check of an entry point": Verdict(RIGHT, CHECK, True),
    "a test that prints": Verdict(RIGHT, asserts("print('checking')\nassert f(1) == 2"), True),
    "a test that prints a lot": Verdict(RIGHT, asserts("print('x' * 300000)\nassert f(1) == 2"), True),
    "a test that prints without a newline": Verdict(
        RIGHT, asserts("import sys\nsys.stdout.write('checking')\nassert f(1) == 2"), True
    ),
    "a test that prints to the other stream": Verdict(
        RIGHT, asserts("import sys\nprint('x', file=sys.stderr)\nassert f(1) == 2"), True
    ),
    "a test that closes its output": Verdict(RIGHT, asserts("import sys\nassert f(1) == 2\nsys.stdout.close()"), True),
    "a test that says passed": Verdict(RIGHT, asserts("assert f(1) == 2\nprint('passed')"), True),
    "a program that prints": Verdict("print('hello')\ndef f(x):\n    print('noise')\n    return 2 * x", ASSERT, True),
    "a program that prints lines like answers": Verdict("print('[\"value\", 5]')\n" + RIGHT, ASSERT, True),
    "an error that is asked for": Verdict("def f(x): raise ValueError('no')", RAISES, True),
    "an error of a class of its own": Verdict("class Mine(ValueError): pass\ndef f(x): raise Mine('no')", RAISES, True),
    "a generator": Verdict("def g(x):\n    yield x\n    yield x\ndef f(x): return sum(g(x))", MAPPED, True),
    "asyncio": Verdict(
        "import asyncio\nasync def g(x):\n    await asyncio.sleep(0)\n    return 2 * x\ndef f(x): return asyncio.run(g(x))",
        ASSERT,
        True,
    ),
    "asyncio and output": Verdict(
        "import asyncio\nasync def g():\n    await asyncio.sleep(0.01)\n    print(4)\nasyncio.run(g())", OUTPUT, True
    ),
    "twenty modules": Verdict(
        "import re, math, json, heapq, bisect, random, string, decimal, fractions, itertools, functools, collections, "
        "statistics, datetime, operator, copy, typing, dataclasses, enum, hashlib, array, io, tempfile, zlib\n" + RIGHT,
        ASSERT,
        True,
    ),
    "a hundred megabytes": Verdict("x = bytearray(100 << 20)\n" + RIGHT, ASSERT, True),
    "recursion": Verdict(
        "import sys\nsys.setrecursionlimit(20000)\ndef g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(x): return 2 * x + g(5000) - 5000",
        ASSERT,
        True,
    ),
    "tuples and sets": Verdict(
        "def f(x): return (x, {x}, {x: [x]})", asserts("assert f(2) == (2, {2}, {2: [2]})"), True
    ),
    "a large answer": Verdict("def f(x): return list(range(50000))", asserts("assert len(f(2)) == 50000"), True),
    "a large input": Verdict("print(len(input()))", {"tests": [{"input": "x" * 300_000, "output": "300000"}]}, True),
    "letters of other scripts": Verdict(
        "print(input()[::-1])", {"tests": [{"input": "日本é", "output": "é本日"}]}, True
    ),
    "a long program": Verdict(LONG, ASSERT, True),
    "an exit with nothing to say": Verdict("print(4)\nexit()", OUTPUT, True),
}
HOARDER = (
    "import os, time\nkept = []\ntry:\n    while True: kept.append(os.pipe())\nexcept OSError: pass\ntime.sleep(1.5)"
)
"""Takes all pipes of its user's, while long right programs beside it start."""
