"""This module makes a train step that is small, for a trial of how fast steps are."""

from __future__ import annotations

from typing import Any

from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.logprobs import LanguageModel, token_outputs
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.optimizer import trained_parameters
from groupwise.learners.thread_trial import trial_rollouts


def small_step(policy: LanguageModel, config: Any, context_tokens: int, device: str, threads: int) -> None:
    """Makes one with so many CPU threads, which leaves nothing behind. ``config``: the model's."""
    pool = TileThreads(threads)
    trial = policy.shallow(pool)
    size = config.get_text_config().vocab_size, context_tokens
    part = MicroBatch.of(trial_rollouts(trial.backbone.parameters, *size), device)
    with pool.inside(trial.backbone.tiled):
        token_outputs(trial(part), part, 1.0).logprobs.sum().backward()
    for parameter in trained_parameters(policy.model):
        parameter.grad = None
