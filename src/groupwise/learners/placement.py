"""This module says where the parameters of networks lie: all of them in this process. See sharding.py for several."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from groupwise.algorithm import Outputs
from groupwise.learners.micro_batch import MicroBatch
from groupwise.types import Rollout

T = TypeVar("T")


class StoppedElsewhere(Exception):  # noqa: N818 - a state, which the tally of another process explains
    """This is raised where another process stopped between micro-batches, so this one does too."""


class Placement(Protocol):
    """A placement knows in which processes parameters lie, and which rows each of them computes.

    Every process calls the same methods in the same order.
    """

    rank: int
    count: int
    """Processes."""
    side_by_side: int
    """Micro-batches that are computed at a time."""
    leads: bool
    """Whether this process speaks for its micro-batches, which others may compute with it."""

    def place(self, model: nn.Module, dtype: str = "") -> None:
        """Keeps of this model's parameters what belongs to this process, in ``dtype``; empty: in theirs."""
        ...

    def compute_in_parts(self, model: nn.Module, backbone: Any) -> None:
        """Has a backbone compute with a model that is placed already."""
        ...

    def copied(self, model: Any, trunk: bool = False) -> Any:
        """Returns a copy of a model, or of its ``trunk`` alone, whose parameters lie where those of the model lie."""
        ...

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Returns what ``work`` returns, called where the model's embedding, norms and head are whole; blocks are so
        each while it is computed. A result with a gradient is a tensor, or a tuple of them."""
        ...

    def check(self, backbone: Any) -> None:
        """Raises UserError for a backbone that this placement can't divide."""
        ...

    def micro_batch(self, rollouts: Sequence[Rollout], device: str, after: bool = False) -> MicroBatch:
        """Returns what this process computes of these rollouts; ``after``: as of ``MicroBatch``."""
        ...

    def share(self, parts: Iterable[list[int]]) -> Iterator[list[int]]:
        """Yields this process's micro-batches, in each process as many; an empty one where there are no more."""
        ...

    def agreed(self, ask: Callable[[], Outputs], said: Outputs, empty: bool) -> Outputs:
        """Returns the cotangents of ``said`` that ``ask`` gives, zeros for an ``empty`` micro-batch, of the same
        outputs in every process. Raises what ``ask`` raises, and StoppedElsewhere in the other processes."""
        ...

    def silent(self, cotangent: Outputs) -> bool:
        """Says whether the cotangents are zero in every process, so that nothing has to go backward."""
        ...

    def let_go(self, model: nn.Module) -> None:
        """Drops what a forward pass without a backward one has left whole."""
        ...

    def total(self, tensor: Tensor) -> Tensor:
        """Returns the sum over processes, of those that lead."""
        ...

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds up gradients of parameters that each process holds whole."""
        ...

    def whole(self, state: Any) -> Any:
        """Returns, in the first process, the same with whole tensors in place of parts, in nested dicts, lists and
        tuples."""
        ...

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Returns this process's part of a whole tensor, as ``like`` is one."""
        ...

    def whole_model(self, model: Any) -> Any:
        """Returns, in the first process, the model with all its parameters; it is not to be changed."""
        ...


class OneProcess(Placement):
    """Every parameter lies in this process."""

    rank, count = 0, 1
    side_by_side, leads = 1, True

    def place(self, model: nn.Module, dtype: str = "") -> None:
        """Leaves the model as it is: all of it belongs here."""

    def compute_in_parts(self, model: nn.Module, backbone: Any) -> None:
        """Leaves the backbone as it is: it computes whole layers."""

    def copied(self, model: Any, trunk: bool = False) -> Any:
        """Returns a copy of the model, or of its trunk."""
        return copy.deepcopy(model.base_model if trunk else model)

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Calls ``work`` as it is: the whole model is here."""
        return work()

    def check(self, backbone: Any) -> None:
        """Accepts any backbone: its attention is not divided."""

    def micro_batch(self, rollouts: Sequence[Rollout], device: str, after: bool = False) -> MicroBatch:
        """Returns the micro-batch of these rollouts: this process reads all of their tokens."""
        return MicroBatch.of(rollouts, device, after)

    def share(self, parts: Iterable[list[int]]) -> Iterator[list[int]]:
        """Yields every micro-batch: nobody else takes one."""
        return iter(parts)

    def agreed(self, ask: Callable[[], Outputs], said: Outputs, empty: bool) -> Outputs:
        """Returns what the algorithm says: there is nobody to agree with."""
        return ask()

    def silent(self, cotangent: Outputs) -> bool:
        return not any(tensor is not None and tensor.any() for tensor in vars(cotangent).values())

    def let_go(self, model: nn.Module) -> None:
        """Leaves the model as it is: nothing was gathered."""

    def total(self, tensor: Tensor) -> Tensor:
        """Returns the tensor: there is nothing to add."""
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Leaves the gradients as they are: there are no others to add."""

    def whole(self, state: Any) -> Any:
        """Returns the state: it is whole here."""
        return state

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Returns the tensor: all of it is this process's part."""
        return tensor

    def whole_model(self, model: Any) -> Any:
        """Returns the model: it is whole here."""
        return model


ONE_PROCESS = OneProcess()


def rows_or_shortest(rollouts: Sequence[Rollout], rows: Sequence[int]) -> list[Rollout]:
    """Returns the rollouts of these rows; of none the shortest, to go through the network where others' rows do."""
    if rows:
        return [rollouts[row] for row in rows]
    return [min(rollouts, key=lambda rollout: len(rollout.prompt.tokens) + len(rollout.tokens))]


def whole_weights(placement: Placement, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters of a model by their names, each whole, one at a time; a shared one by both names."""
    placement.let_go(model)
    named = model.named_parameters(remove_duplicate=False)
    return ((name, placement.whole(weight.detach())) for name, weight in named)


def load_module(placement: Placement, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts whole values into a module of which each process holds a part."""
    now = module.state_dict()
    module.load_state_dict({name: placement.part(value, now[name]) for name, value in state.items()})


def numbers_here(parameter: Tensor) -> int:
    """Counts the numbers of a parameter that this process holds."""
    own: Any = parameter
    return int((own.to_local() if hasattr(own, "to_local") else own).numel())
