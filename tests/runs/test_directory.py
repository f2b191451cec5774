"""Whose a run directory is, and how far it has come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.runs.directory import RunDirectory

RECIPE = {"name": "mine", "seed": 0}
RECORD = {"recipe": RECIPE, "recipe_sha256": "0" * 64, "stages": [{"name": "sft", "steps": 1}], "started": 1.0}


def begun(path: Path) -> RunDirectory:
    place = RunDirectory(path)
    with place.claim(RECIPE, fresh=False):
        place.write_record(RECORD)
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
    place.model("sft").mkdir(parents=True)
    assert place.finished
    assert place.read() == RECORD | {"seconds": 2.0}


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
        "import sys; from pathlib import Path; from groupwise.runs.directory import RunDirectory\n"
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


def test_the_checkpoints_of_a_stage_in_order(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path)
    assert place.checkpoints("a") == {}
    for stage, step in (("a", 9), ("a", 100), ("a", 1_000_000), ("a-1", 300), ("b", 1)):
        place.checkpoint(stage, step).mkdir(parents=True)
    assert list(place.checkpoints("a")) == [9, 100, 1_000_000]
    assert place.checkpoints("a-1") == {300: place.checkpoint("a-1", 300)}
    place.drop_checkpoints("a", keep={100})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["a-000100", "a-1-000300", "b-000001"]
    place.drop_checkpoints("a")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["a-1-000300", "b-000001"]


def test_latest_leads_to_a_checkpoint_or_is_not_there(tmp_path: Path) -> None:
    place, latest = RunDirectory(tmp_path), tmp_path / "checkpoints" / "latest"
    for step in (1, 2):
        place.checkpoint("a", step).mkdir(parents=True)
        place.latest(place.checkpoint("a", step))
        assert latest.resolve() == place.checkpoint("a", step).resolve()
    assert list(place.checkpoints("a")) == [1, 2]
    place.latest(None)
    assert not latest.is_symlink()


def test_a_run_killed_while_its_record_was_written_begins_again(tmp_path: Path) -> None:
    """What is left then is a lock and half a record; of a clearing that was cut short the record is left last."""
    place = RunDirectory(tmp_path / "mine")
    place.path.mkdir()
    (place.path / ".lock").touch()
    (place.path / ".partial-run.json").write_text('{"rec')
    begun(place.path)
    assert place.read()["started"] == 1.0


def test_how_many_checkpoints_are_kept_may_change(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path)
    with place.claim(RECIPE | {"checkpoints": {"keep_last": 2}}, fresh=False):
        place.write_record(RECORD | {"recipe": RECIPE | {"checkpoints": {"keep_last": 2}}})
    with place.claim(RECIPE | {"checkpoints": {"keep_last": 1}}, fresh=False):
        assert place.read()["recipe"]["checkpoints"] == {"keep_last": 1}
    assert place.read()["changes"][0]["options"] == ["checkpoints.keep_last: 1 (there: 2)"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stages", 1.5),
        ("stages", None),
        ("stages", [None]),
        ("stages", [{"name": "sft"}]),
        ("stages", [{"name": 3, "steps": 1}]),
        ("started", "then"),
        ("started", 10**400),
        ("seconds", [1]),
        ("threads", 1.5),
        ("threads", None),
        ("threads", -1),
        ("changes", None),
        ("resumed", None),
        ("command", None),
        ("changes", {}),
        ("resumed", "x"),
        ("reward_scales", []),
        ("evaluation_seconds", "x"),
        ("recipe", RECIPE | {"stages": [None]}),
    ],
)
def test_a_damaged_record_is_named_and_fresh_starts_over(tmp_path: Path, name: str, value: object) -> None:
    place = begun(tmp_path / "mine")
    place.write_record({name: value})
    message = refusal(tmp_path / "mine")
    assert f"what it says of {name} is not what a run writes" in message
    assert "--fresh" in message
    with place.claim(RECIPE, fresh=True):
        assert not place.read()
