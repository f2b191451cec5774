"""This module keeps a part of every parameter in each of several processes, by torch's ``fully_shard``.

Gradients are sums over processes, never means, as everywhere in this package: ``step`` divides by the count.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from types import MethodType
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from groupwise.algorithm import Outputs
from groupwise.errors import UserError
from groupwise.learners.context_group import ContextGroup, refuse_few_heads
from groupwise.learners.hidden_states import PackedBackbone
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.placement import ONE_PROCESS, Placement, StoppedElsewhere
from groupwise.types import Rollout

T = TypeVar("T")
OUTPUTS = tuple(field.name for field in fields(Outputs))


class Sharded(Placement):
    """This placement gives each process the rows of every parameter that ``fully_shard`` gives it.

    Parameters that were never placed (adapters, and what they stand beside) are whole in every process, and their
    gradients are added up before a step.
    """

    def __init__(self, device: str, context: int = 1) -> None:
        self.rank, self.count, self.device = dist.get_rank(), dist.get_world_size(), device
        self.mesh: DeviceMesh = init_device_mesh(device, (self.count,))
        self.side_by_side, self.leads = self.count // context, not self.rank % context
        self.context = _context_group(context) if context > 1 else None
        self._skeletons: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
        self.rows = 0
        """In the present micro-batches of all processes."""

    def place(self, model: Any, dtype: str = "") -> None:
        """Shards every block by itself, and what is around them with the model. Where files hold a model, no more than
        this process's part of it is read."""
        stored = next(model.parameters()).dtype
        kind = getattr(torch, dtype or str(stored).removeprefix("torch."))
        self._skeletons[model] = _skeleton(model, stored, kind)
        for module in model.modules():
            if "experts" in dict(module.named_children()):
                module.register_forward_hook(_reached_by_gradients)
        for module, other in _of_another_dtype(model, stored, kind):
            self._shard(module, resharded=True, kind=other)
        for block in _blocks(model):
            self._shard(block, resharded=True, kind=kind)
        self._shard(model, resharded=False, kind=kind)
        if kind != stored:
            model._apply(lambda tensor: tensor.to(kind) if tensor.dtype == stored else tensor)
        if dtype:
            for config in (model.config, model.config.get_text_config()):
                config.dtype = kind
        _call_inside(model, "whole_inside", lambda work: work())

    def compute_in_parts(self, model: nn.Module, backbone: Any) -> None:
        """Splits the model into its blocks, so that one of them at a time is whole while it computes."""
        if isinstance(backbone, PackedBackbone):
            for number, block in enumerate(_blocks(model)):
                _call_inside(block, "packed", backbone.trunk.blocks[number])
                backbone.trunk.blocks[number] = cast(Any, block).packed

    @torch.no_grad()
    def copied(self, model: Any, trunk: bool = False) -> Any:
        """Copies parts to parts: at no time is more of it in this process."""
        if model not in self._skeletons:
            return copy.deepcopy(model.base_model if trunk else model)
        self.let_go(model)
        made, source = copy.deepcopy(self._skeletons[model]), model
        if trunk:
            made, source = made.base_model, model.base_model
        self.place(made)
        made._apply(lambda tensor: torch.empty_like(tensor, device=self.device) if tensor.is_meta else tensor)
        for into, given in zip(made.parameters(), source.parameters(), strict=True):
            into.to_local().copy_(given.to_local())
        return made

    def _shard(self, module: nn.Module, resharded: bool, kind: torch.dtype) -> None:
        wide = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        half = kind.itemsize < 4
        fully_shard(
            module,
            mesh=self.mesh,
            reshard_after_forward=resharded,
            mp_policy=wide if half else MixedPrecisionPolicy(),
        )
        sharded: Any = module
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum, which a factor asks for otherwise

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Calls ``work`` where the model's own parameters are whole."""
        inside: Any = getattr(model, "whole_inside", None)
        return work() if inside is None else inside(work)

    def check(self, backbone: Any) -> None:
        """Raises UserError where attention is to be divided among processes and this backbone's can't be."""
        if self.context is None:
            return
        if not isinstance(backbone, PackedBackbone):
            raise UserError(
                f"learner.context {self.context.count}: {backbone.fallback_reason}, so its attention can't be divided; "
                "expected learner.context 1"
            )
        refuse_few_heads(self.context.count, backbone.trunk.blueprint.heads)

    def micro_batch(self, rollouts: Sequence[Rollout], device: str, after: bool = False) -> MicroBatch:
        """Returns the micro-batch of these rollouts, or this process's part where a context is divided."""
        whole = MicroBatch.of(rollouts, device, after)
        return whole if self.context is None else whole.divided(self.context)

    def share(self, parts: Iterable[list[int]]) -> Iterator[list[int]]:
        """Yields this process's share of the micro-batches, and keeps how many rows all have done."""
        every, together = list(parts), self.count // self.side_by_side
        for start in range(0, len(every), self.side_by_side):
            place, self.rows = start + self.rank // together, sum(map(len, every[start : start + self.side_by_side]))
            yield every[place] if place < len(every) else []

    def agreed(self, ask: Callable[[], Outputs], said: Outputs, empty: bool) -> Outputs:
        """Returns what the algorithm says here, with zeros for outputs that only other processes have. Raises what went
        wrong here, and StoppedElsewhere where another process failed."""
        given, error = Outputs(torch.zeros_like(said.logprobs)), None
        try:
            given = given if empty else ask()
        except BaseException as raised:
            error = raised
        named = [float(getattr(given, name) is not None) for name in OUTPUTS]
        flags = torch.tensor([float(error is not None), *named])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        if error is not None:
            raise error
        if flags[0]:
            raise StoppedElsewhere
        wanted = [name for name, flag in zip(OUTPUTS, flags[1:].tolist(), strict=True) if flag]
        filled: dict[str, Any] = {}
        for name in wanted:
            mine = getattr(given, name)
            filled[name] = torch.zeros_like(getattr(said, name)) if mine is None else mine
        return Outputs(**filled)

    def silent(self, cotangent: Outputs) -> bool:
        busy = torch.tensor([float(not ONE_PROCESS.silent(cotangent))])
        dist.all_reduce(busy, op=dist.ReduceOp.MAX)
        return not busy

    def let_go(self, model: nn.Module) -> None:
        """Gives back what is whole of the model, so that each process holds its part alone."""
        if isinstance(model, FSDPModule):
            model.reshard()

    def total(self, tensor: Tensor) -> Tensor:
        """Adds the tensor of every process, in place, and returns it."""
        if not self.leads:
            tensor.zero_()
        dist.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds the gradients of parameters that every process holds whole."""
        for parameter in parameters:
            if not isinstance(parameter, DTensor):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)

    def whole(self, state: Any) -> Any:
        """Returns the state with whole tensors in place of parts."""
        return tree_map(self._whole, state)

    def _whole(self, part: Any) -> Any:
        if not isinstance(part, DTensor):
            return part
        tensor = part.full_tensor()
        return None if self.rank else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Returns this process's part of a whole tensor, as ``like`` is parted."""
        if not isinstance(like, DTensor):
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    @torch.no_grad()
    def whole_model(self, model: Any) -> Any:
        """Returns the model with whole parameters in the first process, to be saved; in the others the model as it
        is."""
        if model not in self._skeletons:
            return model
        self.let_go(model)
        skeleton = self._skeletons[model]
        named = dict(model.named_parameters())
        filled: dict[int, Any] = {}
        for name, empty in skeleton.named_parameters():
            tensor = named[name].full_tensor()
            if not self.rank:
                filled[id(empty)] = nn.Parameter(tensor, requires_grad=empty.requires_grad)
        return model if self.rank else copy.deepcopy(skeleton, filled)


