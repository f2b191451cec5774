"""--fresh removes what a run wrote, and nothing else, wherever it is cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.runs.directory import RunDirectory
from groupwise.storage.atomic import complete_directory, open_new, put_right, write_json
from groupwise.storage.clearing import run_contents

RECIPE = {"name": "mine", "seed": 0, "stages": [{"name": "sft"}, {"name": "grpo"}]}
RECORD = {
    "recipe": RECIPE,
    "recipe_sha256": "0" * 64,
    "stages": [{"name": "sft", "steps": 1}, {"name": "grpo", "steps": 2}],
    "started": 1.0,
    "seconds": 2.0,
}
WRITTEN = [
    *("metrics.jsonl", "times.jsonl", "alarms.jsonl", "evaluation.json", "groups.json", "report.html"),
    *("tensorboard/sft/events.out.tfevents.1", "ledger/sft/000001.parquet", "ledger/grpo/000001.partial"),
    *("gathered/sft.jsonl", "gathered/.parts-grpo/0001.jsonl", ".partial-groups.json", ".metrics.jsonl.partial"),
    *("bad_batches/grpo/000002.parquet", "bad_batches/grpo/000002.json", "checkpoints/.damaged-sft-000001/config.json"),
    "checkpoints/.partial-grpo-000009/model.safetensors",
]


def put(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def made(path: Path) -> RunDirectory:
    """A run with something in every place that a run writes to."""
    place = RunDirectory(path)
    for name in WRITTEN:
        put(path / name)
    for final in (place.model("new"), place.model("sft"), place.model("grpo"), place.checkpoint("grpo", 2)):
        with complete_directory(final) as partial:
            put(partial / "config.json")
            put(partial / "sub" / "vocab.txt")
        put(final / "README.md")
    place.latest(place.checkpoint("grpo", 2))
    write_json(place.record, RECORD)
    return place


def fresh(place: RunDirectory) -> list[str]:
    """What is left where the next run begins."""
    with place.claim(RECIPE, fresh=True):
        return left(place.path)


def left(path: Path) -> list[str]:
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*") if found.name != ".lock")


def test_all_that_a_run_wrote_goes(tmp_path: Path) -> None:
    place = made(tmp_path / "run")
    assert fresh(place) == []
    assert place.kept == ()


KEPT = (
    "NOTES.md",
    "analysis/plot.py",
    "analysis/run.json",
    "models/merged/model.safetensors",
    "checkpoints/old/sft-000001/x",
    "checkpoints/mine.txt",
    "tensorboard/sft/notes.txt",
    "tensorboard/other-run/events.out.tfevents.2",
    "gathered/other.jsonl",
    "bad_batches/grpo/why.md",
    "ledger/readme.txt",
    "metrics.jsonl.bak",
    ".git/config",
    ".partial-thesis.tex",
    "report.html.d/report.html",
)


def test_what_is_the_users_stays_and_is_named(tmp_path: Path) -> None:
    place = made(tmp_path / "run")
    for name in KEPT:
        put(place.path / name, "years of work")
    (place.path / "empty").mkdir()
    (place.path / "link").symlink_to(put(tmp_path / "precious"))
    fresh(place)
    assert all((place.path / name).read_text() == "years of work" for name in KEPT)
    assert (place.path / "empty").is_dir()
    assert (tmp_path / "precious").exists()
    assert {"NOTES.md", "analysis", "models/merged", "checkpoints/old", "link", "empty"} <= set(place.kept)
    files = [name for name in left(place.path) if (place.path / name).is_file()]
    assert files == sorted([*KEPT, "link"])
    with RunDirectory(place.path).claim(RECIPE, fresh=False):  # a new run may begin beside them
        pass


@pytest.mark.parametrize(
    "name",
    [
        "models/sft/model.gguf",
        "models/grpo/sub/notes.txt",
        "models/new/own/x",
        "checkpoints/grpo-000002/mine",
        "ledger/sft/mine.csv",
    ],
)
def test_a_users_file_among_a_models_is_refused_before_anything_is_removed(tmp_path: Path, name: str) -> None:
    place = made(tmp_path / "run")
    put(place.path / name)
    before = left(place.path)
    with pytest.raises(UserError, match="the run did not write it"), place.claim(RECIPE, fresh=True):
        pytest.fail("cleared")
    assert left(place.path) == before
    assert place.read() == RECORD


@pytest.mark.parametrize("record", ["{}", "[]", "no json", '{"recipe": {}}', '{"recipe": 1, "recipe_sha256": "x"}', ""])
@pytest.mark.parametrize("anew", [False, True])
def test_a_file_named_run_json_makes_no_run(tmp_path: Path, record: str, anew: bool) -> None:
    home = tmp_path / "home"
    for name in ("Documents/thesis.tex", ".ssh/id_ed25519", "metrics.jsonl", "models/new/config.json"):
        put(home / name)
    put(home / "run.json", record)
    before = left(home)
    with pytest.raises(UserError, match=r"run\.json"), RunDirectory(home).claim(RECIPE, fresh=anew):
        pytest.fail("claimed")
    assert left(home) == before
    assert not (home / ".lock").exists()


@pytest.mark.parametrize("name", ["checkpoints", "models", "ledger", "tensorboard", "models/sft", "ledger/grpo"])
def test_a_link_is_removed_and_not_followed(tmp_path: Path, name: str) -> None:
    place = made(tmp_path / "run")
    elsewhere = tmp_path / "disk"
    os.replace(place.path / name, elsewhere)
    put(elsewhere / "precious")
    (place.path / name).symlink_to(elsewhere)
    before = left(elsewhere)
    assert fresh(place) == []
    assert left(elsewhere) == before


@pytest.mark.parametrize("text", ["", '{"files": [', '{"files": {"../../precious": {}}}'])
def test_a_lost_manifest_gives_no_leave_to_remove_more(tmp_path: Path, text: str) -> None:
    place = made(tmp_path / "run")
    put(place.model("sft") / "manifest.json", text)
    put(place.model("sft") / "notes.txt")
    put(tmp_path / "run" / "precious")
    with pytest.raises(UserError, match=r"models/sft/"), place.claim(RECIPE, fresh=True):
        pytest.fail("cleared")
    assert (tmp_path / "run" / "precious").exists()


def begin_badly(place: RunDirectory, anew: bool) -> None:
    with place.claim(RECIPE, fresh=anew):
        place.write_record(RECORD)
        put(place.model("new") / "config.json")
        raise UserError("no model")


@pytest.mark.parametrize("text", ["", "{", '{"files": "x"}', '{"files": 3}', "\0" * 40])
def test_a_damaged_manifest_makes_nothing_of_a_run_the_users(tmp_path: Path, text: str) -> None:
    place = made(tmp_path / "run")
    for folder in (place.model("new"), place.checkpoint("grpo", 2)):
        (folder / "sub" / "vocab.txt").unlink()
        (folder / "sub").rmdir()
        for name in ("chat_template.jinja", "merges.txt", "groupwise_state.safetensors", "adapter/adapter_config.json"):
            put(folder / name)
        put(folder / "manifest.json", text)
    assert fresh(place) == []


@pytest.mark.parametrize("stages", ["x", None, 3, [], [None], [{}]])
def test_stages_are_known_from_either_place_in_the_record(tmp_path: Path, stages: object) -> None:
    place = made(tmp_path / "run")
    write_json(place.record, RECORD | {"stages": stages})
    assert fresh(place) == []


def test_a_run_that_cannot_begin_leaves_what_was_there(tmp_path: Path) -> None:
    place = made(tmp_path / "run")
    put(place.path / "NOTES.md")
    for anew in (True, False):
        with pytest.raises(UserError, match="no model"):
            begin_badly(place, anew)
        assert left(place.path) == ["NOTES.md"]


CLEARER = """
import os, signal, sys
from pathlib import Path
from groupwise.runs.directory import RunDirectory
path, deadly = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def watch(event, arguments):
    global calls
    if event in ("os.remove", "os.rmdir", "os.rename", "open") and str(path) in os.path.abspath(str(arguments[0])):
        calls += event != "open" or (isinstance(arguments[2], int) and bool(arguments[2] & os.O_CREAT))
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
with RunDirectory(path).claim({"name": "mine", "seed": 0, "stages": [{"name": "sft"}, {"name": "grpo"}]}, True):
    pass
