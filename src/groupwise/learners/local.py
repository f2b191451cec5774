"""The learner in this process: a transformers model, its optimizer, a reference and a critic where a stage has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithm import Algorithm, Outputs
from groupwise.errors import MicroBatchTooLarge
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.backward import CoefficientFunction, accumulate, send_back
from groupwise.learners.critic import Critic
from groupwise.learners.device import pick_device
from groupwise.learners.dry_step import LocalMemory
from groupwise.learners.forward import known_reference, let_go, logprobs_of, model_of, new_critic, outputs_of, values_of
from groupwise.learners.loading import context_of, generation_stops, load_policy, load_tokenizer, save_model
from groupwise.learners.logprobs import LanguageModel
from groupwise.learners.lora import Adapters, PastPolicy, dropping
from groupwise.learners.memory import MicroBatchBudget
from groupwise.learners.micro_batch import MicroBatch, zeros_for
from groupwise.learners.optimizer import Optimizer, trained_parameters
from groupwise.learners.options import LearnerOptions
from groupwise.learners.other_parts import other_parts
from groupwise.learners.placement import ONE_PROCESS, Placement, load_module, rows_or_shortest, whole_weights
from groupwise.learners.reference import as_reference_reads, frozen_copy, load_reference
from groupwise.learners.router_balance import balance_metric, balance_of, loss_of
from groupwise.learners.small_step import small_step
from groupwise.learners.thread_trial import choose_threads, pool_threads, remarks
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Network
from groupwise.storage.tensors import load_state, save_state
from groupwise.types import Rollout


class LocalLearner:
    """This learner is a ``trainable.Policy`` in this process."""

    threads = pool_threads

    def __init__(
        self,
        config: LearnerOptions,
        directory: Path | str,
        note: Callable[[str], None] = lambda text: None,
        placement: Placement = ONE_PROCESS,
    ) -> None:
        self.placement = placement
        self.config, self.directory, self.half_precision = config, directory, config.dtype == "bfloat16"
        self.budget = MicroBatchBudget(config.tokens_at_once, self.discard, note, placement)
        self.device, self.tokenizer = pick_device(config.device), load_tokenizer(directory)
        in_parts = placement.count > 1 and not config.lora.rank
        plain = load_policy(directory, config.dtype, self.device, self.tokenizer, note, mapped=in_parts)
        self._other_parts = other_parts(directory, plain, note)
        self._adapters = Adapters(plain, config.lora, note) if config.lora.rank else None
        self.model = self._adapters.sampled if self._adapters else plain
        self.context_tokens = context_of(self.model, self.tokenizer)
        self.stop_tokens, self.version = generation_stops(self.model), 0
        trained = self._adapters.trained if self._adapters else plain
        self.pool = TileThreads(config.threads or 1)
        balance = balance_of(trained, note, placement)
        where = placement if in_parts else ONE_PROCESS
        where.place(self.model, config.dtype)
        self._policy = LanguageModel(trained, config.checkpointing, self.pool, where, balance)
        placement.check(self._policy.backbone)
        self._reference: LanguageModel | PastPolicy | None = None
        self._reference_was_policy = False
        self._critic: Critic | None = None
        trial = partial(small_step, self._policy, trained.config, self.context_tokens, self.device)
        self.threads = choose_threads(config.threads, self.device, trained, trial, note)
        self._optimizer = self._new_optimizer()

    @property
    def policy(self) -> LocalLearner:
        """Returns itself: completions can be sampled from it."""
        return self

    @property
    def memory(self) -> LocalMemory:
        """Returns what answers questions about memory."""
        return LocalMemory(self, self._adapters)

    def remarks(self) -> list[str]:
        """Returns what a person should know once a run, a sentence each."""
        return remarks(self.threads, chosen=not self.config.threads and self.device == "cpu", slower=self.slower)

    @property
    def slower(self) -> str:
        """Says why padding is computed, and every prompt as often as it occurs; empty: neither is."""
        return self._policy.backbone.fallback_reason

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """Begins a stage (``trainable.Trainable``). Raises UserError for a reference of other tokens than the policy's,
        and for a critic on an architecture whose last hidden state can't be reached."""
        self._reference = None
        if reference == "":
            self.refresh_reference()
        elif reference is not None:
            self._reference_was_policy = False
            given = reference, self.model, self.tokenizer, self.config.dtype, self.device, self.pool, self.placement
            self._reference = load_reference(*given)
        of_its_own = critic == "own", not self._adapters
        self._critic = None if critic == "none" else new_critic(self.placement, self._policy, *of_its_own)
        self._optimizer.close()
        self._optimizer = self._new_optimizer()

    def live_module(self) -> nn.Module:
        """Returns the network itself, which engines of this process read in place."""
        if self._adapters:
            self._adapters.merge()
        return self.model  # type: ignore[no-any-return]

    def refresh_reference(self) -> None:
        """Makes the present policy the reference."""
        self._reference = None  # its memory is free before the copy is made
        if self._adapters:
            self._reference = PastPolicy(self._adapters, self._policy, self._adapters.values())
        else:
            self._reference = frozen_copy(self._policy, self.placement)
        self._reference_was_policy = True

    @torch.no_grad()
    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """Returns ``[B, T]`` (``trainable.Policy``). Raises RuntimeError for a reference that was not started."""
        network = known_reference(self._reference) if reference else self._policy
        rollouts = as_reference_reads(rollouts) if reference else rollouts
        return self._read(rollouts, lambda batch: logprobs_of(self.placement, network, batch, temperature))

    @torch.no_grad()
    def values(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Returns the critic's ``[B, T]`` values. Raises RuntimeError where the stage has no critic."""
        return self._read(rollouts, lambda batch: values_of(self.placement, self._policy, self._critic, batch))

    def _read(self, rollouts: Sequence[Rollout], said: Callable[[MicroBatch], Tensor]) -> Tensor:
        """Returns ``[B, T]`` of what is said of each micro-batch; again with smaller ones where memory runs out."""
        result = zeros_for(rollouts, exact=self.config.dtype == "float64")

        def read(rows: list[int]) -> None:
            with self._inside():
                part = said(self.placement.micro_batch(rows_or_shortest(rollouts, rows), self.device))
            if rows:
                result[torch.tensor(rows), : part.shape[1]] = part.to(result)

        while True:
            try:
                self.budget.each(rollouts, read, padded=bool(self.slower))
                return self.placement.total(result)
            except MicroBatchTooLarge:
                continue

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        """Adds a batch's gradient (``trainable.Trainable``). Raises RuntimeError for a network that is not there."""
        return accumulate(self.backward, batch, algorithm, on_rows)

    def backward(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
        count: float = 0.0,
        idle: frozenset[int] = frozenset(),
    ) -> None:
        """Adds the gradient that the coefficients give (``backward.Backward``). Raises ValueError for the cotangent of
        an output that was not named, and RuntimeError for values or exact_kl without a critic or a reference."""

        def learn(rows: list[int]) -> None:
            with self._inside(), dropping(self._adapters, self.version):
                said = self._outputs(rows_or_shortest(rollouts, rows), temperature, outputs)
            plain = said.map(lambda tensor: tensor.detach().cpu())
            cotangent = self.placement.agreed(lambda: coefficients(rows, plain), plain, empty=not rows)
            loss = loss_of(self._policy.balance, rollouts, rows, count)
            if loss is None and self.placement.silent(cotangent) and self._optimizer.fill():
                return let_go(self.placement, self._policy, self._critic)
            with self._inside(), dropping(self._adapters, self.version):
                send_back(said, cotangent, loss)

        if self._adapters:
            self._adapters.release()
        self.budget.each(rollouts, learn, bool(self.slower), together, idle)

    def _outputs(self, rollouts: Sequence[Rollout], temperature: float, wanted: frozenset[str]) -> Outputs:
        networks = self._policy, self._reference, self._critic
        return outputs_of(self.placement, networks, rollouts, self.device, temperature, wanted)

    def discard(self) -> None:
        """Forgets the gradient that was accumulated."""
        self._optimizer.discard()

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """Makes one optimiser update (``trainable.Trainable``). Policy and critic are clipped each by its own norm;
        where one of them is not finite, the update is left out and counted."""
        if self._adapters:
            self._adapters.end_update(self.version)
        with self.pool.inside(tiled=self._optimizer.small):
            for group in self._optimizer.groups:
                self.placement.sum_gradients(group)
            norms, finite = self._optimizer.step(count, (learning_rate, critic_learning_rate))
        self.version += finite
        metrics = dict(zip(("grad_norm", "critic_grad_norm"), norms, strict=False))
        metrics |= balance_metric(self._policy.balance, self.placement.total)
        return metrics | {"learning_rate": learning_rate, "skipped_updates": float(not finite)}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the parameters that engines sample from (``trainable.Trainable``): with adapters, of the model that
        has them in its weights, or, in half precision, of the one that has them beside its weights."""
        if self._adapters:
            self._adapters.merge()
        return whole_weights(self.placement, self.model)

    def save(self, directory: Path) -> None:
        """Writes what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load: the same logits to the bit. Adapters are in
        its weights, which are then in float32 at least, and beside them in ``adapter`` as peft loads them."""
        model = self.placement.whole_model(self.model)
        if self.placement.rank:
            return
        if self._adapters:
            self._adapters.merge()
            self._adapters.save(directory)
            save_model(self._adapters.model, directory, self._adapters.merged())
        else:
            save_model(model, directory)
        self._other_parts.put_back(directory)
        self.tokenizer.save_pretrained(directory)

    def merge_loss(self) -> str:
        """Says what a saved model lacks of the adapters, in a few words; empty without adapters."""
        return self._adapters.loss_in_words() if self._adapters else ""

    def load_left(self, directory: Path) -> None:
        """Brings back the adapters that ``save`` wrote, on the weights that they were trained beside."""
        if self._adapters:
            self._adapters.load(directory)

    def write(self, directory: Path) -> None:
        """Writes everything beside the saved model that the next step depends on."""
        state = self.placement.whole(self.state())
        if not self.placement.rank:
            save_state(directory, state)

    def read(self, directory: Path) -> None:
        """Takes up what ``write`` wrote: the next step is the same to the bit."""
        self.load_state(load_state(directory))

    def close(self) -> None:
        """Ends what computes for it. It may be called twice."""
        self.discard()
        self._optimizer.close()

    def state(self) -> dict[str, Any]:
        """Returns everything that ``write`` writes: tensors and plain values. A reference with a directory of its own
        is read from there again, not kept."""
        kept: Any = None
        if self._reference_was_policy and isinstance(self._reference, PastPolicy):
            kept = self._reference.values
        elif self._reference_was_policy and self._reference:
            kept = self._reference.model.state_dict()  # type: ignore[union-attr]
        return {
            "optimizer": self._optimizer.state_dict(),
            "reference": kept,
            "critic": self._critic.state_dict() if self._critic else None,
            "adapters": self._adapters.state() if self._adapters else None,
            "threads": self.threads,
            **self.budget.state(),
            "version": self.version,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` returned, on the weights it was taken with, in a stage that was started alike."""
        if self._adapters:
            self._adapters.load_state(state["adapters"])
        if state["reference"] is not None:
            self.refresh_reference()
            if isinstance(self._reference, PastPolicy):
                self._reference.values = state["reference"]
            else:
                load_module(self.placement, model_of(known_reference(self._reference)), state["reference"])
        if self._critic is not None:
            load_module(self.placement, self._critic, state["critic"])
        self._optimizer.load_state_dict(state["optimizer"], self.placement.part)
        self.version = state["version"]
        self.threads = self.config.threads or state["threads"]
        self.budget.load_state(state)

    def _new_optimizer(self) -> Optimizer:
        networks = [self._policy.model, *([] if self._critic is None else [self._critic])]
        return Optimizer([trained_parameters(network) for network in networks], self.config)

    def _inside(self) -> AbstractContextManager[None]:
        return self.pool.inside(self._policy.backbone.tiled)
