"""This module keeps a learner's state on the disk: its tensors in safetensors, its plain values and its shape in JSON.
No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "groupwise_state.safetensors"
STATE = "groupwise_state.json"
PROGRESS = "groupwise_progress.json"


def save_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Writes nested dicts, lists and tuples of tensors and plain values. Raises TypeError for anything else."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    shape = _taken_apart(dict(state), "state", tensors, {})
    save_file({name: _alone(tensor) for name, tensor in tensors.items()}, directory / TENSORS)
    (directory / STATE).write_text(json.dumps(shape, indent=1) + "\n", encoding="utf-8")


def load_state(directory: Path) -> dict[str, Any]:
    """Reads what ``save_state`` wrote, its tensors on the CPU, each in memory of its own.

    In the mapped file a tensor begins at any byte, and a matrix product rounds by where its factors begin.
    """
    from safetensors.torch import load_file

    shape = json.loads((directory / STATE).read_text(encoding="utf-8"))
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / TENSORS).items()}
    state: dict[str, Any] = _put_together(shape, tensors)
    return state


def save_progress(directory: Path, progress: Mapping[str, Any]) -> None:
    """Writes where a stage stands: plain values."""
    (directory / PROGRESS).write_text(json.dumps(progress, indent=1) + "\n", encoding="utf-8")


def load_progress(directory: Path) -> dict[str, Any]:
    """Reads the progress that ``save_progress`` wrote."""
    progress: dict[str, Any] = json.loads((directory / PROGRESS).read_text(encoding="utf-8"))
    return progress


def _alone(tensor: Tensor) -> Tensor:
    """In memory of its own, as safetensors wants it."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def bytes_of(*values: Any) -> int:
    """Returns the size of the tensors in nested dicts, lists and tuples; what shares memory counts once."""
    tensors: dict[str, Tensor] = {}
    names: dict[Any, str] = {}
    for number, value in enumerate(values):
        _taken_apart(value, str(number), tensors, names)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor], names: dict[Any, str]) -> Any:
    """As JSON takes it, every tensor a name in ``tensors``; one that stands in two places has one name (``names``)."""
    import torch

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype) if value.numel() else name
        if key not in names:
            names[key], tensors[name] = name, value.detach().contiguous()
        return {"tensor": names[key]}
    if isinstance(value, Mapping):
        parts = [[key, _taken_apart(part, f"{name}.{key}", tensors, names)] for key, part in value.items()]
        return {"dict": parts}
    if isinstance(value, list | tuple):
        items = [_taken_apart(part, f"{name}.{place}", tensors, names) for place, part in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    raise TypeError(f"{name} is a {type(value).__name__}; a state is made of tensors and plain values")


def _put_together(shape: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(shape, dict):
        return shape
    [(kind, value)] = shape.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _put_together(part, tensors) for key, part in value}
    items = [_put_together(part, tensors) for part in value]
    return tuple(items) if kind == "tuple" else items