"""


def test_a_clearing_that_is_killed_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    """At any file made or removed: what is left never calls itself finished, and the same command, with --fresh or
    without, clears on and keeps what is the user's."""
    points = 0
    for deadly in range(1, 400, 5):
        place = made(tmp_path / str(deadly))
        put(place.path / "NOTES.md")
        done = subprocess.run([sys.executable, "-c", CLEARER, str(place.path), str(deadly)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        points += 1
        begun = RECORD.keys() <= place.read().keys() and "clearing" not in place.read()
        assert not place.finished or (begun and set(WRITTEN) <= set(left(place.path)))
        with place.claim(RECIPE, fresh=begun):
            assert left(place.path) == ["NOTES.md"]
    assert points >= 5


def test_planted_links_are_not_written_through(tmp_path: Path) -> None:
    precious = put(tmp_path / "precious.txt", "precious")
    for name in (".lock", "metrics.jsonl", "run.json", "alarms.jsonl", "report.html"):
        out = tmp_path / name.strip(".")
        out.mkdir()
        (out / name).symlink_to(precious)
        with pytest.raises(UserError, match=r"link|no run"), RunDirectory(out).claim(RECIPE, fresh=False):
            pytest.fail("claimed")
        assert precious.read_text() == "precious"
    (tmp_path / ".partial-x.json").symlink_to(precious)
    write_json(tmp_path / "x.json", {"a": 1})
    assert not (tmp_path / "x.json").is_symlink()
    (tmp_path / "y").symlink_to(precious)
    with open_new(tmp_path / "y") as file:
        file.write(b"new")
    (tmp_path / ".partial-model").symlink_to(tmp_path / "folder")
    put(tmp_path / "folder" / "mine")
    with complete_directory(tmp_path / "model") as partial:
        put(partial / "a")
    for kind in (".old-", ".gone-", ".partial-"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / f"{kind}sft").symlink_to(tmp_path / "folder")
    put_right(tmp_path / "models")
    assert left(tmp_path / "models") == []
    assert (tmp_path / "folder" / "mine").exists()
    assert precious.read_text() == "precious"


def test_a_lock_that_is_a_hard_link_keeps_its_text(tmp_path: Path) -> None:
    place = made(tmp_path / "run")
    precious = put(tmp_path / "precious.txt", "precious")
    os.link(precious, place.lock)
    put(place.path / "NOTES.md")
    fresh(place)
    assert precious.read_text() == "precious"


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    os.mkfifo(out / ".lock")
    with pytest.raises(UserError, match="is no file"), RunDirectory(out).claim(RECIPE, fresh=False):
        pytest.fail("claimed")


def test_names_of_stages_are_no_patterns(tmp_path: Path) -> None:
    put(tmp_path / "ledger" / "grpo" / "000001.parquet")
    found = run_contents(tmp_path, [".*"])
    assert found.own == ()
    assert found.others == ("ledger/grpo",)
