"""This module says where numbers are computed: the device that was asked for, and the machine it is in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from groupwise.errors import UserError


def pick_device(name: str) -> str:
    """Returns the device: ``auto`` becomes cuda where there is one, else cpu. Raises UserError for a cuda that is not
    there."""
    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None or torch.version.hip is not None
        why = "no such device is visible" if built else f"torch {torch.__version__} is built without it"
        raise UserError(f"device cuda: {why}; expected device cpu or auto, or a torch built for your GPU")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> dict[str, Any]:
    """Returns what a result file says of where it was made."""
    import platform

    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.platform()}
