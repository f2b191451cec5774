"""What every process of a sharded learner does: its share of the rows, on its part of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.backward import send_back
from groupwise.learners.batching import micro_batches
from groupwise.learners.loading import load_model, load_tokenizer
from groupwise.learners.logprobs import LanguageModel
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.optimizer import Optimizer, trained_parameters
from groupwise.learners.options import LearnerOptions
from groupwise.learners.ranks import follow, gathered
from groupwise.learners.reference import as_reference_reads, load_reference
from groupwise.learners.sharding import fill, mesh_of_all, part_of, shard, whole
from groupwise.learning.tally import Tally, coefficients
from groupwise.learning.train_batch import TrainBatch
from groupwise.storage.tensors import load_state
from groupwise.types import Rollout


class Shard:
    """One process's part of a learner. Every method is called in all processes, in the same order."""

    def __init__(self, config: LearnerOptions, directory: str) -> None:
        self.config, self.directory, self.version = config, directory, 0
        self.rank, self.count, self.mesh = dist.get_rank(), dist.get_world_size(), mesh_of_all()
        self.pool = TileThreads(config.threads or 1)
        self.network = LanguageModel(load_model(directory, config.dtype, "cpu"), config.checkpointing, self.pool)
        shard(self.network, self.mesh)
        self.reference: LanguageModel | None = None
        self.reference_was_policy = False
        self.optimizer = self._new_optimizer()

    def _new_optimizer(self) -> Optimizer:
        return Optimizer([trained_parameters(self.network.model)], self.config)

    def start_stage(self, reference: str | None) -> None:
        """Makes a fresh optimizer, and a reference where one is named."""
        self.reference = None
        if reference == "":
            self.refresh_reference()
        elif reference is not None:
            self.reference_was_policy = False
            policy, tokenizer = self.network.model, load_tokenizer(self.directory)
            self.reference = load_reference(reference, policy, tokenizer, self.config.dtype, "cpu", self.pool)
            shard(self.reference, self.mesh)
        self.optimizer.close()
        self.optimizer = self._new_optimizer()

    def refresh_reference(self) -> None:
        """Makes the present policy the reference."""
        self.reference = None  # its memory is free before the copy is made
        plain = load_model(self.directory, self.config.dtype, "cpu").requires_grad_(False)
        self.reference = LanguageModel(plain, pool=self.pool)
        shard(self.reference, self.mesh)
        fill(plain, self.weights(), self.mesh)
        self.reference_was_policy = True

    def read_rows(self, rollouts: Sequence[Rollout], temperature: float, reference: bool) -> list[Any]:
        """Returns, on rank 0, the row numbers and the log-probabilities ``[b, T]`` of every micro-batch."""
        network = self.reference if reference else self.network
        assert network is not None
        seen, found = as_reference_reads(rollouts) if reference else rollouts, []
        with torch.no_grad(), self._inside():
            for _, rows in self._rounds(seen, None):
                said, _ = network.model.said(self._micro_batch(seen, rows), temperature, False)
                if rows:
                    found.append((rows, said))
        network.model.reshard()
        return [part for parts in gathered(found) for part in parts]

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, on_rows: Callable[[int], None] = lambda rows: None
    ) -> tuple[Tally, BaseException | None]:
        """Adds to the gradient; on rank 0 the tally of all, and what ``on_rows`` raised, after which all stopped."""
        tallies: list[Tally] = []
        raised: BaseException | None = None
        for together, rows in self._rounds(batch.rollouts, batch.together):
            with self._inside():
                said = self._said(batch.rollouts, rows, batch.temperature, algorithm.outputs)
            cotangent = Outputs(torch.zeros_like(said.logprobs))
            if rows:
                seen = said.map(lambda tensor: tensor.detach())
                cotangent, tally = coefficients(batch.part(rows), algorithm, seen)
                tallies.append(tally)
            stop = raised is not None or bool(tallies and tallies[-1].bad is not None)
            if self._any(stop):
                self.network.model.reshard()
                break
            with self._inside():
                send_back(said, cotangent)
            try:
                on_rows(together)
            except BaseException as error:  # raised again when all have stopped
                raised = error
        parts = gathered(tallies)
        return Tally.total([Tally.counts(batch), *(tally for part in parts for tally in part)]), raised

    def rehearse(self, rollouts: Sequence[Rollout], wanted: frozenset[str], together: Sequence[int] | None) -> None:
        """Goes forward and backward with no coefficient."""
        for _, rows in self._rounds(rollouts, together):
            with self._inside():
                said = self._said(rollouts, rows, 1.0, wanted)
                send_back(said, Outputs(torch.zeros_like(said.logprobs)))

    def discard(self) -> None:
        """Forgets the gradient."""
        self.optimizer.discard()

    def step(self, count: float, rate: float) -> tuple[list[float], bool]:
        """One update of the parts; the norm is that of the whole gradient."""
        norms, finite = self.optimizer.step(count, (rate,))
        self.version += finite
        return norms, finite

    def weights(self) -> dict[str, Tensor]:
        """Returns whole tensors by their names, in every process."""
        self.network.model.reshard()
        found: dict[str, Tensor] = whole(dict(self.network.model.named_parameters()))
        return {name: tensor.detach() for name, tensor in found.items()}

    def gradients(self) -> dict[str, Tensor]:
        """Returns the whole gradients by the parameters' names, in every process."""
        named = self.network.model.named_parameters()
        return whole({name: parameter.grad for name, parameter in named})  # type: ignore[no-any-return]

    def state(self) -> dict[str, Any]:
        """Returns what ``LocalLearner.state`` returns, in whole tensors."""
        kept = None
        if self.reference_was_policy and self.reference:
            self.reference.model.reshard()
            kept = whole(self.reference.model.state_dict())
        return {
            "optimizer": whole(self.optimizer.state_dict()),
            "reference": kept,
            "critic": None,
            "adapters": None,
            "threads": self.config.threads or 1,
            "tokens_per_micro_batch": self.config.tokens_per_micro_batch,
            "version": self.version,
        }

    def read(self, directory: str) -> None:
        """The inverse of ``state``, from where it was written."""
        state = load_state(Path(directory))
        if state["reference"] is not None:
            self.refresh_reference()
            assert self.reference is not None
            fill(self.reference.model, state["reference"], self.mesh)
        moments = state["optimizer"]["adamw"]["state"]
        for entry in moments.values():
            for name, tensor in entry.items():
                entry[name] = part_of(tensor, self.mesh) if tensor.dim() else tensor
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]

    def _rounds(self, rollouts: Sequence[Rollout], together: Sequence[int] | None) -> Iterator[tuple[int, list[int]]]:
        """How many rows a round has in all processes, and this one's of them: none where it only keeps pace."""
        parts = list(micro_batches(rollouts, self.config.tokens_per_micro_batch, together))
        for start in range(0, len(parts), self.count):
            now = parts[start : start + self.count]
            yield sum(map(len, now)), now[self.rank] if self.rank < len(now) else []

    def _micro_batch(self, rollouts: Sequence[Rollout], rows: Sequence[int]) -> MicroBatch:
        return MicroBatch.of([rollouts[row] for row in rows or [0]], "cpu")

    def _said(
        self, rollouts: Sequence[Rollout], rows: Sequence[int], temperature: float, wanted: frozenset[str]
    ) -> Outputs:
        part = self._micro_batch(rollouts, rows)
        logprobs, entropy = self.network.model.said(part, temperature, "entropy" in wanted)
        return Outputs(logprobs, entropy)

    def _any(self, flag: bool) -> bool:
        """Whether it holds in some process."""
        said = torch.tensor(int(flag))
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return bool(said)

    def _inside(self) -> AbstractContextManager[None]:
        return self.pool.inside(self.network.backbone.tiled)


def main() -> None:
    """A process that another one started."""
    torch.set_num_threads(1)
    follow(Shard)
