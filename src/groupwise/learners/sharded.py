"""This module is a learner of several processes as the run sees it: what is asked of it, every process does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.learners.dry_step import LocalMemory
from groupwise.learners.fingerprint import different, model_fingerprint
from groupwise.learners.follower import alone, opened, tallies_of
from groupwise.learners.launch import started_by_torchrun
from groupwise.learners.options import LearnerOptions
from groupwise.learners.ranks import Ranks, ranks_of
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Network
from groupwise.types import Example, Rollout

MOST_NAMED = 4096
"""Groups of up to so many processes are named where they would divide all."""
_numbers = count()


class ShardedLearner:
    """A ``trainable.Policy``, or a scorer, whose parameters lie in several processes. This one is rank 0."""

    def __init__(
        self,
        ranks: Ranks,
        kind: str,
        options: LearnerOptions,
        context: int,
        directory: Path | str,
        *others: Any,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ranks, self._number, self._closed = ranks, next(_numbers), False
        ranks.users += 1
        alike = kind, options, context, str(directory), *others
        try:
            self._compare_models(str(directory))
            self._part = ranks.call(lambda: opened(*alike, note), self._number, "open", (*alike, _silent))[0]
        except BaseException:
            self._closed = True
            self._let_go()
            raise
        self.tokenizer, self.stop_tokens = self._part.tokenizer, self._part.stop_tokens
        self.context_tokens, self.half_precision = self._part.context_tokens, self._part.half_precision
        self.policy = self if kind == "policy" else None

    def _compare_models(self, directory: str) -> None:
        """Raises UserError where another process has other files under this name."""
        ours, *every = self._ranks.call(lambda: model_fingerprint(directory), self._number, "model", (directory,))
        for rank, theirs in enumerate(every, 1):
            if other := different(ours, theirs):
                raise UserError(
                    f"rank {rank} of {self._ranks.count} has another model in {directory} ({other[0]} differs); "
                    "expected the same files in every process"
                )

    @property
    def version(self) -> int:
        """Returns how many updates the optimiser has made."""
        return int(self._part.version)

    @property
    def threads(self) -> int:
        """Is the number of CPU threads of each process."""
        return int(self._part.threads)

    @property
    def memory(self) -> ShardedMemory:
        """Answers questions about memory, for all processes."""
        return ShardedMemory(self, self._part)

    def remarks(self) -> list[str]:
        """Returns what a person should know once a run, a sentence each."""
        return [f"{self._ranks.count} processes, each with a part of every parameter", *self._part.remarks()]

    def in_all(self, work: Callable[[], Any], name: str, *arguments: Any) -> list[Any]:
        """Has the others do what ``name`` says while this process does ``work``: what they returned, by rank."""
        return self._ranks.call(work, self._number, name, arguments)

    def everywhere(self, name: str, *arguments: Any) -> Any:
        """Calls a method in every process; what this one returned."""
        return self._ranks.call(lambda: getattr(self._part, name)(*arguments), self._number, name, arguments)[0]

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """Makes a fresh optimizer, the reference and the critic of a stage in every process
        (``trainable.Trainable``)."""
        self.everywhere("start_stage", reference, critic)

    def refresh_reference(self) -> None:
        """Makes the present policy the reference, in every process."""
        self.everywhere("refresh_reference")

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """Returns ``[B, T]`` log-probabilities of the policy, or of the reference, without gradient
        (``trainable.Policy``)."""
        asked = (bare(rollouts), temperature, *([reference] if self.policy else []))
        found: Tensor = self.everywhere("logprobs", *asked)
        return found

    def values(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Returns the critic's ``[B, T]`` values, without gradient."""
        found: Tensor = self.everywhere("values", bare(rollouts))
        return found

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        """Adds a batch's gradient to what was accumulated (``trainable.Trainable``). Tallies are added up in the order
        of the micro-batches, as in one process."""
        nothing: Any = None
        sourceless = replace(algorithm, source=nothing)  # which may hold what can't travel, and has done its work
        sent = replace(batch, rollouts=bare(batch.rollouts)), sourceless
        every = self._ranks.call(
            lambda: tallies_of(self._part, batch, algorithm, on_rows), self._number, "accumulate", sent
        )
        ordered = [tally for turn in zip_longest(*every) for tally in turn if tally is not None]
        return Tally.total([Tally.counts(batch), *ordered])

    def discard(self) -> None:
        """Forgets the gradient that was accumulated, in every process."""
        self.everywhere("discard")

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """Makes one optimiser update in every process, each of its own part (``trainable.Trainable``)."""
        metrics: dict[str, float] = self.everywhere("step", count, learning_rate, critic_learning_rate)
        return metrics

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields one whole tensor at a time, made of all processes' parts (``trainable.Trainable``)."""
        return self._ranks.stream(self._part.weights, self._number, "weights", ())

    def live_module(self) -> nn.Module | None:
        """Returns None: nowhere is the model whole, other than beside adapters."""
        return self._part.live_module() if self._part.config.lora.rank else None  # type: ignore[no-any-return]

    def save(self, directory: Path) -> None:
        """Writes model, tokenizer and generation config as transformers loads them."""
        self.everywhere("save", directory)

    def load_left(self, directory: Path) -> None:
        """Brings back what ``save`` left beside the model (``trainable.Policy``)."""
        self.everywhere("load_left", directory)

    def merge_loss(self) -> str:
        """Says what a saved model lacks of the adapters (``trainable.Policy``)."""
        return str(self._part.merge_loss())

    def write(self, directory: Path) -> None:
        """Writes everything beside the saved model that the next step depends on, whole."""
        self.everywhere("write", directory)

    def read(self, directory: Path) -> None:
        """Takes up what ``write`` wrote, in every process: the next step is the same to the bit."""
        self.everywhere("read", directory)

    def close(self) -> None:
        """Ends this learner. The other processes stay for the next one, and end with this process."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._ranks.is_over:
                self._ranks.call(self._part.close, self._number, "close", ())
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._ranks.users -= 1
        if self._ranks.lost:
            self._ranks.close()


class ShardedMemory(LocalMemory):
    """This memory is that of rank 0, which holds as much as the others."""

    def __init__(self, learner: ShardedLearner, part: Any) -> None:
        super().__init__(part)
        self._whole, self._own = learner, part.memory

    def try_step(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> None:
        """Takes a step in every process at once, and forgets it (``trainable.Memory``)."""
        asked = bare(rollouts), outputs, together
        self._whole.in_all(lambda: self._own.try_step(*asked), "try_step", *asked)

    def saved_bytes(self) -> int:
        """Returns the bytes of the model's directory; a parameter in parts says the size of the whole."""
        if self._learner.config.lora.rank:
            return int(self._own.saved_bytes())
        return sum(parameter.numel() * parameter.itemsize for parameter in self._learner.model.parameters())

    def written_bytes(self) -> int:
        """Returns the bytes of what is written, in whole tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(self._learner.state()))


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for part in state.values():
            yield from _tensors(part)
    elif isinstance(state, list | tuple):
        for part in state:
            yield from _tensors(part)


def _silent(text: str) -> None:
    """Hears what rank 0 has said already."""


def bare(rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Returns what a network and an algorithm read of rollouts: neither columns of their rows nor texts travel."""
    prompts = {id(each.prompt): each.prompt for each in rollouts}
    for number, prompt in prompts.items():
        prompts[number] = replace(prompt, example=Example(prompt.example.id, ""), messages=())
    return tuple(replace(each, prompt=prompts[id(each.prompt)], text="", scores={}, messages=()) for each in rollouts)


