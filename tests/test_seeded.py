"""The same examples every time: no test draws from a generator that nobody seeded."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import settings

import groupwise

TESTS = Path(__file__).parent
PACKAGE = Path(groupwise.__file__).parent
ALWAYS_RANDOM = {"urandom", "SystemRandom", "token_bytes", "token_hex", "token_urlsafe", "uuid1", "uuid4"}
SEEDED_BY_ARGUMENT = {"Random", "default_rng", "RandomState", "seed", "SeedSequence"}
"""Calls that begin at an unknown state where they are given nothing."""
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "normal_", "uniform_", "random_"}
"""What a program in a string draws with from its process's own generator."""


def called(node: ast.Call) -> str:
    """The last word of what is called."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def unseeded(source: str) -> Iterator[str]:
    """Where a program makes a generator, or draws, without a seed. Programs inside its strings are looked at too."""
    seeds = "manual_seed" in source
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name, given = called(node), node.args or node.keywords
            if name in ALWAYS_RANDOM or (name in SEEDED_BY_ARGUMENT and not given):
                yield f"line {node.lineno}: {name}()"
            if name == "Generator" and not given and not seeds:
                yield f"line {node.lineno}: a torch.Generator that no manual_seed follows"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            yield from (f"in the program at line {node.lineno}, {found}" for found in _of_a_program(node.value))


def _of_a_program(text: str) -> Iterator[str]:
    """As ``unseeded``; a process of its own has no state that pytest has set, so its plain draws count as well."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # prose, or a part of a program
    yield from unseeded(text)
    given = _of_generators_given(tree)
    for node in ast.walk(tree):
        seeded = isinstance(node, ast.Call) and any(keyword.arg == "generator" for keyword in node.keywords)
        seeded = seeded or node in given or "manual_seed" in text
        if isinstance(node, ast.Call) and called(node) in DRAWS and not seeded:
            yield f"line {node.lineno}: {called(node)}() of a process that was not seeded"


def _of_generators_given(tree: ast.AST) -> set[ast.AST]:
    """Calls of a function's own parameter, as an environment has one: who calls the function has seeded it."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {argument.arg for argument in function.args.args}
    }


OTHERS = sorted(path for path in TESTS.rglob("*.py") if path != Path(__file__))


def test_every_generator_of_a_test_is_seeded() -> None:
    assert len(OTHERS) > 300
    found = {path.relative_to(TESTS).as_posix(): list(unseeded(path.read_text(encoding="utf-8"))) for path in OTHERS}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_library_draws_nothing_without_a_seed() -> None:
    allowed = {  # names of files and marks that a text must not guess, never a number of a run
        "token_bytes",
        "token_hex",
        "token_urlsafe",
        "uuid4",
    }
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {line}"
        for path in PACKAGE.rglob("*.py")
        for line in unseeded(path.read_text(encoding="utf-8"))
        if not any(f"{name}()" in line for name in allowed)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("random.Random()", 1),
        ("random.Random(0)", 0),
        ("numpy.random.default_rng()", 1),
        ("g = torch.Generator()", 1),
        ("g = torch.Generator().manual_seed(3)", 0),
        ("os.urandom(3)", 1),
        ("CODE = 'import torch\\nprint(torch.randn(3))'", 1),
        ("CODE = 'import torch\\ntorch.manual_seed(0)\\nprint(torch.randn(3))'", 0),
        ("TEXT = 'to import random goods'", 0),
        ("CODE = 'import groupwise\\ndef play(row, random):\\n    yield random.randint(0, 9)'", 0),
        ("CODE = 'import random\\ndef play(row):\\n    yield random.randint(0, 9)'", 1),
    ],
)
def test_what_counts_as_unseeded(source: str, found: int) -> None:
    assert len(list(unseeded(source))) == found


def test_properties_are_tried_on_the_same_examples_every_time() -> None:
    profile = settings.get_profile("groupwise")
    assert profile.derandomize
    assert profile.database is None
    assert profile.deadline is None


@pytest.mark.parametrize("time", [1, 2])
def test_a_draw_without_a_generator_depends_on_the_test_alone(time: int, request: pytest.FixtureRequest) -> None:
    """Here: the same state as that of the test's name, whatever ran before."""
    import zlib

    seed = zlib.crc32(request.node.nodeid.encode())
    expected = (
        random.Random(seed).random(),
        numpy.random.RandomState(seed).rand(),
        float(torch.rand((), generator=torch.Generator().manual_seed(seed))),
    )
    assert (random.random(), numpy.random.rand(), float(torch.rand(()))) == expected
