"""The one place where a gradient is made: from cotangents of what a network said, back to its parameters."""

from __future__ import annotations

from dataclasses import fields

import torch

from groupwise.algorithm import Outputs


def send_back(said: Outputs, cotangent: Outputs) -> None:
    """One backward pass from every output that has a cotangent, with the minus sign that makes the objective a loss."""
    given = {field.name: getattr(cotangent, field.name) for field in fields(Outputs)}
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    ends = {name: getattr(said, name) for name in given}
    for name, end in ends.items():
        if end is None or not end.requires_grad:
            raise ValueError(f"a cotangent of {name} would be lost: accumulate(outputs=...) must name it")
    torch.autograd.backward(list(ends.values()), [-given[name].to(end) for name, end in ends.items()])
