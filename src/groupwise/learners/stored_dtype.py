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
BYTES = "I8", "U8", "I3", "U3", "I1", "U1", "F8"
"""What dtypes begin with whose numbers are no weights by themselves."""
LONGEST_HEADER = 100_000_000
"""Bytes, as safetensors has it."""


def narrower_dtype(directory: Path, dtype: str) -> str:
    """Returns the dtype that all tensors of a model directory have, where ``dtype`` holds all their numbers and more;
    else empty."""
    found = set(_dtypes(directory).values())
    name = NAMES.get(next(iter(found)), "") if len(found) == 1 else ""
    return name if dtype in WIDER.get(name, ()) else ""


def packed_weight(directory: Path) -> str:
    """Returns the name and dtype of a weight whose numbers need others beside them, integers or floats of a byte; empty
    where files hold none."""
    kinds = _dtypes(directory).items()
    packed = (f"{name} ({kind})" for name, kind in kinds if name.endswith("weight") and kind[:2] in BYTES)
    return next(packed, "")


def _dtypes(directory: Path) -> dict[str, str]:
    """Returns the dtype of every tensor of a model directory, as safetensors names it."""
    files = sorted(directory.glob("*.safetensors")) if directory.is_dir() else []
    tensors = (item for file in files for item in _header(file).items() if item[0] != "__metadata__")
    return {name: str(tensor["dtype"]) for name, tensor in tensors}


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
