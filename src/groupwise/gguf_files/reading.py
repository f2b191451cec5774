"""This module reads what a GGUF file holds: plain values by their names, and tensors with their blocks undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groupwise.errors import UserError

MAGIC = b"GGUF"


def is_gguf(path: Path) -> bool:
    """Says whether a file begins as GGUF files do, whatever its name is."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _quick(reader: Any) -> Any:
    """Returns the reader with a plain view of the file in place of numpy's own class of memory maps: a vocabulary's
    hundred thousand texts are cut out of it, several cuts each, and those take such a map three times as long."""
    import numpy

    class Quick(reader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._view

        @data.setter
        def data(self, mapped: Any) -> None:
            self._view = numpy.asarray(mapped)

    return Quick


class GgufFile:
    """This is an open file. Raises UserError where it is none, is cut, or the reader's package is missing."""

    def __init__(self, path: Path) -> None:
        try:
            from gguf import GGUFReader
        except ImportError as error:
            raise UserError(
                f"{path}: reading GGUF needs the package gguf; expected it installed: pip install 'groupwise[gguf]'"
            ) from error
        self.path = path
        try:
            self._reader = _quick(GGUFReader)(path)
            self.values = {name: field.contents() for name, field in self._reader.fields.items()}
            self.shapes = {str(tensor.name): tuple(map(int, tensor.shape[::-1])) for tensor in self._reader.tensors}
        except Exception as error:  # numpy's and the reader's own, of any kind
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError(f"{path}: can't be read as GGUF: it is cut or damaged ({reason}); fetch it anew") from error

    @property
    def architecture(self) -> str:
        """Returns the architecture's name in llama.cpp."""
        return str(self.values.get("general.architecture", "unknown"))

    def of_model(self, name: str, default: Any = None) -> Any:
        """Returns a value that is said of the architecture: ``block_count`` of ``llama.block_count``."""
        return self.values.get(f"{self.architecture}.{name}", default)

    def number(self, name: str, default: float | None = None) -> float:
        """Returns a number of the architecture, in the fewest digits that are the same float32. Raises UserError where
        it is none, or missing without a default."""
        import numpy

        found = self.of_model(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise UserError(
                f"{self.path}: {self.architecture}.{name} is {str(found)[:60]}; expected one number, the same in all "
                "layers"
            )
        if not 0 < found < float("inf"):
            raise UserError(f"{self.path}: {self.architecture}.{name} is {found}; expected a finite number above 0")
        return float(str(numpy.float32(found))) if isinstance(found, float) else found

    def count(self, name: str, default: int | None = None) -> int:
        """Returns what ``number`` does, where it is a whole one above 0."""
        found = self.number(name, default)
        if found != int(found) or found < 1:
            raise UserError(f"{self.path}: {self.architecture}.{name} is {found}; expected a whole number above 0")
        return int(found)

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Yields names and torch tensors, one after the other: float32 as the package's own reference undoes their
        blocks, and bfloat16 where the file holds that."""
        import torch
        from gguf import GGMLQuantizationType, dequantize

        for tensor in self._reader.tensors:
            name, kind = str(tensor.name), GGMLQuantizationType(tensor.tensor_type)
            try:
                found = torch.from_numpy(dequantize(tensor.data, kind).copy())
            except (NotImplementedError, ValueError) as error:
                raise UserError(
                    f"{self.path}: {name} is packed as {kind.name}, which the package gguf can't undo; expected the "
                    "model in another packing, such as Q8_0 or BF16"
                ) from error
            yield name, found.to(torch.bfloat16 if kind is GGMLQuantizationType.BF16 else torch.float32)

    def kinds(self) -> dict[str, int]:
        """Counts the tensors that are packed in each way."""
        from gguf import GGMLQuantizationType

        names = [GGMLQuantizationType(tensor.tensor_type).name for tensor in self._reader.tensors]
        return {name: names.count(name) for name in dict.fromkeys(names)}
