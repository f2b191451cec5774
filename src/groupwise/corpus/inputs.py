"""This module finds the archives of a crawl, and refuses to mix what was made of other inputs or settings."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from groupwise.corpus.archives import SUFFIXES
from groupwise.corpus.seeds import Seed
from groupwise.corpus.settings import Corpus
from groupwise.errors import UserError
from groupwise.storage.atomic import read_json, write_json

SETTINGS = "settings.json"
SHOWN = 4
PACKAGES = ("datatrove", "fastwarc", "resiliparse", "fasttext", "rensa", "tldextract", "mathml_to_latex")


def find_archives(sources: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """The archives among files and folders, by name. Raises UserError for what is none, and for two of one name."""
    found: list[Path] = []
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.name.lower().endswith(SUFFIXES) and each.is_file())
            if not inside:
                raise UserError(f"--crawl {path}: holds no archive; expected files that end in {', '.join(SUFFIXES)}")
            found += inside
        elif not path.exists():
            raise UserError(f"--crawl {path}: no such file or folder; expected WARC files, or a folder of them")
        elif not path.name.lower().endswith(SUFFIXES):
            raise UserError(f"--crawl {path}: expected a file that ends in {', '.join(SUFFIXES)}")
        else:
            found.append(path)
    named = sorted((_name(path), path.resolve()) for path in {path.resolve(): path for path in found}.values())
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        both = " and ".join(str(path) for name, path in named if name == twice[0])
        raise UserError(f"--crawl: {both} have one name; expected archives of different names")
    return tuple(named)


def _name(path: Path) -> str:
    bare = next(
        path.name[: -len(suffix)]
        for suffix in sorted(SUFFIXES, key=len, reverse=True)
        if path.name.lower().endswith(suffix)
    )
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in bare) or "_"


def refuse_other_inputs(
    directory: Path, archives: Sequence[tuple[str, Path]], seed: Seed, corpus: Corpus, rebuild: bool
) -> None:
    """Raises UserError where the directory was made of other inputs or settings, unless it may be made anew; then
    notes these."""
    now = {
        "crawl": {name: path.stat().st_size for name, path in archives},
        "seed": _hash(seed),
        "settings": dict(_numbers(corpus)),
    }
    path = directory / SETTINGS
    before = read_json(path, dict)
    strange = (
        [each.name for each in directory.iterdir() if not each.name.startswith(".") and each.name != "annotations.toml"]
        if before is None
        else []
    )
    if strange and path.name not in strange:
        raise UserError(
            f"{directory}: holds {strange[0]} and no corpus; expected an empty directory, or one of a build"
        )
    if before is not None:
        came = {name: value for name, value in _numbers(type(corpus)()) if name not in before.get("settings", {})}
        before = before | {"settings": came | before.get("settings", {})}
    if before is not None and before != now and not rebuild:
        raise UserError(
            f"{directory} was built otherwise: {_differences(before, now)}; choose another --out, or --rebuild makes "
            "anew what that touches"
        )
    write_json(path, now)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    said = []
    for name, value in now["settings"].items():
        old = before.get("settings", {}).get(name)
        if old != value:
            said.append(f"{name} {_shown(old)}, now {_shown(value)}")
    old, new = before.get("crawl", {}), now["crawl"]
    for word, names in (("more", new.keys() - old.keys()), ("fewer", old.keys() - new.keys())):
        if names:
            said.append(f"{len(names)} archives {word} ({sorted(names)[0]})")
    changed = [name for name in new.keys() & old.keys() if new[name] != old[name]]
    if changed:
        said.append(f"archive {sorted(changed)[0]} has another size")
    if before.get("seed") != now["seed"]:
        said.append("another seed")
    return "; ".join(said[:SHOWN]) + (f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else "")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _numbers(value: Any, prefix: str = "") -> Any:
    """Every number of the settings, by its option's name."""
    for each in fields(value):
        inner = vars(value)[each.name]
        if is_dataclass(inner) and not isinstance(inner, type):
            yield from _numbers(inner, f"{prefix}{each.name}.")
        else:
            yield f"{prefix}{each.name}", list(inner) if isinstance(inner, tuple) else inner


def _hash(seed: Seed) -> str:
    parts = [*sorted(seed.addresses), "", *seed.prefixes, "", *seed.texts]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def last_round(directory: Path, number: int = 0) -> int:
    """The last round that a build made, or the one that was asked for. Raises UserError where it is not there."""
    refuse_no_corpus(directory)
    made = sorted(int(path.parent.name.removeprefix("iteration-")) for path in directory.glob("iteration-*/round.json"))
    if not made:
        raise UserError(f"{directory}: no round was made yet; run its groupwise corpus build to its end")
    if number and number not in made:
        raise UserError(f"--iteration {number}: there are {', '.join(map(str, made))}")
    return number or made[-1]


def refuse_missing_packages(kind: str) -> None:
    """Raises UserError where a package that a build needs is not installed."""
    modules = (*PACKAGES, "ray") if kind == "ray" else PACKAGES
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        more = " ray" if "ray" in missing else ""
        raise UserError(f'a corpus needs {", ".join(missing)}: pip install "groupwise[corpus]"{more}')


def refuse_no_corpus(directory: Path) -> None:
    """Raises UserError for a directory that no build made."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected --out of groupwise corpus build")
    if not (directory / SETTINGS).is_file():
        raise UserError(f"{directory}: no corpus, for {SETTINGS} is missing; expected --out of groupwise corpus build")
