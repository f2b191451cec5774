"""This module says what a process behind walls may read: the interpreter, its standard library, and what it is linked
with."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")


@functools.cache
def interpreter() -> str:
    """The interpreter itself, behind the links of a virtual environment."""
    return os.path.realpath(sys.executable)


@functools.cache
def standard_library() -> Path:
    """It may hold a folder of installed packages, which is no part of it."""
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def own_libraries() -> Path | None:
    """An interpreter's own folder of shared libraries, where it has one (conda, pyenv, uv)."""
    folder = Path(str(sysconfig.get_config_var("LIBDIR")))
    system = (Path("/usr"), Path("/usr/local"), Path("/"))
    return folder if folder.is_dir() and folder.parent not in system and folder in standard_library().parents else None


@functools.cache
def shared_libraries() -> tuple[str, ...]:
    """The system's folders of shared libraries, as few as there are, and the cache of where they lie."""
    machine = str(sysconfig.get_config_var("MULTIARCH") or "")
    found: list[str] = []
    for folder in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        if os.path.islink(folder):
            continue
        narrow = os.path.join(folder, machine)
        if machine and os.path.isdir(narrow):
            found.append(narrow)
        elif os.path.isdir(folder):
            found.append(folder)
    return (*found, "/etc/ld.so.cache")


def other_pythons(folder: str) -> list[str]:
    """Returns the packages of an interpreter in a folder of shared libraries: none of ours to show."""
    return sorted(filter(os.path.isdir, glob.glob(os.path.join(glob.escape(folder), "python*"))))


@functools.cache
def readable() -> tuple[str, ...]:
    """Returns what may be read, for Landlock, which can only add: files and folders that hold nothing but what may be
    read."""
    library = standard_library()
    parts = [str(path) for path in sorted(library.iterdir()) if path.name not in INSTALLED]
    for folder in shared_libraries():
        others = other_pythons(folder)
        parts += [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if others else [folder]
        parts = [part for part in parts if part not in others]
    linked = own_libraries()
    parts += sorted(map(str, linked.glob("*.so*"))) if linked else []
    alone = Path(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    return (*parts, str(alone))


def packages(module: str) -> tuple[list[str], list[str]]:
    """Returns the folders to import ``module`` and what is installed from, and of those what must be read: all of a
    folder that packages are installed in, of any other one the module's own package alone."""
    top = importlib.util.find_spec(module.partition(".")[0])
    places = list(top.submodule_search_locations or [top.origin or ""]) if top else []
    own = [os.path.abspath(place) for place in places]
    folders = [os.path.abspath(folder) for folder in sys.path if folder and os.path.isdir(folder)]
    library = str(standard_library())
    installed = [folder for folder in folders if _holds_packages(folder) and folder != library]
    groupwise = str(Path(__file__).parents[1])
    alone = [place for place in dict.fromkeys([groupwise, *own]) if os.path.dirname(place) not in installed]
    homes = [folder for folder in folders if folder in installed or folder in map(os.path.dirname, alone)]
    return homes, [*installed, *alone]


@functools.cache
def _holds_packages(folder: str) -> bool:
    return any(name.endswith(".dist-info") for name in os.listdir(folder))