def _context_group(count: int) -> ContextGroup:
    """Makes groups of so many neighbours, and returns that of this process: once, since a group is never let go."""
    rank, everyone = dist.get_rank(), dist.group.WORLD
    if (everyone, count) not in _groups:
        made = [dist.new_group(list(range(start, start + count))) for start in range(0, dist.get_world_size(), count)]
        _groups[everyone, count] = made[rank // count]
    return ContextGroup(_groups[everyone, count], rank % count, count)


_groups: dict[tuple[Any, int], Any] = {}


def _skeleton(model: nn.Module, stored: torch.dtype, kind: torch.dtype) -> Any:
    """The model without memory for its parameters, those that are ``stored`` so in another dtype: to be filled with
    whole ones, since a sharded one can't be copied."""
    empty: dict[int, Any] = {}
    for each in model.parameters():
        dtype = kind if each.dtype == stored else each.dtype
        made = torch.empty_like(each, dtype=dtype, device="meta")
        empty[id(each)] = nn.Parameter(made, requires_grad=each.requires_grad)
    return copy.deepcopy(model, empty)


def _reached_by_gradients(module: nn.Module, given: Any, said: Any) -> Any:
    """Returns what a mixture said, and neither its parameters nor what it was ``given`` are left without a gradient, be
    it 0: where no token of this process is sent to an expert, one would be missing in a sum to which other processes
    give theirs."""
    if not torch.is_grad_enabled():
        return said
    own = [each for each in module.parameters() if not isinstance(each, DTensor)]
    learned = [each for each in (*own, *given) if isinstance(each, Tensor) and each.requires_grad]
    first, *others = said if isinstance(said, tuple) else (said,)
    first = first + sum(each.flatten()[:0].sum() for each in learned)
    return (first, *others) if isinstance(said, tuple) else first


def _of_another_dtype(model: nn.Module, stored: torch.dtype, kind: torch.dtype) -> list[tuple[nn.Module, torch.dtype]]:
    """Returns the modules whose own parameters stay in another dtype, where ``stored`` ones come into ``kind``, and
    theirs: routers, as a rule. What is gathered at once is of one dtype."""
    found = []
    for module in model.modules():
        own = {parameter.dtype for parameter in module.parameters(recurse=False)} - {stored, kind}
        found += [(module, next(iter(own)))] if own else []
    return found


def _blocks(model: Any) -> Sequence[nn.Module]:
    """The layers of its trunk: the list of modules that holds most parameters."""
    trunk = getattr(model, "base_model", model)
    lists = [module for module in trunk.modules() if isinstance(module, nn.ModuleList)]
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in lists]
    return list(lists[sizes.index(max(sizes))]) if lists else []


def _call_inside(module: Any, name: str, work: Callable[..., Any]) -> None:
    """Makes ``module.name(...)`` call ``work(...)`` while the module's parameters are whole."""
    setattr(module, name, MethodType(lambda self, *given: work(*given), module))
    register_fsdp_forward_method(module, name)
