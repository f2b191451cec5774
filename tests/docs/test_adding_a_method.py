"""docs/adding-a-method.md: its code works as it is printed there, in a copy of the library."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import warm

import groupwise

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"^`([\w./]+)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
PRINTED = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
LISTED = re.findall(r"^--- (\S+)\n\+(from .+)\n\+    (\".+\",)$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with what the page adds to it, its tests of recipes, and what makes its pages."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("src/groupwise", "tests/recipes", "tools/docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("parity*"))
    for name, code in FILES.items():
        assert not (root / name).exists(), f"{name} is in the library already"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code, encoding="utf-8")
    for name, imported, listed in LISTED:
        text = (root / name).read_text(encoding="utf-8")
        assert "\n__all__ = [\n" in text
        text = text.replace("\n__all__ = [\n", f"{imported}\n\n__all__ = [\n    {listed}\n")
        (root / name).write_text(text, encoding="utf-8")
    return root


def run(copy: Path, *arguments: str) -> str:
    """What Python prints that imports the copy's library; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = warm.run(arguments, cwd=copy, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def groupwise_command(copy: Path, *arguments: str) -> str:
    return run(copy, "-c", "import sys, groupwise.cli; sys.exit(groupwise.cli.main(sys.argv[1:]))", *arguments)


def test_the_page_says_which_files_are_touched(copy: Path) -> None:
    """In the library: two new files, a test, and two lists of names."""
    own = {name for name in FILES if "/" not in name}
    assert own == {"my_recipe.py", "look.py"}
    assert set(FILES) - own == {
        "src/groupwise/algorithm/tapered.py",
        "src/groupwise/recipes/topr.py",
        "tests/algorithm/test_tapered.py",
    }
    assert [name for name, _, _ in LISTED] == [
        "src/groupwise/algorithm/__init__.py",
        "src/groupwise/recipes/__init__.py",
    ]
    where = run(copy, "-c", "import groupwise; print(groupwise.__file__)").strip()
    assert Path(where) == copy / "src" / "groupwise" / "__init__.py" != Path(groupwise.__file__)


def test_a_recombined_method_prints_what_the_page_says(copy: Path) -> None:
    (printed,) = PRINTED
    assert run(copy, "look.py") == printed


def test_a_recombined_method_trains(copy: Path, tiny_model: Path) -> None:
    options = ["--steps", "2", "--prompts_per_step", "4", "--algorithm.source.max_completion_tokens", "6"]
    options += ["--algorithm.source.most_rounds", "1", "--algorithm.objective.positive", "2", "--learner.threads", "1"]
    options += ["--evaluation.problems", "2", "--evaluation.sampled_problems", "0"]
    groupwise_command(copy, "run", "my_recipe.py", "--model", str(tiny_model), *options)
    assert (copy / "runs" / "mine" / "report.html").exists()


def test_the_new_formula_has_the_coefficient_worked_out_by_hand(copy: Path) -> None:
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/algorithm/test_tapered.py")
    assert "4 passed" in said


def test_the_new_method_learns_as_every_recipe_must(copy: Path) -> None:
    names = ["tests/recipes/test_every_recipe_learns.py::test_it_learns[topr]"]
    names += ["tests/recipes/test_recipes.py::test_every_recipe_is_a_value_with_numbered_differences[topr]"]
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *names)
    assert "2 passed" in said


def test_the_new_method_is_explained(copy: Path) -> None:
    said = groupwise_command(copy, "explain", "topr")
    assert "w = 1 where A ≥ 0, else min(π_θ(o)/π_old(o), 1)" in said
    assert "How it differs from RLOO" in said
    assert groupwise_command(copy, "explain", "topr", "--against", "rloo")


def test_the_new_method_gets_its_page(copy: Path) -> None:
    write = "import method_page as m; print(m.page(m.read('topr'), ('topr', 'rloo'))[m.FOLDER / 'topr.md'])"
    page = run(copy, "-c", f"import sys; sys.path.insert(0, 'tools/docs'); {write}")
    assert page.splitlines()[2].startswith("# TOPR, tapered off-policy REINFORCE")
    assert re.search(r"tapered\.py#L\d+", page)
    assert "`--algorithm.objective.cap`" in page
