"""Every regular expression of the package takes time in proportion to its text, whatever that is.

They are found in the source, and texts that would make each of them go back are made of its own parts: what stands
before a repetition, what is repeated, and something behind it that does not fit.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

import groupwise

ROOT = Path(groupwise.__file__).parent
FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
ANCHORED = {"match", "fullmatch"}
FLAGS_AT = {
    "compile": 1,
    "match": 2,
    "fullmatch": 2,
    "search": 2,
    "findall": 2,
    "finditer": 2,
    "split": 3,
    "sub": 4,
    "subn": 4,
}
SHORT = (*range(13, 29), 34, 40, 64)
"""Letters at which what doubles with every letter is seen before it hangs."""
SMALL, FACTOR = 2_000, 8
GROWTH, FREE = 28.0, 0.015
"""8 times the text may take so many times the time (a square takes 64 times), from so many seconds on."""
MISFITS = ("", "!", "\n")
MOST_UNITS = 40
"""Of a pattern, drawn evenly from all."""


class Use(NamedTuple):
    """A pattern, and how it is used: from where it stands on alone, or anywhere in a text."""

    where: str
    pattern: re.Pattern[Any]
    anchored: bool
    longest: int | None = None


LONGEST: dict[str, int] = {
    "groupwise.rewards.reading.endings:_NEGATED": 40,
    "groupwise.rewards.reading.quantities:": 400,
    "groupwise.rewards.reading.parsing:": 2_000,
    "groupwise.rewards.reading.formulas:": 2_000,
}
"""Patterns that see so many letters at most, by the beginning of their place."""
LOCAL: dict[str, dict[str, Any]] = {
    "groupwise.runs.changes:pattern": {"pattern": r"stages\[\d+\]\.steps"},
    "groupwise.storage.clearing:": {"stage": "sft", "top": "run|json"},
    "groupwise.commands.flags:": {"flag": SimpleNamespace(name="steps")},
    "groupwise.runs.directory:": {"stage": "sft"},
    "groupwise.rewards.http:": {"spelled": "key"},
    "groupwise.tasks.choices:": {"letter": "A", "text": "one"},
}
"""Values of what a pattern is made of inside a function, by place."""
NOT_OURS = ("groupwise.rewards.format:self.pattern",)
"""A recipe's own, which runs in a process with a limit of time."""


