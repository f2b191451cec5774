"""What a train step needs of memory: an estimate, and a step that is taken and forgotten."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from groupwise.algorithm import Outputs
from groupwise.errors import MicroBatchTooLarge
from groupwise.learners.batching import tokens_together
from groupwise.learners.memory import Room, free_bytes, no_more_than_free
from groupwise.learners.options import LearnerOptions
from groupwise.protocols import CoefficientFunction
from groupwise.types import Rollout

SAFE_SHARE = 0.25
"""Of free memory: what is estimated at less is not tried on a CPU. The estimate is right within a factor of two."""
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}


class Learns(Protocol):
    """What is asked of a learner here."""

    config: LearnerOptions
    device: str
    model: Any
    room: Room

    def accumulate(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
    ) -> None: ...


def is_tight(learner: Learns, tokens: int) -> bool:
    """See ``protocols.Learner``. On a CPU: the estimate is above SAFE_SHARE of what is free."""
    return learner.device != "cpu" or expected_bytes(learner, tokens) >= SAFE_SHARE * free_bytes(learner.device)


def rehearse(
    learner: Learns,
    rollouts: Sequence[Rollout],
    outputs: frozenset[str],
    together: Sequence[int] | None,
    padded: bool,
) -> str:
    """See ``protocols.Learner``."""
    started = time.perf_counter()
    dry_step(learner, rollouts, outputs, together)
    tokens, seconds = largest_tokens(learner, rollouts, together, padded), time.perf_counter() - started
    return f"learner: a micro-batch of {tokens:,} tokens, the longest there can be, fits: tried in {seconds:.1f} s"


def dry_step(
    learner: Learns, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None
) -> None:
    """Forward and backward with no coefficient, beside as much as gradients and AdamW's state will hold. Repeated with
    smaller micro-batches where memory runs out. Raises UserError where not even one completion fits."""
    asked = {"logprobs", *outputs}

    def nothing(rows: Sequence[int], said: Outputs) -> Outputs:
        return Outputs(**{name: torch.zeros_like(vars(said)[name]) for name in asked})

    while True:
        try:
            with torch.random.fork_rng(), no_more_than_free(learner.device):
                held = torch.empty(int(state_bytes(learner)), dtype=torch.uint8, device=learner.device)
                learner.accumulate(rollouts, 1.0, nothing, outputs, together)
                del held
            return
        except MicroBatchTooLarge:
            continue
        finally:
            learner.room.discard()


def largest_tokens(learner: Learns, rollouts: Sequence[Rollout], together: Sequence[int] | None, padded: bool) -> int:
    """Of the micro-batches that these rollouts make."""
    parts = learner.room.parts(rollouts, padded, together)
    return max(tokens_together(rollouts, rows, padded) for rows in parts)


def state_bytes(learner: Learns) -> float:
    """Of gradients and AdamW's state, which are there from the first step on."""
    count = sum(parameter.numel() for parameter in learner.model.parameters() if parameter.requires_grad)
    return count * (4 + learner.config.optimizer_bits // 4 + (2 if learner.config.dtype == "bfloat16" else 0))


def expected_bytes(learner: Learns, tokens: int) -> float:
    """About what a train step on a micro-batch of ``tokens`` needs beside the weights.

    Of a block each token keeps its inputs, queries, keys, values and the feed-forward's: some 8 widths and 3
    intermediate ones. A six-block model of width 256 in float32 took three quarters of what this says.
    """
    text = learner.model.config.get_text_config()
    width, blocks = text.hidden_size, text.num_hidden_layers
    block = 8 * width + 3 * getattr(text, "intermediate_size", 4 * width)
    kept = blocks * width + block if learner.config.checkpointing else blocks * block
    return tokens * kept * BYTES[learner.config.dtype] + state_bytes(learner)
