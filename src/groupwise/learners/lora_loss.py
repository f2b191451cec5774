"""This module says what a dtype with few digits takes from a saved model that has adapters in its weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

ADAPTER = "adapter"
"""Directory beside the model's files that peft loads the adapters from."""
STATE = "groupwise_state.json"
"""A directory that holds it is a checkpoint, whose state brings the frozen weights and the adapters back."""


def rounding_loss(directory: Path | str, dtype: str) -> str:
    """Says in a few words how much of what adapters added to the weights in ``directory`` is lost in ``dtype``; empty
    where nothing is, or no adapters lie there."""
    place, kind = Path(directory), getattr(torch, dtype)
    files = sorted(place.glob("*.safetensors"))
    if kind.itemsize >= 4 or not files or not (place / ADAPTER / "adapter_config.json").exists():
        return ""
    if (place / STATE).exists():
        return ""
    added = _added(place / ADAPTER)
    error = size = 0.0
    for file in files:
        with safe_open(file, framework="pt") as weights:
            for name in added.keys() & set(weights.keys()):
                weight = weights.get_tensor(name)
                error += float((weight.to(kind).double() - weight.double()).square().sum())
                size += added[name]
    if not error or not size:
        return ""
    return (
        f"its weights have adapters in them; in {dtype} they are rounded by {(error / size) ** 0.5:.1%} of the norm of "
        "what the adapters added (float32 keeps it)"
    )


def _added(adapter: Path) -> dict[str, float]:
    """The squared norm of scale · B A by the name of the weight that it was added to."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    found: dict[str, float] = {}
    for file in adapter.glob("*.safetensors"):
        with safe_open(file, framework="pt") as parts:
            for name in parts.keys():  # noqa: SIM118  (no mapping)
                if not name.endswith(".lora_A.weight"):
                    continue
                into = parts.get_tensor(name).double()
                out_of = parts.get_tensor(name.replace("lora_A", "lora_B")).double()
                weight = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
                found[weight] = float(scale**2 * ((into @ into.T) * (out_of.T @ out_of)).sum())
    return found
