"""Published weights are directories that a server reads: whole or not there, one a version, the newest two kept."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.low_rank import CONFIG, WEIGHTS, LowRank
from groupwise.errors import UserError
from groupwise.storage.atomic import complete_directory, put_right, remove_directory, require_space, write_json

KEPT = 2
KEPT_ADAPTERS = 8
"""A server reads an adapter again that it has no more room for; requests under way may name older ones."""
NAME, ADAPTER_NAME = re.compile(r"v\d{6,}"), re.compile(r"a\d{6,}")
LOCK = ".lock"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float32}
_held: dict[Path, int] = {}


class Publisher:
    """Writes each version of a model's weights below one directory, of which no other process writes."""

    def __init__(self, directory: Path, config: Any, dtype: str) -> None:
        """``config`` is the model's, as transformers saves it; ``dtype`` that of what is written."""
        self.directory, self.config, self.dtype = directory.absolute(), config, DTYPES[dtype]
        hold(self.directory)
        put_right(self.directory)

    def publish(self, weights: Iterable[tuple[str, Tensor]], version: int) -> Path:
        """Writes a version and returns its directory. Every name of the checkpoint is in it, and ``lm_head.weight``
        also where the head shares the embedding's matrix: a server may keep a copy of the head of its own, which no
        other name refreshes."""
        from safetensors.torch import save_file

        made = self.completed(weights)
        tensors = {name: tensor.detach().to("cpu", self.dtype).contiguous().clone() for name, tensor in made}
        place = self.directory / f"v{version:06d}"
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        require_space(self.directory, size, f"version {version} of the weights")
        with complete_directory(place) as directory:
            self.config.save_pretrained(directory)
            save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        self._forget(place, NAME, KEPT)
        return place

    def completed(self, weights: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """Returns every name of the checkpoint, in the type of what is published, that of a tied head too."""
        tensors = {name: tensor.detach().to(self.dtype) for name, tensor in weights}
        if self.config.get_text_config().tie_word_embeddings and "lm_head.weight" not in tensors:
            names = [name for name in tensors if name.endswith("embed_tokens.weight")]
            if names:
                tensors["lm_head.weight"] = tensors[names[0]]
        return list(tensors.items())

    def publish_adapter(self, low_rank: LowRank, version: int) -> Path:
        """Writes the adapters of a version alone, as peft saves them, and returns their directory."""
        from safetensors.torch import save_file

        place, tensors = self.directory / f"a{version:06d}", low_rank.tensors()
        size = sum(tensor.nbytes for tensor in tensors.values())
        require_space(self.directory, size, f"version {version} of the adapters")
        with complete_directory(place) as directory:
            write_json(directory / CONFIG, low_rank.config())
            save_file(tensors, directory / WEIGHTS, {"format": "pt"})
        self._forget(place, ADAPTER_NAME, KEPT_ADAPTERS)
        return place

    def _forget(self, newest: Path, names: re.Pattern[str], kept: int) -> None:
        """Removes all but the newest versions; the one just written stays whatever its number."""
        found = [path for path in self.directory.iterdir() if names.fullmatch(path.name) and path != newest]
        found.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in found[: max(0, len(found) - kept + 1)]:
            with suppress(OSError):  # a server of another machine may still read it
                remove_directory(path)


def hold(directory: Path) -> None:
    """Keeps a directory for this process until it ends. Raises UserError where another process has it."""
    if directory in _held:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(
            f"engine.weights: {directory} cannot be written: {error.strerror}; expected a folder that this process "
            "writes and every server reads"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UserError(
            f"engine.weights: another run publishes its weights in {directory}; give each run a folder, and servers, "
            "of its own"
        ) from None
    _held[directory] = lock