def uses() -> Iterator[Use]:
    """All of them, in the order of the files."""
    calls_of_re = re.compile(rf"\bre\s*\.\s*({'|'.join(FUNCTIONS)})\b")
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not calls_of_re.search(text):  # most of them: what is read here is read by every process of the tests
            continue
        tree = ast.parse(text)
        name = ".".join(("groupwise", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        nodes = list(ast.walk(tree))
        calls = [node for node in nodes if is_of_re(node)]
        if calls:
            scope = vars(importlib.import_module(name))
            named = {id(node.value): target for node in nodes if (target := assigned(node))}
            read = Counter(node.id for node in nodes if isinstance(node, ast.Name))
            methods: dict[str, list[str]] = {}
            for node in nodes:
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    methods.setdefault(node.value.id, []).append(node.attr)
            for call in calls:
                if f"{name}:{ast.unparse(call.args[0])}" in NOT_OURS:
                    continue
                target = named.get(id(call), "")
                called = methods.get(target, [])
                handed_on = read[target] - 1 > len(called)
                yield from use(call, name, scope, target, set() if handed_on else set(called))


def is_of_re(node: ast.AST) -> bool:
    function = getattr(node, "func", None)
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr in FUNCTIONS
    )


def assigned(node: ast.AST) -> str:
    """The name that a call's value is given."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def use(call: ast.Call, module: str, scope: dict[str, Any], name: str, called: set[str]) -> Iterator[Use]:
    """``called``: the methods of a compiled pattern that its module calls; none where it is handed on."""
    where = f"{module}:{name or ast.unparse(call.args[0])[:60]}"
    values = scope | next((values for place, values in LOCAL.items() if where.startswith(place)), {})
    function = call.func.attr  # type: ignore[attr-defined]
    given = [*call.args[FLAGS_AT[function] :], *(word.value for word in call.keywords if word.arg == "flags")]
    try:
        text = evaluated(call.args[0], values)
    except NameError as error:
        raise AssertionError(f"{where}: made of {error.name}, a value of a function's; add one to LOCAL") from error
    pattern = re.compile(text, evaluated(given[0], values) if given and not isinstance(text, re.Pattern) else 0)
    methods = called if function == "compile" else {function}
    longest = next((most for place, most in LONGEST.items() if where.startswith(place)), None)
    yield Use(where, pattern, bool(methods) and methods <= ANCHORED, longest)


def evaluated(node: ast.expr, scope: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), dict(scope))


def sample(node: Any, repeats: int = 1) -> str:
    """A text that fits a part of a pattern, as far as that can be seen without trying."""
    kind, value = node
    if kind in (kinds.LITERAL, kinds.NOT_LITERAL):
        return chr(value) if kind is kinds.LITERAL else ("a" if value != ord("a") else "b")
    if kind is kinds.ANY:
        return "a"
    if kind is kinds.IN:
        return members(value)[:1]
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        return joined(value[2]) * max(value[0], min(value[1], repeats))
    if kind is kinds.SUBPATTERN:
        return joined(value[3])
    if kind is kinds.ATOMIC_GROUP:
        return joined(value)
    if kind is kinds.BRANCH:
        return joined(value[1][0])
    return ""


def joined(nodes: Any) -> str:
    return "".join(map(sample, nodes))


CATEGORIES = {
    kinds.CATEGORY_DIGIT: "1",
    kinds.CATEGORY_SPACE: " \t\n",
    kinds.CATEGORY_WORD: "a1_",
    kinds.CATEGORY_NOT_SPACE: "a.",
    kinds.CATEGORY_NOT_DIGIT: "a ",
    kinds.CATEGORY_NOT_WORD: " .",
}


def members(items: list[Any]) -> str:
    """Letters of a class: one of each of its parts."""
    found, is_not = "", items[0][0] is kinds.NEGATE
    for kind, value in items:
        if kind is kinds.LITERAL:
            found += chr(value)
        elif kind is kinds.RANGE:
            found += chr(value[0])
        elif kind is kinds.CATEGORY:
            found += CATEGORIES[value]
    return "".join(letter for letter in "ab1 .,<\n" if letter not in found) if is_not else found


def units(nodes: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """What may stand before, and what may be repeated: every repetition's own texts, and all up to any place."""
    for node in nodes:
        kind, value = node
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
            body = value[2]
            yield before, joined(body)
            yield from ((before, letter) for inner in body if inner[0] is kinds.IN for letter in members(inner[1]))
            yield from units(body, before)
        elif kind is kinds.SUBPATTERN:
            yield from units(value[3], before)
        elif kind is kinds.BRANCH:
            for branch in value[1]:
                yield "", joined(branch)
                yield from units(branch, before)
        elif kind in (kinds.ASSERT, kinds.ASSERT_NOT):
            yield "", joined(value[1])
            yield from units(value[1], before)
        elif kind is kinds.ATOMIC_GROUP:
            yield from units(value, before)
        before += sample(node)
        yield "", before
        if kind is kinds.IN:
            yield from (("", letter) for letter in members(value))


def attacks(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Beginning, what is repeated, end."""
    found = dict.fromkeys(
        (before, unit) for before, unit in units(_parser.parse(pattern.pattern, pattern.flags)) if unit
    )
    few = list(found)[:: -(-len(found) // MOST_UNITS)] if found else []
    return [(before, unit, end) for before, unit in few for end in MISFITS]


def read(one: Use) -> list[Callable[[Any], object]]:
    """What the package does with the pattern."""
    if one.anchored:
        return [one.pattern.match, one.pattern.fullmatch]
    return [lambda text: sum(1 for _ in one.pattern.finditer(text))]


def seconds(work: Callable[[], object]) -> float:
    """Of this process's own processor time, so that a busy machine changes little."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def growth(
    reads: Callable[[Any], object], attack: tuple[str, str, str], longest: int | None, is_bytes: bool = False
) -> str:
    """What is wrong with the time that it takes, or nothing."""
    begin, unit, end = attack

    def work(size: int) -> Callable[[], object]:
        text = begin + unit * max(1, size // len(unit)) + end
        return partial(reads, text.encode("latin-1", "replace") if is_bytes else text)

    for size in (each for each in SHORT if longest is None or each <= longest):
        if seconds(work(size)) > 0.1 and min(seconds(work(size)) for _ in range(3)) > 0.1:
            return f"{size} letters take over 0.1 s"
    if longest is not None:
        return "" if seconds(work(longest)) < 0.1 else f"{longest} letters take over 0.1 s"
    if (taken := seconds(work(SMALL * FACTOR))) < FREE:
        return ""
    first = min(seconds(work(SMALL)) for _ in range(5))
    if taken >= max(GROWTH * first, FREE):
        taken = min(taken, seconds(work(SMALL * FACTOR)))  # a pause of the machine comes once
    return (
        ""
        if taken < max(GROWTH * first, FREE)
        else f"{SMALL:,} letters take {first:.4f} s, {FACTOR} times as many {taken:.4f}"
    )


USES = list(uses())


def test_patterns_are_found() -> None:
    assert len(USES) > 100
    assert any(one.anchored for one in USES)
    assert any(not one.anchored for one in USES)


@pytest.mark.parametrize("one", USES, ids=[f"{number}-{one.where}" for number, one in enumerate(USES)])
def test_time_grows_as_the_text_does(one: Use) -> None:
    for attack in attacks(one.pattern):
        for reads in read(one):
            wrong = growth(reads, attack, one.longest, isinstance(one.pattern.pattern, bytes))
            assert not wrong, (one.pattern.pattern, attack, wrong)


@pytest.mark.parametrize(
    ("pattern", "anchored", "letters"),
    [
        *((r"(a+)+$", True, 500), (r"(a|a)*b", True, 500), (r"\s*\n", False, 2000), (r"<<([^>]*)>>", False, 1000)),
        *((r"(\w+\s?)*!$", True, 500), (r"a.*b.*c", False, 200), (r"\d+\.", False, 500), (r"(?:x+y?)+z", True, 500)),
        (r"[ab]*[bc]*d", False, 64),
    ],
)
def test_a_pattern_that_goes_back_is_caught(
    pattern: str, anchored: bool, letters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shorter texts, too: what takes a cube of the time would take seconds of the others. Those that take a square
    of it are long enough for a fast processor to need more than FREE."""
    monkeypatch.setitem(globals(), "SMALL", letters)
    one = Use("", re.compile(pattern), anchored)
    assert any(growth(reads, attack, None) for attack in attacks(one.pattern) for reads in read(one))
