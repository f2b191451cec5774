"""The arrows go one way: read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import groupwise
from groupwise import recipes

PACKAGE = Path(groupwise.__file__).parent
TEXTS = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
HEAVY = {"torch", "transformers", "pyarrow", "datasets", "math_verify", "reasoning_gym", "tensorboard", "numpy"}


@cache
def tree_of(name: str) -> ast.Module:
    """A module's syntax; read here and not at the top, which every process of the tests passes through."""
    return ast.parse(TEXTS[name])


def imports(node: ast.AST, lazy: bool) -> Iterator[str]:
    """Modules imported under ``node``: with ``lazy`` also inside functions. What only type checkers see is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import"
            yield str(child.module)
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (name for other in child.orelse for name in imports(other, lazy))
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, lazy)


def rooms(folder: str) -> list[str]:
    found = sorted(name for name in TEXTS if name.startswith(folder))
    assert found
    return found


def room_of(name: str) -> str:
    """``algorithm`` of ``algorithm/kl.py``, ``types`` of ``types.py``."""
    return name.partition("/")[0].removesuffix(".py")


def outside(name: str, lazy: bool) -> set[str]:
    """Top-level packages other than ours and the standard library's."""
    tops = {module.partition(".")[0] for module in imports(tree_of(name), lazy)}
    return tops - set(sys.stdlib_module_names) - {"groupwise"}


def inside(name: str, lazy: bool) -> set[str]:
    """Our own rooms: ``algorithm``, ``types``, ``rewards`` ..."""
    modules = (module.split(".") for module in imports(tree_of(name), lazy))
    return {parts[1] for parts in modules if parts[0] == "groupwise" and len(parts) > 1}


