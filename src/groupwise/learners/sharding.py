"""A language model in parts: every process holds a part of each parameter, and all of a block while it computes it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from groupwise.errors import UserError
from groupwise.learners.hidden_states import PackedBackbone
from groupwise.learners.logprobs import LanguageModel, token_outputs
from groupwise.learners.micro_batch import MicroBatch


def mesh_of_all() -> DeviceMesh:
    """All ranks in one line."""
    return init_device_mesh("cpu", (dist.get_world_size(),))


def shard(network: LanguageModel, mesh: DeviceMesh) -> None:
    """Leaves each rank its part of the parameters. ``model.said(...)`` is then how the network is asked: all of the
    head is there meanwhile. Raises UserError for an architecture that is not known by its parts."""
    model, backbone = network.model, network.backbone
    if not isinstance(backbone, PackedBackbone):
        raise UserError(f"learner FSDP: {backbone.fallback_reason}; several processes compute known blocks alone; "
                        "expected learner Local")  # fmt: skip
    trunk, blocks = backbone.trunk, list(model.base_model.layers)
    for number, (block, plain) in enumerate(zip(blocks, trunk.blocks, strict=True)):
        fully_shard(block, mesh=mesh)
        block.packed = _without_self(plain, block)
        register_fsdp_forward_method(block, "packed")
        trunk.blocks[number] = _late(block)
    fully_shard(model, mesh=mesh)

    def said(self: Any, part: MicroBatch, temperature: float, entropy_gradient: bool) -> tuple[Tensor, Tensor | None]:
        found = token_outputs(network(part), part, temperature, entropy_gradient=entropy_gradient)
        return found.logprobs, found.entropy

    model.said = MethodType(said, model)
    register_fsdp_forward_method(model, "said")
    for module in (model, *blocks):
        module.set_gradient_divide_factor(1.0)  # the sum of the ranks' gradients, not their mean
        module.set_force_sum_reduction_for_comms(True)  # gloo has no product before the sum


def _without_self(plain: Any, block: nn.Module) -> Any:
    return MethodType(lambda self, *given: plain(*given), block)


def _late(block: Any) -> Any:
    return lambda *given: block.packed(*given)


@torch.no_grad()
def whole(value: Any) -> Any:
    """Returns the same nested dicts and lists with whole tensors in the place of parts. All ranks call it."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return value


def part_of(tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    """This rank's part of a tensor that every rank has."""
    return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)


@torch.no_grad()
def fill(model: Any, tensors: Mapping[str, Tensor], mesh: DeviceMesh) -> None:
    """Copies whole tensors into the parts, by their names."""
    for name, parameter in model.named_parameters():
        parameter.copy_(part_of(tensors[name], mesh))
