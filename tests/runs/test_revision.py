"""Which commit a directory holds, found without running anything that lies in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from groupwise.runs.revision import revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


def git(directory: Path, *words: str) -> str:
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_AUTHOR_NAME": "a"}
    who = {"GIT_COMMITTER_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        ["git", "-C", str(directory), *words], capture_output=True, text=True, check=True, env=os.environ | alone | who
    )
    return done.stdout.strip()


def repository(path: Path, *options: str) -> str:
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main", *options)
    for name in ("a.txt", "folder/b.txt"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("text\n")
    git(path, "add", ".")
    git(path, "commit", "-qm", "one")
    return git(path, "rev-parse", "HEAD")


@pytest.mark.parametrize("options", [(), ("--object-format=sha256",)])
def test_a_commit_and_its_changes(tmp_path: Path, options: tuple[str, ...]) -> None:
    place = tmp_path / "a"
    commit = repository(place, *options)
    assert revision(place) == revision(place / "folder") == commit
    os.utime(place / "a.txt", (1, 1))  # touched and the same
    (place / "untracked").write_text("x")
    assert revision(place) == commit
    (place / "a.txt").write_text("other\n")
    assert revision(place) == revision(place / "folder") == f"{commit} with changes"
    git(place, "add", "a.txt")
    assert revision(place) == f"{commit} with changes"
    git(place, "checkout", "-qf", "HEAD")
    git(place, "rm", "-qf", "folder/b.txt")
    assert revision(place) == f"{commit} with changes"


def test_every_place_a_branch_can_stand(tmp_path: Path) -> None:
    place = tmp_path / "a"
    commit = repository(place)
    git(place, "pack-refs", "--all")
    assert revision(place) == commit
    git(place, "checkout", "-q", "--detach")
    assert revision(place) == commit
    git(place, "worktree", "add", "-q", "-b", "other", str(tmp_path / "b"))
    assert revision(tmp_path / "b") == commit
    git(place, "update-index", "--split-index")
    assert revision(place) == commit
    git(place, "gc", "-q")
    assert revision(place) == commit


def test_there_is_none(tmp_path: Path) -> None:
    assert revision(tmp_path) == ""
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert revision(tmp_path / "empty") == ""


def test_a_directory_that_the_repository_ignores(tmp_path: Path) -> None:
    commit = repository(tmp_path / "a")
    installed = tmp_path / "a" / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "x.py").write_text("")
    assert revision(installed) == commit
    assert revision(installed, tracked=True) == ""
    assert revision(tmp_path / "a" / "folder", tracked=True) == commit


def hostile(place: Path, command: str) -> None:
    """Every setting that makes a git of some version run a program on looking at files."""
    settings = {
        "core.fsmonitor": f"{command}; false",
        "core.hooksPath": str(place / "hooks"),
        "core.sshCommand": command,
        "core.pager": command,
        "core.editor": command,
        "core.askPass": command,
        "core.gitProxy": command,
        "core.alternateRefsCommand": command,
        "credential.helper": f"!{command}",
        "diff.external": command,
        "filter.x.clean": command,
        "filter.x.smudge": command,
        "filter.x.process": command,
        "diff.x.textconv": command,
        "diff.x.command": command,
        "gpg.program": command,
        "alias.status": f"!{command}",
        "alias.ls-files": f"!{command}",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": "ssh://host/path",
        "remote.origin.uploadpack": command,
        "include.path": str(place / "more.config"),
    }
    (place / "more.config").write_text(f'[core]\n\tfsmonitor = "{command}; false"\n')
    for name, value in settings.items():
        git(place, "config", name, value)
    (place / ".gitattributes").write_text("* filter=x diff=x\n")
    (place / "hooks").mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout", "pre-commit"):
        (place / "hooks" / hook).write_text(f"#!/bin/sh\n{command}\n")
        (place / "hooks" / hook).chmod(0o755)


@pytest.mark.parametrize("break_objects", [False, True])
def test_nothing_of_a_directory_is_run(tmp_path: Path, break_objects: bool) -> None:
    place, marker = tmp_path / "a", tmp_path / "PWNED"
    commit = repository(place)
    git(place, "submodule", "-q", "init")
    hostile(place, f"touch {marker}")
    os.utime(place / "a.txt", (1, 1))
    (place / "folder" / "b.txt").write_text("more text\n")
    if break_objects:  # a partial clone fetches what is missing, by a command of its configuration
        for path in (place / ".git" / "objects").glob("??/*"):
            path.unlink()
    assert revision(place).startswith(commit)
    revision(place, tracked=True)
    assert not marker.exists()
    subprocess.run(["git", "-C", str(place), "status"], capture_output=True, check=False)
    assert marker.exists()  # git itself obeys it


def test_a_submodule_is_not_looked_into(tmp_path: Path) -> None:
    inner, place, marker = tmp_path / "inner", tmp_path / "a", tmp_path / "PWNED"
    repository(inner)
    commit = repository(place)
    git(place, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(place / "sub", "config", "core.fsmonitor", f"touch {marker}; false")
    git(place / "sub", "config", "filter.x.clean", f"touch {marker}")
    (place / "sub" / ".gitattributes").write_text("* filter=x\n")
    os.utime(place / "sub" / "a.txt", (1, 1))
    assert revision(place) == f"{commit} with changes"
    assert not marker.exists()


@pytest.mark.parametrize("head", ["", "ref: ../../x", "ref: refs/../../x", "\0", "ref: refs/heads/none", "0" * 39])
def test_a_head_that_names_nothing(tmp_path: Path, head: str) -> None:
    repository(tmp_path / "a")
    (tmp_path / "a" / ".git" / "HEAD").write_text(head)
    assert revision(tmp_path / "a") == ""


def test_a_pipe_for_a_file_is_not_waited_for(tmp_path: Path) -> None:
    repository(tmp_path / "a")
    for name in ("HEAD", "index", "packed-refs", "config"):
        path = tmp_path / "a" / ".git" / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        assert revision(tmp_path / "a") == "", name


def test_the_environments_own_repository_is_not_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, _ = repository(tmp_path / "a"), repository(tmp_path / "b")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "b" / ".git"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    assert revision(tmp_path / "a") == commit
