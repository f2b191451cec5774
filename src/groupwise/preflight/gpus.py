"""This module is a table of GPUs: what their makers publish of memory, bandwidth and speed, as pages quote it."""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU, by its data sheet."""

    name: str
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second between memory and processor."""
    flops: float
    """Dense bfloat16 operations a second."""
    link: float
    """Bytes a second to another GPU of its machine, one way."""
    source: str
    """Its form, and where the figures can be read."""


GPUS = (
    Gpu("a100-40gb", 40e9, 1.555e12, 312e12, 300e9, "SXM4; glennklockwood.com/garden/processors/A100"),
    Gpu("a100-80gb", 80e9, 2.039e12, 312e12, 300e9, "SXM4; glennklockwood.com/garden/processors/A100"),
    Gpu("h100-80gb", 80e9, 3.35e12, 989e12, 450e9, "SXM5; glennklockwood.com/garden/processors/h100"),
    Gpu("h200-141gb", 141e9, 4.8e12, 989e12, 450e9, "SXM; aiwiki.ai/wiki/nvidia_h200, as fast as an H100 SXM5"),
    Gpu("l40s-48gb", 48e9, 0.864e12, 362e12, 32e9, "PCIe 4; mullet.se/product.html?product_id=355414"),
    Gpu("l4-24gb", 24e9, 0.3e12, 121e12, 32e9, "PCIe 4; grokipedia.com/page/NVIDIA_L4_vs_L40S, half of 242 sparse"),
)
"""Each source quotes the maker's data sheet. Speeds are without sparsity, which doubles what some sheets show; links
are one way, half of what sheets call the bandwidth of NVLink and PCIe."""


def gpu(name: str) -> Gpu:
    """The GPU of that name. Raises UserError where the table has none."""
    found = next((each for each in GPUS if each.name == name.lower()), None)
    if found is None:
        raise UserError(f"--gpu is {name}; expected {', '.join(each.name for each in GPUS)}")
    return found
