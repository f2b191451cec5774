"""The commit of a checkout, without obeying what lies in it.

A directory's git configuration names programs (a file system monitor, filters, hooks, commands that fetch what is
missing), and a data set or a model out of an archive may bring one along. So its files are read here, and where git
itself has to compare files it is given a repository of ours: the objects and the index of the directory, and a
configuration that says nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0
READ_BYTES = 16 << 20
_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHA256 = re.compile(r"^[ \t]*objectformat[ \t]*=[ \t]*sha256[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def revision(directory: Path, tracked: bool = False) -> str:
    """The commit that is checked out there, marked where tracked files are changed; empty where there is none.

    ``tracked``: also where the repository around it does not have ``directory``, as around an installed package.
    Submodules are not looked into.
    """
    found = _Checkout.around(directory)
    commit = found.commit() if found else ""
    if not found or not commit:
        return ""
    with found.neutral(commit) as environment:
        if tracked and not _git(directory, environment, "ls-files", "--error-unmatch", "."):
            return ""
        changed = _git(directory, environment, "status", "--porcelain", "-uno", "--ignore-submodules=all")
    return f"{commit} with changes" if changed else commit


@dataclass(frozen=True)
class _Checkout:
    """This is a checkout of git: where its files, its HEAD and its objects lie."""

    work_tree: Path
    own: Path
    """Holds HEAD and the index."""
    common: Path
    """Holds objects and branches: another than ``own`` in a further worktree."""

    @classmethod
    def around(cls, directory: Path) -> _Checkout | None:
        directory = directory.resolve()
        for place in (directory, *directory.parents):
            own = place / ".git"
            if own.is_file():
                own = place / _text(own).removeprefix("gitdir:").strip()
            if (own / "HEAD").is_file():
                return cls(place, own, own / (_text(own / "commondir").strip() or "."))
        return None

    def commit(self) -> str:
        """Returns the commit of HEAD; empty where nothing is committed."""
        head = _text(self.own / "HEAD").strip()
        name = head.removeprefix("ref:").strip()
        if head.startswith("ref:"):
            if ".." in name or not name.startswith("refs/"):
                return ""
            head = next(filter(None, (_text(place / name).strip() for place in (self.own, self.common))), "")
            head = head or self._packed(name)
        return head if _NAME.fullmatch(head) else ""

    def _packed(self, name: str) -> str:
        lines = (line.split(" ") for line in _text(self.common / "packed-refs").splitlines())
        return next((words[0] for words in lines if words[1:] == [name]), "")

    @contextmanager
    def neutral(self, commit: str) -> Iterator[dict[str, str]]:
        """The environment in which git knows this checkout and nothing of its configuration, nor the user's."""
        sha256 = _SHA256.search(_text(self.common / "config"))
        with tempfile.TemporaryDirectory(prefix="groupwise-") as temporary:
            place = Path(temporary)
            for folder in ("refs", "objects"):
                (place / folder).mkdir()
            (place / "HEAD").write_text(commit + "\n")
            lines = ["[core]", "fsmonitor = false", f"hooksPath = {os.devnull}"]
            lines += ["repositoryformatversion = 1", "[extensions]", "objectformat = sha256"] if sha256 else []
            (place / "config").write_text("\n".join(lines) + "\n")
            if (self.own / "index").is_file():
                shutil.copyfile(self.own / "index", place / "index")
            for shared in filter(Path.is_file, self.own.glob("sharedindex.*")):
                (place / shared.name).symlink_to(shared.resolve())
            plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
            yield plain | {
                "GIT_DIR": temporary,
                "GIT_WORK_TREE": str(self.work_tree),
                "GIT_OBJECT_DIRECTORY": str((self.common / "objects").resolve()),
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_SYSTEM": os.devnull,
                "GIT_OPTIONAL_LOCKS": "0",
                "GIT_NO_LAZY_FETCH": "1",
                "GIT_TERMINAL_PROMPT": "0",
            }


def _git(directory: Path, environment: dict[str, str], *words: str) -> str:
    command = ["git", "-C", str(directory), *words]
    try:
        found = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _text(path: Path) -> str:
    """Returns the text of a plain file; empty where there is none."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
