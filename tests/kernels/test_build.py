"""A library is compiled once a machine, whole or not at all, where only its user can write."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.kernels import build


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and a source that compiles at once."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "answer.cpp").write_text('extern "C" int answer() { return 42; }\n')
    monkeypatch.setattr(build, "HERE", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield sources
    build.library.cache_clear()


def answer() -> int:
    library = build.library("answer")
    assert isinstance(library, ctypes.CDLL), library
    return int(library.answer())


def made(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "groupwise").iterdir())


def test_it_is_compiled_once_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer() == 42
    assert capfd.readouterr().err == "groupwise: compiling answer for this processor, once: some seconds\n"
    [file] = made(tmp_path)
    before = file.stat().st_mtime_ns
    build.library.cache_clear()
    assert answer() == 42
    assert capfd.readouterr().err == ""
    assert [file] == made(tmp_path)
    assert file.stat().st_mtime_ns == before


def test_another_source_is_another_library(tmp_path: Path, fresh: Path) -> None:
    assert answer() == 42
    (fresh / "answer.cpp").write_text('extern "C" int answer() { return 43; }\n')
    build.library.cache_clear()
    assert answer() == 43
    assert len(made(tmp_path)) == 2


def test_only_its_user_can_write_there(tmp_path: Path) -> None:
    """What lies there is run."""
    answer()
    assert stat.S_IMODE((tmp_path / "cache" / "groupwise").stat().st_mode) == 0o700


def test_a_cache_that_others_can_write_to_is_not_trusted(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "groupwise"
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert answer() == 42
    assert made(tmp_path) == []


def test_without_a_place_to_keep_it_it_is_made_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder is expected")
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    assert answer() == 42


def test_an_error_of_the_compiler_is_told(tmp_path: Path, fresh: Path) -> None:
    (fresh / "answer.cpp").write_text("this is no C++\n")
    said = build.library("answer")
    assert isinstance(said, str)
    assert "could not make answer" in said
    assert "answer.cpp:1" in said
    assert "\n" not in said
    assert made(tmp_path) == []


def test_processes_that_start_together_all_get_a_whole_one_that_one_of_them_makes(tmp_path: Path, fresh: Path) -> None:
    count, compiler = tmp_path / "count", tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\necho >> {count}\nexec {next(filter(shutil.which, build.COMPILERS))} "$@"\n')
    compiler.chmod(0o700)
    script = (
        "import sys; from pathlib import Path; from groupwise.kernels import build; "
        f"build.HERE = Path({str(fresh)!r}); print(build.library('answer').answer())"
    )
    command = [sys.executable, "-c", script]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "CXX": str(compiler)})
        for _ in range(3)
    ]
    assert [process.communicate(timeout=1200)[0] for process in running] == ["42\n"] * 3
    assert len(made(tmp_path)) == 1
    assert count.read_text() == "\n"


def test_a_source_that_somebody_holds_is_waited_for_and_not_for_ever(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, looks = fresh / "answer.cpp", iter((False, False, True))
    with source.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with build.alone(source, lambda: next(looks)):  # another process has made it
            assert next(looks, None) is None
        monkeypatch.setattr(build, "SECONDS", 0.3)
        with build.alone(source, lambda: False):
            pass
