"""A file that a person named: whole, through links, and into what is no file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.storage.named_file import write_named, write_named_json


def test_a_new_file_and_one_that_is_there_hold_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a b é.json"
    for text in ("one", "two"):
        write_named(path, text)
        assert path.read_text() == text
    write_named_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n "é": 1\n}\n'
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old")
    link = tmp_path / "latest.html"
    link.symlink_to("real.html")
    write_named(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.html").read_text() == "new"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    write_named(pipe, "words")
    reader.join(timeout=60)
    assert heard == ["words"]
    assert pipe.is_fifo()


def test_a_descriptor_of_this_process_stays_what_it_is(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write_named(Path(f"/dev/fd/{writing}"), "words")
    os.close(writing)
    assert os.read(reading, 99) == b"words"
    os.close(reading)


@pytest.mark.parametrize(("name", "words"), [("folder", "is a directory"), ("none/x", "no such directory; make it")])
def test_a_place_that_is_none_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=words):
        write_named(tmp_path / name, "text")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 250)
    with pytest.raises(UserError, match=f"^{place}: cannot be written .*; choose another place"):
        write_named(place, "text")