def arrows(folder: Path, prefix: str) -> dict[str, set[str]]:
    """Every module below ``folder`` and those of them that it imports, anywhere in its text, for type checkers too."""
    paths = {path.relative_to(folder).with_suffix("").parts: path for path in folder.rglob("*.py")}
    named = {prefix + ".".join(parts).removesuffix("__init__").rstrip("."): path for parts, path in paths.items()}
    modules = {name.rstrip("."): ast.parse(path.read_text(encoding="utf-8")) for name, path in named.items()}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & modules.keys()
            elif isinstance(node, ast.ImportFrom):
                longer = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= longer & modules.keys() or {str(node.module)} & modules.keys()
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other round and round; empty where there are none."""
    while alone := {name for name, imported in graph.items() if not imported & graph.keys()}:
        graph = {name: imported for name, imported in graph.items() if name not in alone}
    path = list(graph)[:1]
    while path and (following := sorted(graph[path[-1]] & graph.keys())[0]) not in path:
        path.append(following)
    return path[path.index(following) :] if path else []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}, "e": {"a"}}) == ["b", "d"]
    graph = arrows(PACKAGE, "groupwise.")
    assert circle(graph) == []
    rooms = {name: ".".join(name.split(".")[:2]) for name in graph}
    between: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for name, imported in graph.items():
        between[rooms[name]] |= {rooms[other] for other in imported} - {rooms[name]}
    assert circle(between) == [], "rooms"


def test_no_benchmark_imports_itself_by_way_of_others() -> None:
    beside = [PACKAGE.parents[1] / name for name in ("benchmarks", "tools")]
    if not all(folder.is_dir() for folder in beside):
        pytest.skip("no benchmarks beside the package")
    for folder in {path.parent for place in beside for path in place.rglob("*.py")}:
        assert circle(arrows(folder, "")) == [], folder.name


def test_the_mathematics_imports_torch_and_itself() -> None:
    for name in rooms("algorithm/"):
        assert outside(name, lazy=True) <= {"torch"}, name
        assert inside(name, lazy=True) <= {"algorithm"}, name


def test_recipes_import_algorithm_and_sources() -> None:
    for name in rooms("recipes/"):
        assert outside(name, lazy=True) == set(), name
        assert inside(name, lazy=True) <= {"algorithm", "sources", "recipes"}, name


ROOMS = {
    "algorithm": "",
    "errors": "",
    "kernels": "",
    "seeding": "",
    "values": "",
    "isolation": "errors",
    "networks": "kernels",
    "types": "values",
    "learning": "algorithm types",
    "output": "seeding types",
    "protocols": "types",
    "environments": "errors isolation output types values",
    "tokens": "environments errors types",
    "cli": "errors output values",
    "__main__": "cli",
    "config": "errors output values",
    "foreign": "errors output values",
    "storage": "errors output",
    "doctor": "output storage",
    "gguf_files": "errors output storage",
    "learners": "algorithm errors gguf_files kernels learning networks output storage types",
    "ledger": "errors isolation learning output storage types",
    "sinks": "errors isolation output protocols storage values",
    "engines": "errors kernels learners networks output protocols seeding storage tokens types",
    "rewards": "config environments errors isolation learners output protocols types values",
    "tasks": "algorithm environments errors isolation output protocols rewards storage tokens types values",
    "corpus": "errors output storage tasks values",
    "serving": "errors output protocols seeding tokens types",
    "sources": (
        "algorithm environments errors isolation output protocols rewards seeding serving storage tasks tokens types "
        "values"
    ),
    "evaluation": "errors output protocols rewards seeding sources tasks tokens types values",
    "recipes": "algorithm sources",
    "audit": "environments errors evaluation protocols rewards seeding sources tasks tokens types values",
    "view": "config errors evaluation output storage values",
    "report": "errors view",
    "comparison": "config errors evaluation output storage values view",
    "training": (
        "algorithm errors evaluation learning output protocols rewards seeding sources tasks tokens types values"
    ),
    "explain": "algorithm errors learning ledger output recipes rewards sources storage training types values",
    "runs": (
        "algorithm config doctor engines errors evaluation explain isolation kernels learners learning ledger "
        "output protocols report rewards seeding sinks sources storage tasks tokens training types values"
    ),
    "harness": "engines errors evaluation learners seeding sources tasks tokens types",
    "preflight": (
        "algorithm audit doctor errors evaluation isolation kernels learners learning output protocols rewards runs "
        "seeding sources tasks tokens training types values"
    ),
    "commands": (
        "algorithm audit comparison config corpus engines errors evaluation explain foreign gguf_files harness "
        "learners ledger output preflight protocols recipes report rewards runs seeding serving sinks sources storage "
        "tasks tokens training types values view"
    ),
}
"""Every folder and every module of the root, from the ground up, and the rooms that it may import."""

WHEN_USED = {
    ("rewards", "learners"): "a learned reward opens its network when it first scores",
    ("engines", "learners"): "an engine loads a model that no learner holds",
}
"""Arrows that nothing follows before it has to: never at the top of a file."""


def test_every_room_has_its_place() -> None:
    assert {room_of(name) for name in TEXTS} - {"__init__"} == set(ROOMS)
    ground: set[str] = set()
    for room, below in ROOMS.items():
        assert set(below.split()) <= ground, f"{room} stands above what it imports"
        ground.add(room)


def test_at_most_eight_modules_stand_outside_rooms() -> None:
    assert len([name for name in TEXTS if "/" not in name]) <= 8


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_lies_below_it(room: str) -> None:
    allowed = {room, *ROOMS[room].split()}
    for name in (name for name in TEXTS if room_of(name) == room):
        assert inside(name, lazy=True) <= allowed, name
        assert not {(room, other) for other in inside(name, lazy=False)} & WHEN_USED.keys(), name


@pytest.mark.parametrize(
    "room",
    [
        "rewards/",
        "tasks/",
        "sources/",
        "sinks/",
        "evaluation/",
        "tokens/",
    ],
)
def test_nothing_heavy_at_the_top(room: str) -> None:
    for name in rooms(room):
        assert not outside(name, lazy=False) & HEAVY, name


def test_transformers_lives_where_models_are_opened() -> None:
    """But for the one function that makes a JSON schema of a Python function."""
    users = {name for name in TEXTS if "transformers" in outside(name, lazy=True)} - {"environments/schemas.py"}
    assert users
    assert all(name.startswith(("gguf_files/", "learners/", "engines/")) for name in users)


def test_only_the_command_line_needs_tyro() -> None:
    """So that the library runs where only torch and transformers are at hand."""
    assert {name.partition("/")[0] for name in TEXTS if "tyro" in outside(name, lazy=True)} == {"commands"}


def names_and_texts(tree: ast.AST) -> Iterator[str]:
    """Identifiers and string constants; not docstrings, nor the strings that document a field after it."""
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


METHODS = set(recipes.__all__)
NAMES_METHODS = ("recipes/", "foreign/")
"""What a method of ours is called in other systems is said in terms of our recipes."""
COLUMNS = {name: {"reward_model"} for name in ("tasks/conventions.py", "tasks/verl_rows.py", "rewards/signatures.py")}
"""What other systems' data call a column."""


def test_no_method_has_a_name_outside_recipes() -> None:
    for name in TEXTS:
        if not name.startswith(NAMES_METHODS):
            named = METHODS & {text.lower() for text in names_and_texts(tree_of(name))} - COLUMNS.get(name, set())
            assert not named, f"{name} names {named}"


def test_every_file_can_be_read_in_one_sitting() -> None:
    """At most 300 lines a file and 40 a function."""
    for name in TEXTS:
        tree = tree_of(name)
        assert len(TEXTS[name].splitlines()) <= 300, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 40, f"{name}: {node.name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import groupwise", HEAVY | {"tyro", "rich"}),
        ("import groupwise.rewards, groupwise.tasks, groupwise.sinks", HEAVY | {"tyro", "rich"}),
        ("import groupwise.evaluation.evaluate", HEAVY | {"tyro", "rich"}),
        ("import groupwise.algorithm", HEAVY - {"torch", "numpy"}),
    ],
)
def test_an_import_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not absent & set(loaded)


def test_every_public_name_can_be_had() -> None:
    assert {name for name in groupwise.__all__ if not hasattr(groupwise, name)} == set()
    assert dir(groupwise) == sorted(groupwise.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        groupwise.no_such_name  # noqa: B018
