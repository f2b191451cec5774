"""This module finds out what a train step needs of memory: an estimate, and a step that is taken and forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.errors import MicroBatchTooLarge
from groupwise.learners.backward import CoefficientFunction
from groupwise.learners.batching import tokens_together
from groupwise.learners.memory import MicroBatchBudget, free_bytes, no_more_than_free
from groupwise.learners.options import LearnerOptions
from groupwise.learners.placement import numbers_here
from groupwise.storage.tensors import bytes_of
from groupwise.types import Rollout

if TYPE_CHECKING:
    from groupwise.learners.lora import Adapters

SAFE_SHARE = 0.25
"""Of free memory: what is estimated at less is not tried on a CPU. The estimate is right within a factor of two."""
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}


class TrialLearner(Protocol):
    """This is what is asked of a learner here."""

    config: LearnerOptions
    device: str
    model: Any
    budget: MicroBatchBudget

    @property
    def slower(self) -> str:
        """Says why learning is slower than it could be; empty where it is not."""

    def backward(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
        count: float = 0.0,
    ) -> None:
        """Adds to the gradient as ``backward.Backward`` does."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields names and parameters (``trainable.Trainable``)."""

    def state(self) -> dict[str, Any]:
        """Returns everything beside the weights that the next step depends on."""


class LocalMemory:
    """The memory of a learner whose network lies in this process (``trainable.Memory``)."""

    def __init__(self, learner: TrialLearner, adapters: Adapters | None = None) -> None:
        self._learner, self._adapters = learner, adapters

    @property
    def tokens_per_micro_batch(self) -> int:
        """Is how many tokens go through the network at once (``trainable.Memory``)."""
        return self._learner.budget.tokens

    def is_tight(self, tokens: int) -> bool:
        """Says whether a step with so many tokens might not fit (``trainable.Memory``). On a CPU that is where the
        estimate is above SAFE_SHARE of what is free."""
        return self._learner.device != "cpu" or self.step_bytes(tokens) >= SAFE_SHARE * self.free_bytes()

    def rehearse(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> str:
        """Tries a step on the longest rollouts, and says in words what was tried (``trainable.Memory``)."""
        started = time.perf_counter()
        self.try_step(rollouts, outputs, together)
        tokens, seconds = self.largest_micro_batch(rollouts, together), time.perf_counter() - started
        return f"learner: a micro-batch of {tokens:,} tokens, the longest there can be, fits: tried in {seconds:.1f} s"

    def try_step(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> None:
        """Takes a step and forgets it (``trainable.Memory``). Raises UserError where not even one completion fits."""
        dry_step(self._learner, rollouts, outputs, together)

    def largest_micro_batch(self, rollouts: Sequence[Rollout], together: Sequence[int] | None = None) -> int:
        """Returns the tokens of the largest micro-batch that these rollouts make."""
        padded = bool(self._learner.slower)
        parts = self._learner.budget.parts(rollouts, padded, together)
        return max(tokens_together(rollouts, rows, padded) for rows in parts)

    def step_bytes(self, tokens: int) -> float:
        """Estimates the bytes that a step on so many tokens needs beside the weights."""
        return expected_bytes(self._learner, tokens)

    def free_bytes(self) -> float:
        """Returns the bytes that can be had where the learner computes; infinity where nobody says."""
        return free_bytes(self._learner.device)

    def weight_bytes(self) -> int:
        """Returns the bytes of the weights where the learner computes."""
        return sum(numbers_here(parameter) * parameter.itemsize for parameter in self._learner.model.parameters())

    def saved_bytes(self) -> int:
        """Returns the bytes of the model's directory on the disk."""
        return self._adapters.saved_bytes() if self._adapters else bytes_of(dict(self._learner.weights()))

    def written_bytes(self) -> int:
        """Returns the bytes of what ``Trainable.write`` writes."""
        return bytes_of(self._learner.state())


def dry_step(
    learner: TrialLearner, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None
) -> None:
    """Goes forward and backward with coefficients of 1, beside as much as gradients and AdamW's state will hold, and
    forgets the gradient. Repeated with smaller micro-batches where memory runs out. Raises UserError where not even
    one completion fits."""
    asked = {"logprobs", *outputs}

    def ones(rows: Sequence[int], said: Outputs) -> Outputs:
        """Of zeros nothing would go backward."""
        return Outputs(**{name: torch.ones_like(vars(said)[name]) for name in asked})

    while True:
        try:
            with torch.random.fork_rng(), no_more_than_free(learner.device):
                held = torch.empty(int(state_bytes(learner)), dtype=torch.uint8, device=learner.device)
                learner.backward(rollouts, 1.0, ones, outputs, together)
                del held
            return
        except MicroBatchTooLarge:
            continue
        finally:
            learner.budget.discard()


def state_bytes(learner: TrialLearner) -> float:
    """Returns the size of gradients and AdamW's state, which are there from the first step on."""
    count = sum(numbers_here(parameter) for parameter in learner.model.parameters() if parameter.requires_grad)
    return count * (4 + learner.config.optimizer_bits // 4 + (2 if learner.config.dtype == "bfloat16" else 0))


def expected_bytes(learner: TrialLearner, tokens: int) -> float:
    """Estimates what a train step on a micro-batch of ``tokens`` needs beside the weights.

    Of a block each token keeps its inputs, queries, keys, values and the feed-forward's: some 8 widths and 3
    intermediate ones. A six-block model of width 256 in float32 took three quarters of what this says.
    """
    text = learner.model.config.get_text_config()
    width, blocks = text.hidden_size, text.num_hidden_layers
    middle = text.to_dict().get("intermediate_size") or 4 * width
    block = 8 * width + 3 * (max(middle) if isinstance(middle, list | tuple) else middle)  # some state one a block
    kept = blocks * width + block if learner.config.checkpointing else blocks * block
    return tokens * kept * BYTES[learner.config.dtype] + state_bytes(learner)
