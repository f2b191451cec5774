"""This module is a table of GPUs: what their makers publish of memory, bandwidth and speed."""

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
    """Where the figures stand."""


GPUS = (
    Gpu("a100-40gb", 40e9, 1.555e12, 312e12, 300e9, "NVIDIA A100 data sheet, SXM4 40 GB"),
    Gpu("a100-80gb", 80e9, 2.039e12, 312e12, 300e9, "NVIDIA A100 data sheet, SXM4 80 GB"),
    Gpu("h100-80gb", 80e9, 3.35e12, 989e12, 450e9, "NVIDIA H100 data sheet, SXM5, without sparsity"),
    Gpu("h200-141gb", 141e9, 4.8e12, 989e12, 450e9, "NVIDIA H200 data sheet, SXM, without sparsity"),
    Gpu("l40s-48gb", 48e9, 0.864e12, 362e12, 32e9, "NVIDIA L40S data sheet, without sparsity; PCIe 4"),
    Gpu("l4-24gb", 24e9, 0.3e12, 121e12, 32e9, "NVIDIA L4 data sheet, without sparsity; PCIe 4"),
)
"""Links are one way: half of what data sheets call the bandwidth of NVLink."""


def gpu(name: str) -> Gpu:
    """The GPU of that name. Raises UserError where the table has none."""
    found = next((each for each in GPUS if each.name == name.lower()), None)
    if found is None:
        raise UserError(f"--gpu is {name}; expected {', '.join(each.name for each in GPUS)}")
    return found
