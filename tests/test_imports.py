"""The arrows go one way: read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import groupwise
from groupwise import recipes

HOUSE = Path(groupwise.__file__).parent
TEXTS = {path.relative_to(HOUSE).as_posix(): path.read_text(encoding="utf-8") for path in HOUSE.rglob("*.py")}
FILES = {name: ast.parse(text) for name, text in TEXTS.items()}
HEAVY = {"torch", "transformers", "pyarrow", "datasets", "math_verify", "reasoning_gym", "tensorboard", "numpy"}


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
    found = sorted(name for name in FILES if name.startswith(folder))
    assert found
    return found


def outside(name: str, lazy: bool) -> set[str]:
    """Top-level packages other than ours and the standard library's."""
    tops = {module.partition(".")[0] for module in imports(FILES[name], lazy)}
    return tops - set(sys.stdlib_module_names) - {"groupwise"}


def inside(name: str, lazy: bool) -> set[str]:
    """Our own rooms: ``algorithm``, ``types``, ``rewards`` ..."""
    modules = (module.split(".") for module in imports(FILES[name], lazy))
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
    graph = arrows(HOUSE, "groupwise.")
    assert circle(graph) == []
    rooms = {name: ".".join(name.split(".")[:2]) for name in graph}
    between: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for name, imported in graph.items():
        between[rooms[name]] |= {rooms[other] for other in imported} - {rooms[name]}
    assert circle(between) == [], "rooms"


def test_no_benchmark_imports_itself_by_way_of_others() -> None:
    benchmarks = HOUSE.parents[1] / "benchmarks"
    if not benchmarks.is_dir():
        pytest.skip("no benchmarks beside the package")
    for folder in {path.parent for path in benchmarks.rglob("*.py")}:
        assert circle(arrows(folder, "")) == [], folder.name


def test_the_mathematics_imports_torch_and_itself() -> None:
    for name in rooms("algorithm/"):
        assert outside(name, lazy=True) <= {"torch"}, name
        assert inside(name, lazy=True) <= {"algorithm"}, name


def test_recipes_import_algorithm_and_sources() -> None:
    for name in rooms("recipes/"):
        assert outside(name, lazy=True) == set(), name
        assert inside(name, lazy=True) <= {"algorithm", "sources", "recipes"}, name


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("tolerance.py", set()),
        ("counting.py", set()),
        ("types.py", {"tolerance", "spans"}),
        ("spans.py", set()),
        ("errors.py", set()),
        ("seeding.py", set()),
        ("deadlines.py", {"errors"}),
        ("masking.py", set()),
        ("visible.py", {"masking"}),
        ("protocols.py", {"types"}),
        ("_version.py", set()),
        ("collate.py", {"types", "algorithm"}),
        ("record.py", {"types", "algorithm"}),
        ("verdicts.py", {"types", "protocols", "tolerance", "errors"}),
        ("identity.py", set()),
        ("describe.py", {"identity", "masking"}),
        (
            "rewards/",
            {
                "types",
                "protocols",
                "tolerance",
                "verdicts",
                "errors",
                "describe",
                "identity",
                "deadlines",
                "masking",
                "isolation",
                "rewards",
            },
        ),
        ("isolation/", {"errors", "isolation"}),
        ("moments.py", set()),
        ("measure.py", {"statistics"}),
        ("problems.py", {"types", "protocols", "errors", "tasks"}),
        ("voting.py", {"types", "protocols", "verdicts", "errors", "tasks", "rewards"}),
        ("tasks/", {"types", "protocols", "verdicts", "errors", "rewards", "steps", "hub", "tasks"}),
        ("steps.py", {"errors"}),
        ("pieces.py", set()),
        ("clock.py", set()),
        ("stopping.py", set()),
        ("saved_state.py", set()),
        ("trainable.py", {"types"}),
        ("train_batch.py", {"types", "algorithm"}),
        ("nonfinite.py", {"algorithm", "record"}),
        ("tally.py", {"algorithm", "nonfinite", "record", "train_batch"}),
        ("manifest.py", set()),
        ("checkpoint.py", {"errors", "manifest", "masking"}),
        ("clearing.py", {"checkpoint", "manifest"}),
        ("encoding.py", set()),
        ("template_operations.py", set()),
        ("template_limits.py", {"template_operations"}),
        ("chat_template.py", {"types", "errors", "template_limits"}),
        ("transcript.py", {"types", "errors", "encoding"}),
        ("render.py", {"types", "errors", "pieces", "encoding", "chat_template", "transcript"}),
        (
            "sources/",
            {"types", "protocols", "errors", "seeding", "render", "steps", "algorithm", "rewards", "tasks"}
            | {"clock", "deadlines", "tolerance", "verdicts", "checkpoint", "sources"},
        ),
        ("foreign/", {"errors", "foreign"}),
        ("kernels/", {"kernels"}),
        ("networks/", {"kernels", "networks"}),
        ("engines/", {"types", "errors", "protocols", "pieces", "kernels", "networks", "engines"}),
        (
            "explain/",
            {"types", "tolerance", "verdicts", "errors", "algorithm", "sources", "ledger", "collate", "explain"},
        ),
        ("hub.py", {"errors", "visible"}),
        ("nearest.py", set()),
        ("ranges.py", {"errors"}),
        (
            "learners/",
            {"types", "protocols", "errors", "hub", "nearest", "algorithm", "kernels", "networks", "learners"}
            | {"trainable", "train_batch", "tally", "nonfinite", "saved_state", "counting"},
        ),
    ],
)
def test_a_room_imports_what_lies_below_it(room: str, allowed: set[str]) -> None:
    allowed = allowed | {"counting"}  # words for numbers
    # A learned reward, when it first scores; an engine, on a model that no learner holds.
    opens_networks = {"rewards/model.py": {"learners"}, "engines/config.py": {"learners"}}
    for name in rooms(room):
        assert inside(name, lazy=True) <= allowed | opens_networks.get(name, set()), name
        assert inside(name, lazy=False) <= allowed, name


