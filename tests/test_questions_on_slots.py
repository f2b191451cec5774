"""Nobody asks which source, engine or learner a recipe has: what depends on it is a question on the slot."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import groupwise

PACKAGE = Path(groupwise.__file__).parent
PROTOCOLS = {"Source", "RolloutEngine", "Stream", "Learner", "Trainable", "Policy", "Selection"}
ROOMS = ("sources/", "engines/", "learners/")


@cache
def files() -> dict[str, ast.Module]:
    """Every module of the package by its place."""
    paths = PACKAGE.rglob("*.py")
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def kinds() -> dict[str, str]:
    """Every class that can stand in such a slot, by what makes it one: it inherits a protocol, from it or by way of
    another class, or does its work."""
    found: dict[str, str] = dict.fromkeys(PROTOCOLS, "protocol")
    classes = [
        (name, node)
        for name, tree in files().items()
        if name.startswith(ROOMS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    before = 0
    while before < len(found):
        before = len(found)
        found |= {node.name: name for name, node in classes if _is_one(name, node, found)}
    return found


def _is_one(name: str, node: ast.ClassDef, known: dict[str, str]) -> bool:
    methods = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
    return (
        bool({ast.unparse(base) for base in node.bases} & known.keys())
        or {"generate", "load"} <= methods
        or {"accumulate", "step"} <= methods
        or ("open" in methods and name.endswith("config.py"))
    )


def asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and class of each ``isinstance`` and ``match`` on a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            yield from ((node.lineno, name.split(".")[-1]) for name in names(node.args[1]))
        elif isinstance(node, ast.MatchClass):
            yield node.cls.lineno, ast.unparse(node.cls).split(".")[-1]
        elif (
            isinstance(node, ast.Compare) and isinstance(node.left, ast.Call) and ast.unparse(node.left.func) == "type"
        ):
            yield from ((node.lineno, name) for side in node.comparators for name in names(side))


def names(node: ast.expr) -> Iterator[str]:
    """The classes that one argument lists."""
    if isinstance(node, ast.Tuple):
        for child in node.elts:
            yield from names(child)
    elif isinstance(node, ast.BinOp):
        yield from names(node.left)
        yield from names(node.right)
    else:
        yield ast.unparse(node)


ALLOWED = {("explain/words.py", "DistinctPaths")}
"""Words about a method that names what its selection compares."""


def test_nobody_asks_which_source_engine_or_learner_it_is() -> None:
    known = kinds()
    assert {"OnPolicy", "FrozenPolicy", "Pairs", "TorchEngine", "LocalLearner", "ScorerLearner", "Local"} <= set(known)
    found = {(name, kind) for name, tree in files().items() for _, kind in asked(tree) if kind in known}
    assert found <= ALLOWED


def test_the_search_finds_every_way_to_ask() -> None:
    text = """
isinstance(source, OnPolicy | sources.FrozenPolicy)
isinstance(source, (Pairs, StepLabels))
issubclass(kind, Local)
type(source) is Demonstrations
match source:
    case MonteCarloSteps(prompts=0): pass
"""
    assert {kind for _, kind in asked(ast.parse(text))} == {
        "OnPolicy", "FrozenPolicy", "Pairs", "StepLabels", "Local", "Demonstrations", "MonteCarloSteps",
    }  # fmt: skip
