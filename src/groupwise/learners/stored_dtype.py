"""This module says in which dtype files hold a model, so that each of several processes need convert its own part
alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
"""As safetensors names them."""
WIDER = {"bfloat16": ("float32", "float64"), "float16": ("float32", "float64"), "float32": ("float64",)}
"""The dtypes that hold every number of a dtype."""
LONGEST_HEADER = 100_000_000
"""Bytes, as safetensors has it."""


def narrower_dtype(directory: Path, dtype: str) -> str:
    """Returns the dtype that all tensors of a model directory have, where ``dtype`` holds all their numbers and more;
    else empty."""
    files = sorted(directory.glob("*.safetensors")) if directory.is_dir() else []
    found = {tensor["dtype"] for file in files for name, tensor in _header(file).items() if name != "__metadata__"}
    name = NAMES.get(next(iter(found)), "") if len(found) == 1 else ""
    return name if dtype in WIDER.get(name, ()) else ""


def _header(file: Path) -> dict[str, Any]:
    """What a file says of its tensors; nothing where it is none, which is said where it is opened."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        text = opened.read(length) if length < LONGEST_HEADER else b"{}"
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}


def computes_in(model: Any, dtype: torch.dtype) -> bool:
    """Whether a model has made numbers of its own in this dtype when it was built, beside those that files hold."""
    kept = model.state_dict()
    return any(buffer.dtype == dtype for name, buffer in model.named_buffers() if name not in kept)