@pytest.mark.parametrize(
    "room",
    [
        "rewards/",
        "tasks/",
        "sources/",
        "sinks/",
        "evaluation.py",
        "voting.py",
        "comparison.py",
        "statistics.py",
        "render.py",
    ],
)
def test_nothing_heavy_at_the_top(room: str) -> None:
    for name in rooms(room):
        assert not outside(name, lazy=False) & HEAVY, name


def test_transformers_lives_in_learners_and_engines() -> None:
    users = {name for name in FILES if "transformers" in outside(name, lazy=True)}
    assert users
    assert all(name.startswith(("learners/", "engines/")) for name in users)


def test_only_the_command_line_needs_tyro() -> None:
    """So that the library runs where only torch and transformers are at hand."""
    assert {name.partition("/")[0] for name in FILES if "tyro" in outside(name, lazy=True)} == {"commands"}


def test_no_room_below_knows_the_loop() -> None:
    """The arrows: cli → runs → session → loop → sources, update → the parts. No part imports what drives it."""
    above = {"cli", "commands", "runs", "session", "loop", "keeper", "directory"}
    for room in ("algorithm/", "engines/", "learners/", "recipes/", "rewards/", "sinks/", "sources/", "tasks/"):
        for name in rooms(room):
            assert not inside(name, lazy=True) & above, name
    assert not inside("loop.py", lazy=True) & {"cli", "runs", "session", "keeper", "learners", "engines", "sinks"}


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
COLUMNS = {name: {"reward_model"} for name in ("tasks/conventions.py", "rewards/signatures.py")}
"""What other systems' data call a column."""


def test_no_method_has_a_name_outside_recipes() -> None:
    for name in FILES:
        if not name.startswith(NAMES_METHODS):
            named = METHODS & {text.lower() for text in names_and_texts(FILES[name])} - COLUMNS.get(name, set())
            assert not named, f"{name} names {named}"


def test_every_file_can_be_read_in_one_sitting() -> None:
    """At most 300 lines a file and 40 a function."""
    for name, tree in FILES.items():
        assert len(TEXTS[name].splitlines()) <= 300, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 40, f"{name}: {node.name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import groupwise", HEAVY | {"tyro", "rich"}),
        ("import groupwise.rewards, groupwise.tasks, groupwise.sinks, groupwise.evaluation", HEAVY | {"tyro", "rich"}),
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
