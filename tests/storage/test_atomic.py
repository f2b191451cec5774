"""Directories and files that are either complete or not there, and that tell when they are not as they were written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.storage.atomic import (
    complete_directory,
    full_disk_named,
    put_right,
    remove_directory,
    require_space,
    write_atomically,
    write_json,
)
from groupwise.storage.manifest import MANIFEST, damage


def made(final: Path, text: str = "old") -> Path:
    with complete_directory(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text(text)
        (partial / "other").write_bytes(bytes(range(256)))
    return final


def test_the_name_appears_when_everything_is_written(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "model"
    with complete_directory(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("all of it")
        assert not final.exists()
    assert (final / "sub" / "file").read_text() == "all of it"
    assert list(final.parent.iterdir()) == [final]


def test_what_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    final = made(tmp_path / "model")
    with pytest.raises(FileNotFoundError), complete_directory(final) as partial:
        (partial / "absent" / "file").write_text("new")
    assert (final / "sub" / "file").read_text() == "old"
    assert damage(final) == ""
    with complete_directory(final) as partial:
        assert list(partial.iterdir()) == []
        (partial / "only").write_text("new")
    assert sorted(path.name for path in final.iterdir()) == [MANIFEST, "only"]
    assert list(tmp_path.iterdir()) == [final]


WRITER = """
import os, signal, sys
from pathlib import Path
from groupwise.storage import atomic
final, deadly = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

for module, name in ((checkpoint, "sync"), (checkpoint, "write_manifest"), (os, "replace"), (os, "rmdir")):
    setattr(module, name, counted(getattr(module, name)))
with atomic.complete_directory(final) as partial:
    (partial / "file").write_text("new")
atomic.remove_directory(final.parent / "rotated")
"""


def test_a_process_killed_at_any_call_leaves_a_whole_directory(tmp_path: Path) -> None:
    """At every fsync, rename and removal of a directory that replaces another and of one that is rotated out."""
    survived = 0
    for deadly in range(1, 40):
        parent = tmp_path / str(deadly)
        final, rotated = made(parent / "model"), made(parent / "rotated")
        killed = subprocess.run([sys.executable, "-c", WRITER, str(final), str(deadly)], check=False)
        put_right(parent)
        assert damage(final) == ""
        assert ((final / "file").exists()) != ((final / "sub").exists())
        assert not rotated.exists() or damage(rotated) == ""
        assert {path.name for path in parent.iterdir()} <= {"model", "rotated"}
        if killed.returncode == 0:
            break
        survived += 1
    assert survived >= 10


def test_damage_is_named(tmp_path: Path) -> None:
    whole = made(tmp_path / "model")
    assert damage(whole) == ""
    (whole / "README.md").write_text("a card may be written again")
    assert damage(whole) == ""
    other = whole / "other"
    other.write_bytes(bytes(range(255)))
    assert damage(whole) == "other has 255 bytes where 256 were written"
    other.write_bytes(bytes(range(255)) + b"\x7f")
    assert damage(whole) == "other has other bytes than were written (sha256)"
    other.unlink()
    assert damage(whole) == "other is missing"
    (whole / MANIFEST).write_text('{"files": [')
    assert damage(whole) == "manifest.json cannot be read"
    (whole / MANIFEST).unlink()
    assert damage(whole) == "manifest.json is missing"


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    require_space(tmp_path, 1000, "the checkpoint")
    with pytest.raises(UserError, match=r"the checkpoint needs 1,000,000,0\d\d,\d\d\d?") as caught:
        require_space(tmp_path / "new", 10**18, "the checkpoint")
    assert "\n" not in str(caught.value)
    assert "are free" in str(caught.value)


FILLER = """
import resource, sys
from pathlib import Path
from groupwise.storage.atomic import complete_directory
from groupwise.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with complete_directory(Path(sys.argv[1])) as partial:
        if sys.argv[2] == "tensors":
            from safetensors.numpy import save_file
            import numpy
            save_file({"a": numpy.zeros(100_000)}, partial / "file")
        elif sys.argv[2] == "tokenizer":
            from tokenizers import Tokenizer, models
            vocabulary = {str(number): number for number in range(20_000)}
            Tokenizer(models.WordLevel(vocabulary, unk_token="0")).save(str(partial / "file"))
        else:
            (partial / "file").write_bytes(bytes(400_000))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["tensors", "tokenizer", "bytes"])
def test_a_write_that_fails_all_the_same_leaves_the_old_one_whole(tmp_path: Path, kind: str) -> None:
    """The system's own refusal, of Python's writes, of safetensors' and of tokenizers'."""
    final = made(tmp_path / "model")
    told = subprocess.run([sys.executable, "-c", FILLER, str(final), kind], capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"{final}: could not be written, the file is too big"), told
    assert damage(final) == ""
    assert list(tmp_path.iterdir()) == [final]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_named(tmp_path):
        (tmp_path / "absent").read_text()


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    remove_directory(made(tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_holds_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{\n "a": 1\n}\n'
    write_atomically(path, "é\n")
    assert path.read_text(encoding="utf-8") == "é\n"
    assert list(tmp_path.iterdir()) == [path]
