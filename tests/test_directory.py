"""Whose a run directory is, and how far it has come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.checkpoint import PROGRESS
from groupwise.directory import RunDirectory
from groupwise.errors import UserError

RECIPE = {"name": "mine", "seed": 0}


def begun(path: Path) -> RunDirectory:
    place = RunDirectory(path)
    with place.claim(RECIPE, fresh=False):
        place.write_record({"recipe": RECIPE, "started": 1.0})
    return place


def refusal(path: Path, recipe: dict[str, object] = RECIPE, fresh: bool = False) -> str:
    with pytest.raises(UserError) as caught, RunDirectory(path).claim(dict(recipe), fresh):
        pytest.fail("claimed")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_run_begins_goes_on_and_is_finished(tmp_path: Path) -> None:
    place = begun(tmp_path / "runs" / "mine")
    assert not place.finished
    with place.claim(RECIPE, fresh=False):
        place.write_record({"seconds": 2.0})
    assert place.finished
    assert place.read() == {"recipe": RECIPE, "started": 1.0, "seconds": 2.0}


def test_another_recipe_is_refused_by_its_difference(tmp_path: Path) -> None:
    begun(tmp_path / "mine")
    message = refusal(tmp_path / "mine", {"name": "mine", "seed": 1})
    assert "seed: 1 (there: 0)" in message
    many = refusal(tmp_path / "mine", dict.fromkeys("abcde", 1))
    assert "and 4 more" in many


def test_fresh_removes_the_other_run_and_nothing_else(tmp_path: Path) -> None:
    place = begun(tmp_path / "mine")
    (place.path / "models").mkdir()
    (place.path / "metrics.jsonl").write_text("{}")
    neighbour = tmp_path / "neighbour"
    neighbour.write_text("stays")
    with place.claim({"name": "other"}, fresh=True):
        assert [path.name for path in place.path.iterdir()] == [".lock"]
    assert neighbour.read_text() == "stays"


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_no_run_is_never_touched(tmp_path: Path, fresh: bool) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    assert "chapter.tex" in refusal(foreign, fresh=fresh)
    assert [path.name for path in foreign.iterdir()] == ["chapter.tex"]
    file = tmp_path / "file"
    file.write_text("text")
    assert "is a file" in refusal(file, fresh=fresh)


def test_two_processes_cannot_share_a_directory(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from groupwise.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).claim({'name': 'mine', 'seed': 0}, False):\n"
        "    print('claimed', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "mine")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "claimed\n"
    assert "another process" in refusal(tmp_path / "mine")
    assert "another process" in refusal(tmp_path / "mine", fresh=True)
    other.communicate()
    with RunDirectory(tmp_path / "mine").claim(RECIPE, fresh=False):
        assert (tmp_path / "mine").is_dir()


def test_the_newest_complete_checkpoint_of_a_stage(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path)
    assert place.newest_checkpoint("a") is None
    for stage, step, complete in (("a", 9, True), ("a", 100, True), ("a", 200, False), ("a-b", 300, True)):
        path = place.checkpoint(stage, step)
        path.mkdir(parents=True)
        if complete:
            (path / PROGRESS).write_text("{}")
    assert place.newest_checkpoint("a") == place.checkpoint("a", 100)
    place.drop_checkpoints("a", keep=place.checkpoint("a", 100))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["a-000100", "a-b-000300"]
    place.drop_checkpoints("a")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["a-b-000300"]
