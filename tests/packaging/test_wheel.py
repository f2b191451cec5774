"""The sdist, and the wheel that is built from it, hold all that a run needs: used without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "groupwise"
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An sdist of links to the sources, since building leaves folders beside them; and a wheel from what it holds."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout to build from")
    place, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", *(f"src/{name}" for name in sources())):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(ROOT / name)
    build("build_sdist", place, out)
    sdist = next(out.glob("*.tar.gz"))
    with tarfile.open(sdist) as file:
        file.extractall(out, filter="data")
    build("build_wheel", next(path for path in out.iterdir() if path.is_dir()), out)
    return next(out.glob("*.whl")), sdist


def build(what: str, place: Path, out: Path) -> None:
    command = [sys.executable, "-c", BUILD, what, str(out)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def sources() -> set[str]:
    """Every file of the package that is no leftover of running it."""
    found = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(PACKAGE.parent).as_posix() for path in found}


def test_the_wheel_holds_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert sources() - names == set()
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.rpartition(".")[2] for name in names if "/kernels/" in name} >= {"py", "cpp", "h"}, (
        "compiled where it runs"
    )
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "groupwise = groupwise.cli:main" in zipfile.ZipFile(built[0]).read(entry).decode()


def test_the_sdist_holds_them_too(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {f"src/{name}" for name in sources()} - names == set()
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names


SMALL = ["--evaluation.problems", "1", "--learner.threads", "1", "--learner.device", "cpu"]
SMALL += ["--steps", "1", "--prompts_per_step", "2", "--group_size", "2", "--max_completion_tokens", "8"]
RUN = """
import json, sys
import groupwise
from groupwise.cli import main
assert groupwise.__file__.startswith(sys.argv[1]), groupwise.__file__
from groupwise import NewModel
NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=512).save("model")
for words in json.loads(sys.argv[2]):
    assert main(words) == 0, words
"""
COMMANDS = [
    ["run", "grpo", "--model", "model", "--data", "stepwise:1", "--reward", "answer", *SMALL, "--out", "run"],
    ["explain", "grpo", "--run", "run", "--step", "1"],
    ["chat", "run/models/grpo", "--prompt", "1 + 1 =", "--max_completion_tokens", "2"],
    ["report", "run"],
]


@pytest.mark.parametrize("python", [sys.executable, "python3.12"])
def test_it_runs_installed_and_without_the_checkout(built: tuple[Path, Path], tmp_path: Path, python: str) -> None:
    """What the wheel needs comes from the environment of the tests, since installing torch again takes minutes."""
    found = other_packages(python)
    if found is None:
        pytest.skip(f"{python} with torch and transformers is not at hand")
    fresh, here = tmp_path / "fresh", tmp_path / "here"
    here.mkdir()
    call([python, "-m", "venv", "--without-pip", str(fresh)], here)
    install = [sys.executable, "-m", "pip", "--python", str(fresh), "install", "--quiet", "--no-deps", "--no-index"]
    call([*install, str(built[0])], here)
    installed = next(fresh.glob("lib/python*/site-packages"))
    (installed / "others.pth").write_text(f"{found}\n")
    call([str(fresh / "bin" / "python"), "-c", RUN, str(installed), json.dumps(COMMANDS)], here)
    script = str(fresh / "bin" / "groupwise")
    assert call([script, "--version"], here).startswith("groupwise 0.")
    assert "</html>" in (here / "run" / "report.html").read_text()
    with subprocess.Popen([script, "view", "run"], cwd=here, env=alone(), stdout=subprocess.PIPE, text=True) as viewer:
        try:
            assert viewer.stdout is not None
            browser = build_opener(HTTPCookieProcessor())  # the token becomes a cookie
            with browser.open(viewer.stdout.readline().strip(), timeout=60) as answer:
                assert b"</html>" in answer.read()
        finally:
            viewer.terminate()


def other_packages(python: str) -> str | None:
    """The folder where an interpreter keeps torch and transformers; None where it has none."""
    if shutil.which(python) is None:
        return None
    code = "from importlib.util import find_spec as find; print(find('transformers') and find('torch').origin or '')"
    done = subprocess.run([python, "-c", code], env=alone(), capture_output=True, text=True, timeout=600, check=False)
    return str(Path(found).parents[1]) if done.returncode == 0 and (found := done.stdout.strip()) else None


def alone() -> dict[str, str]:
    """An environment in which nothing names the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}


def call(command: list[str], here: Path) -> str:
    done = subprocess.run(command, cwd=here, env=alone(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def test_every_requirement_has_bounds_and_every_extra_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(word for each in extras.values() for word in each)]
    for word in wanted:
        assert ">=" in word or "==" in word or word.startswith("groupwise["), word
    named = {part for word in extras["dev"] if word.startswith("groupwise[") for part in word[10:-1].split(",")}
    assert named <= set(extras)