def open_sharded(
    options: LearnerOptions,
    processes: int,
    context: int,
    timeout_seconds: float,
    kind: str,
    directory: Path | str,
    *others: Any,
    note: Callable[[str], None],
) -> ShardedLearner:
    """Opens a learner, of the kind ``policy`` or ``scorer``, in so many processes; 0: as many as there are. Raises
    UserError for another number than torchrun started, and for options that parts of parameters can't have."""
    given = int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 0
    if processes and given and processes != given:
        raise UserError(f"learner.processes {processes}: torchrun started {given}; expected the same, or 0")
    count = processes or given or torch.cuda.device_count() or 2
    refuse_undivided(options.optimizer_bits, count, context)
    alike = alone(options, count, cores())
    return ShardedLearner(ranks_of(count, timeout_seconds), kind, alike, context, directory, *others, note=note)


def refuse_undivided(optimizer_bits: int, processes: int, context: int) -> None:
    """Raises UserError for options that an ``FSDP`` of so many processes can't have, whatever the model; ``context`` of
    them compute a micro-batch together."""
    if optimizer_bits == 8:
        raise UserError("learner.optimizer_bits 8: its blocks of 256 do not divide among processes; expected 32")
    if processes % context:
        groups = [str(size) for size in range(1, min(processes, MOST_NAMED) + 1) if not processes % size]
        raise UserError(
            f"learner.context {context}: so many processes compute a micro-batch together, and {processes} do not "
            f"divide into such groups; expected one of {', '.join(groups)}"
        )


def cores() -> int:
    """Counts the processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
