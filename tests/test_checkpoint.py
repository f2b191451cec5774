"""Directories and files that are either complete or not there."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from groupwise.checkpoint import STATE, complete_directory, load_state, save_state, write_atomically, write_json


def test_the_name_appears_when_everything_is_written(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "model"
    with complete_directory(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("all of it")
        assert not final.exists()
    assert (final / "sub" / "file").read_text() == "all of it"
    assert list(final.parent.iterdir()) == [final]


def test_what_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "model"
    with complete_directory(final) as partial:
        (partial / "file").write_text("old")
    with pytest.raises(FileNotFoundError), complete_directory(final) as partial:
        (partial / "absent" / "file").write_text("new")
    assert (final / "file").read_text() == "old"
    with complete_directory(final) as partial:
        assert list(partial.iterdir()) == []
        (partial / "other").write_text("new")
    assert [path.name for path in final.iterdir()] == ["other"]


def test_a_file_holds_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{\n "a": 1\n}\n'
    write_atomically(path, "é\n")
    assert path.read_text(encoding="utf-8") == "é\n"
    assert list(tmp_path.iterdir()) == [path]


def test_state_comes_back(tmp_path: Path) -> None:
    state = {"version": 3, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "reference": None}
    save_state(tmp_path, state, {"step": 2, "cursor": 64})
    found, progress = load_state(tmp_path)
    assert progress == {"step": 2, "cursor": 64}
    assert torch.equal(found["optimizer"]["state"][0]["step"], torch.tensor(3.0))
    assert found["reference"] is None


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('run')",))


def test_nothing_in_a_state_file_is_run(tmp_path: Path) -> None:
    save_state(tmp_path, {}, {})
    torch.save({"x": Harm()}, tmp_path / STATE)
    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path)
