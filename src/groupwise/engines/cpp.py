"""This is the engine on a CPU: a stream of completions in compiled code, on every core, in the learner's own process.

Its threads share no step and no lock while they compute, but where a mixture's experts are too many for a core's cache:
then they step together, and each expert is computed once for the rows of all. No number depends on how many threads
there are: a completion has the same ids and log-probabilities alone and among five hundred, on one core and on sixteen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.common import take_weights
from groupwise.engines.cpp_stream import CppStream, StreamContext
from groupwise.engines.stops import Spelling, no_spelling
from groupwise.kernels.decode import Decoder
from groupwise.networks import Blueprint
from groupwise.networks.context import stated_context
from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Sampling


class CppEngine(RolloutEngine):
    """Samples from weights in this machine's memory, in float32, or in bfloat16 where the processor multiplies it: then
    inputs of matrix products are rounded to bfloat16, and sums, hidden states and the cache are float32.

    Every stream reads the weights where they lie, when its first events are read, and lays them out for its matrix
    products: that takes as long as copying them, and is given back when it is closed.
    """

    def __init__(
        self,
        model: Any,
        parts: Blueprint,
        decoder: Decoder,
        max_rows: int,
        threads: int,
        note: Callable[[str], None] = lambda text: None,
        spelling: Spelling = no_spelling,
    ) -> None:
        self.model, self.parts, self.decoder, self.note = model, parts, decoder, note
        self.max_rows, self.threads, self.version, self.spelling = max_rows, threads, 0, spelling
        self.context_tokens = stated_context(model)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.version = version

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of completions (``protocols.RolloutEngine``); ``CppStream`` says what is special."""
        means = StreamContext(
            self.parts, self.decoder, self.context_tokens, self.max_rows, self.threads, self.spelling, self.note
        )
        return CppStream(means, self.version, sampling, every_token)


def decoder_for(parts: Blueprint) -> Decoder | str:
    """The compiled code, or why it can't stand in for this model."""
    weight = parts.embedding.weight
    half = weight.dtype == torch.bfloat16
    if weight.device.type != "cpu" or not (half or weight.dtype == torch.float32):
        return f"weights are {str(weight.dtype).removeprefix('torch.')} on {weight.device.type}"
    found = Decoder.load()
    if isinstance(found, str) or not half:
        return found
    if not found.has_bfloat:
        return "weights are bfloat16, which this processor has no instructions for: float32 is faster here"
    modules: list[Any] = [parts.head]
    for layer in parts.layers:
        modules += [*vars(layer).values(), *(vars(layer.latent).values() if layer.latent else ())]
    beside = any(hasattr(module, "get_base_layer") for module in modules)
    return "adapters stand beside weights in bfloat16" if beside else found
