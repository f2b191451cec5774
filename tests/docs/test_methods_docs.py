"""docs/methods: what the generator writes is what lies there, and its links lead somewhere."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import warm

from groupwise import recipes
from groupwise.cli import main

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "methods"
PAGES = sorted([*FOLDER.glob("*.md"), ROOT / "docs" / "adding-a-method.md"])


MY_REWARD = """
from groupwise.types import Score


class Steps:
    name, weight = "steps", 1.0

    def score(self, rollouts):
        return [Score(0.0, steps={rollout.last: 0.0}) for rollout in rollouts]


def style(completion):
    return 0.0


steps = Steps()
"""


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its modules by name."""
    monkeypatch.syspath_prepend(ROOT / "tools" / "docs")
    return importlib.import_module


def test_the_pages_are_what_the_code_says() -> None:
    """Where this fails, ``make docs`` mends it."""
    done = warm.run([str(ROOT / "tools" / "docs" / "method_docs.py"), "--check"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_names_what_differs(
    generator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that is missing, one that was edited, one whose recipe has gone; then it is mended."""
    docs = generator("method_docs")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "FOLDER", tmp_path)
    wanted = {tmp_path / "missing.md": "a", tmp_path / "edited.md": "b", tmp_path / "same.md": "c"}
    monkeypatch.setattr(docs, "pages", lambda: wanted)
    for name, text in (("edited", "x"), ("same", "c"), ("gone", "z")):
        (tmp_path / f"{name}.md").write_text(text)
    assert docs.main(["--check"]) == 1
    assert re.findall(r"(\w+)\.md is not", capsys.readouterr().out) == ["edited", "gone", "missing"]
    assert docs.main([]) == 0
    assert {path: path.read_text() for path in tmp_path.glob("*.md")} == wanted
    assert docs.main(["--check"]) == 0


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_has_a_page_with_every_part(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == [
        "Objective",
        "Its coefficient",
        "What it does",
        "The line of code for each symbol",
        "Recipe",
        "Options",
        "When to use it",
        "What goes wrong",
        "See it",
    ]
    assert f"groupwise explain {name}\n" in text
    assert re.search(r"^1\. ", text, re.MULTILINE)
    picture = ET.fromstring((FOLDER / "plots" / f"{name}.svg").read_text(encoding="utf-8"))
    assert picture.findall(".//{http://www.w3.org/2000/svg}path")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_lines_and_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
        if lines:
            first, last = int(lines[1]), int(lines[2] or lines[1])
            assert 1 <= first <= last <= len(target.read_text(encoding="utf-8").splitlines()), link
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, link


def test_the_options_of_a_page_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one recipe for each kind of source."""
    for name in ("grpo", "rft", "dpo", "sft", "ppo"):
        listed = set(re.findall(r"`(--algorithm\.[\w.]+)`", (FOLDER / f"{name}.md").read_text(encoding="utf-8")))
        assert main(["run", name, "--help_all"]) == 0
        known = set(re.findall(r"--algorithm\.[\w.]+", capsys.readouterr().out))
        assert listed
        assert listed <= known, name


@pytest.fixture(scope="module")
def project(roomy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the pages' commands speak of."""
    place = tmp_path_factory.mktemp("project")
    for name in ("PATH", "TEACHER"):
        (place / name).symlink_to(roomy_model)
    (place / "train.jsonl").write_text("".join(json.dumps(row(digit)) + "\n" for digit in range(10)))
    (place / "text.jsonl").write_text(
        "".join(json.dumps({"text": f"{digit} is a digit."}) + "\n" for digit in range(10))
    )
    (place / "my_reward.py").write_text(MY_REWARD)
    return place


def row(digit: int) -> dict[str, Any]:
    """With the columns of every kind of data. One of the ten answers is now and then right by chance."""
    question, answers = f"{digit} + 0 = ?", {"chosen": str(digit), "rejected": "no"}
    steps = {"completions": ["1", "2"], "labels": [False, True]}
    return {"question": question, "prompt": question, "answer": f"#### {digit}", **answers, **steps}


@pytest.mark.parametrize("name", recipes.__all__)
def test_the_commands_of_a_page_work(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    commands = re.findall(r"^groupwise (.+)$", (FOLDER / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"explain", "run"}
    of_learner = vars(recipes)[name].source.sampled_by() == "learner"  # of others a rare right answer is waited for
    short = ["--max_completion_tokens", "16"] if of_learner else []
    for command in commands:
        words = shlex.split(command)
        if words == ["explain", name]:  # of every method, tests/commands/test_explain.py reads what it says
            continue
        assert main([*words, *(["--dry_run", *short] if words[0] == "run" else [])]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out


def test_a_picture_is_of_the_coefficient_itself(generator: Any) -> None:
    """Dr. GRPO has no penalty: r A up to 1.2 for A = 1 and from 0.8 on for A = -1, else nothing."""
    panel, shares = generator("method_plot").panels(recipes.dr_grpo)
    assert list(panel.bounds) == pytest.approx([0.8, 1.2])
    curves = {curve.label: curve for curve in panel.curves}
    for label, advantage, free in (("A = +1", 1.0, lambda r: r < 1.2), ("A = −1", -1.0, lambda r: r > 0.8)):
        for ratio, value in zip(curves[label].xs, curves[label].ys, strict=True):
            if min(abs(ratio - bound) for bound in panel.bounds) > 1e-9:
                assert value == pytest.approx(ratio * advantage if free(ratio) else 0.0, abs=1e-9)
    right, wrong = shares.curves
    assert right.ys == pytest.approx([1 - k / 16 for k in range(1, 16)])
    assert wrong.ys == pytest.approx([-k / 16 for k in range(1, 16)])


def test_a_place_is_the_line_that_assigns(generator: Any) -> None:
    code = generator("method_code")
    from groupwise.algorithm import ClippedRatio

    place = code.assigned(ClippedRatio.surrogate, "terms")
    line = (ROOT / place.path).read_text(encoding="utf-8").splitlines()[place.first - 1]
    assert line.strip() == place.code
    assert place.code.startswith("terms = ")
    assert code.assigned(ClippedRatio.surrogate, "no_such_name") == code.whole(ClippedRatio.surrogate)


@pytest.mark.parametrize("value", ["\n\n", "{prompt}\n\nNow answer.", "a\nb|c"])
def test_a_cell_of_a_table_is_one_line(generator: Any, value: str) -> None:
    text = generator("method_text")
    for said in (text.cell(value), text.plain(value), text.cell(text.written(value))):
        assert "\n" not in said
        assert "\\n" in said
