"""This module knows what of a directory a run wrote, by name and place, and how that alone is removed.

A file that is not known here as a run's is the user's and stays. A link is removed and never followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from groupwise.storage.atomic import remove_any
from groupwise.storage.manifest import MANIFEST, listed_files

RECORD, LOCK, TRACKERS = "run.json", ".lock", "trackers.json"
ADAPTER = "adapter"
FOLDERS = ("tensorboard", "ledger", "gathered", "bad_batches", "models", "checkpoints")
FILES = ("metrics.jsonl", "times.jsonl", "alarms.jsonl", "evaluation.json", "groups.json", "report.html", TRACKERS)
_ANY_MODEL = re.compile(
    r"(config|generation_config|tokenizer\w*|special_tokens_map|added_tokens|vocab)\.json|groupwise_\w+\.(json|safetensors)"
    r"|model[^/]*\.safetensors(\.index\.json)?|(chat_template\.jinja|merges\.txt|vocab\.txt|tokenizer\.model)"
    rf"|{re.escape(MANIFEST)}|README\.md|{ADAPTER}/(adapter_(config\.json|model\.safetensors)|README\.md)"
)
"""What a model's directory holds at least; these alone are a run's where the manifest is lost."""


@dataclass(frozen=True)
class RunContents:
    """This is what lies in a run's directory, its paths relative to it."""

    own: tuple[str, ...]
    """Files and links that a run wrote, and folders that are a run's with all that is in them."""
    own_folders: tuple[str, ...]
    """The deepest first; to be removed where nothing is left in them."""
    inside: tuple[str, ...]
    """The user's, in a place that a run reads as a whole: a model's or a checkpoint's directory, a stage's ledger."""
    others: tuple[str, ...]
    """The user's, elsewhere."""


def run_contents(directory: Path, stages: Collection[str]) -> RunContents:
    """Sorts what lies in the directory of a run that has those stages."""
    places = _Places(directory, stages)
    own: list[str] = []
    folders: list[str] = []
    inside: list[str] = []
    others: list[str] = []
    for name, is_folder in _walk(directory, places):
        if is_folder:
            folders.append(name)
        elif places.is_own(name):
            own.append(name)
        elif name != LOCK:
            (inside if places.whole(name) else others).append(name)
    return RunContents(tuple(own), tuple(sorted(folders, key=len, reverse=True)), tuple(inside), tuple(others))


def remove(directory: Path, found: RunContents) -> None:
    """Removes what a run wrote: a manifest after all that it lists, the record last of all. Cut short anywhere, what is
    left is still known as a run's."""
    manifests = [name for name in found.own if name.endswith(f"/{MANIFEST}")]
    for names in ([name for name in found.own if name not in manifests and name != RECORD], manifests):
        for name in names:
            remove_any(directory / name)
        for name in found.own_folders:
            with suppress(OSError):  # something is in it
                (directory / name).rmdir()
    (directory / RECORD).unlink(missing_ok=True)


def _walk(directory: Path, places: _Places, below: str = "") -> Iterator[tuple[str, bool]]:
    """Names of what is there, and whether it is a folder that a run makes; folders that are half written or of someone
    else are one name."""
    for entry in sorted(os.scandir(directory / below), key=lambda entry: entry.name):
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False) and places.is_folder(name):
            yield name, True
            yield from _walk(directory, places, f"{name}/")
        else:
            yield name, False


class _Places:
    """The names that a run with these stages gives."""

    def __init__(self, directory: Path, stages: Collection[str]) -> None:
        self.directory = directory
        stage = "|".join(map(re.escape, sorted(stages))) or r"(?!)"
        self._model = re.compile(rf"(models/(?:new|{stage})|checkpoints/(?:{stage})-\d{{6,}})(?:/(.*))?", re.DOTALL)
        self._ledger = re.compile(rf"ledger/(?:{stage})/.*", re.DOTALL)
        self._folder = re.compile(rf"{'|'.join(FOLDERS)}|(?:tensorboard|ledger|bad_batches)/(?:{stage})")
        top = "|".join(map(re.escape, (RECORD, *FILES)))
        self._own = re.compile(
            rf"(?:\.partial-)?(?:{top})|\.(?:metrics|times|alarms)\.jsonl\.partial"
            rf"|tensorboard/(?:{stage})/events\.out\.tfevents\.[^/]*"
            rf"|ledger/(?:{stage})/\d+\.(?:parquet|partial)|bad_batches/(?:{stage})/\d+\.(?:parquet|json|partial)"
            rf"|gathered/(?:\.partial-)?(?:{stage})\.jsonl|gathered/\.parts-(?:{stage})"
            rf"|checkpoints/\.?latest|checkpoints/\.(?:partial|old|gone|damaged)-(?:{stage})-\d{{6,}}"
            rf"|models/\.(?:partial|old|gone)-(?:new|{stage})"
        )
        self._listed: dict[str, frozenset[str] | None] = {}

    def is_folder(self, name: str) -> bool:
        model = self._model.fullmatch(name)
        if model and model[2]:
            files = self._files_of(model[1])
            if files is None:
                return model[2] == ADAPTER
            return any(file.startswith(f"{model[2]}/") for file in files)
        return bool(model or self._folder.fullmatch(name))

    def is_own(self, name: str) -> bool:
        """Of a file, a link, or a folder that is a run's with all that is in it."""
        model = self._model.fullmatch(name)
        if model and model[2]:
            files = self._files_of(model[1])
            return bool(_ANY_MODEL.fullmatch(model[2])) if files is None else model[2] in files
        path = self.directory / name
        if model or self._folder.fullmatch(name):  # it is no folder, or the walk had gone into it
            return path.is_symlink()
        return bool(self._own.fullmatch(name)) and (path.is_symlink() or not path.is_dir() or path.name.startswith("."))

    def whole(self, name: str) -> bool:
        return bool(self._model.fullmatch(name) or self._ledger.fullmatch(name))

    def _files_of(self, model: str) -> frozenset[str] | None:
        if model not in self._listed:
            self._listed[model] = listed_files(self.directory / model)
        return self._listed[model]
