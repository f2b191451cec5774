"""The engine on a CPU: a whole batch of completions in compiled code, on every core, in the learner's own process.

Its threads share no step and no lock while they compute, and no number depends on how many there are: a completion has
the same ids and log-probabilities alone and among five hundred, on one core and on sixteen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_uint64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.engines.common import refuse_misfits, take_weights
from groupwise.kernels.decode import (
    Decoder,
    LayerWeights,
    Projection,
    Requests,
    Rule,
    Shape,
    Weights,
    halves,
    ints,
    texts,
)
from groupwise.networks import Blueprint, LayerParts, bias_of, merged_weight
from groupwise.types import Completion, Request, Sampling

LANES = 16  # of a vector in the compiled code


class CompiledEngine:
    """A ``protocols.RolloutEngine`` for float32 weights in this machine's memory.

    Every call of ``generate`` reads the weights where they lie and lays them out for its matrix products: that takes
    as long as copying them, and is given back at its end.
    """

    def __init__(self, model: Any, parts: Blueprint, decoder: Decoder, max_rows: int, threads: int) -> None:
        self.model, self.parts, self.decoder = model, parts, decoder
        self.max_rows, self.threads, self.version = max_rows, threads, 0
        self.context_tokens = int(model.config.max_position_embeddings)

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.version = version

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """See ``protocols.RolloutEngine``. A prompt that fills the context raises ValueError."""
        refuse_misfits(requests, self.context_tokens)
        if not any(request.seeds for request in requests):
            return
        longest = max(len(request.tokens) for request in requests) + sampling.max_tokens
        weights = LaidOut(self.parts, min(longest, self.context_tokens))
        asked = as_requests(
            requests,
            sampling,
            threads=self.threads,
            max_rows=self.max_rows,
            context=self.context_tokens,
            every_token=on_token is not None,
        )
        for event in self.decoder.events(weights.structure, asked):
            if event.logprobs:
                yield event.request, event.index, self._completion(event)
            elif on_token is not None:
                on_token(event.request, event.index, event.token)

    def _completion(self, event: Any) -> Completion:
        support = None
        if event.kept:
            ids, ends = event.kept_ids[: event.kept], itertools.accumulate(event.kept_sizes[: event.length])
            support = tuple(tuple(ids[start:end]) for start, end in itertools.pairwise([0, *ends]))
        tokens, logprobs = event.tokens[: event.length], event.logprobs[: event.length]
        return Completion(tuple(tokens), tuple(logprobs), bool(event.finished), self.version, support)


def decoder_for(parts: Blueprint) -> Decoder | str:
    """The compiled code, or why it can't stand in for this model."""
    weight = parts.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return f"weights are {str(weight.dtype).removeprefix('torch.')} on {weight.device.type}"
    return Decoder.load()


def roomy(head_dim: int) -> int:
    """What a head's numbers take where vectors are read whole."""
    return -(-head_dim // LANES) * LANES


class LaidOut:
    """The addresses of a model's weights, and what must live as long as they are read."""

    def __init__(self, parts: Blueprint, positions: int) -> None:
        assert parts.head is not None
        self._held: list[Any] = []
        self._head_dim = parts.head_dim
        tables = parts.tables(positions)
        shape = Shape(
            layers=len(parts.layers),
            width=parts.width,
            heads=parts.heads,
            kv_heads=parts.kv_heads,
            head_dim=parts.head_dim,
            head_room=roomy(parts.head_dim),
            hidden=len(merged_weight(parts.layers[0].gate)),
            vocabulary=len(parts.head.weight),
            ropes=len(tables),
            positions=positions,
            gelu=parts.activation == "gelu_tanh",
            eps=parts.eps,
            attention_scale=parts.attention_scale,
            attention_cap=parts.attention_cap,
            logit_cap=parts.logit_cap,
            embedding_scale=parts.embedding_scale,
            norm_offset=parts.norm_offset,
        )
        self.structure = Weights(
            shape,
            self._hold((LayerWeights * len(parts.layers))(*map(self._layer, parts.layers))),
            self._address(parts.embedding.weight),
            self._address(parts.head.weight),
            self._address(parts.head.bias),
            self._address(parts.norm.weight),
            self._hold((c_void_p * len(tables))(*(self._address(cos) for cos, _ in tables))),
            self._hold((c_void_p * len(tables))(*(self._address(sin) for _, sin in tables))),
        )

    def _layer(self, layer: LayerParts) -> LayerWeights:
        norms = [layer.before_attention, layer.after_attention, layer.before_mlp, layer.after_mlp]
        return LayerWeights(
            *(self._projection(module, heads=0) for module in (layer.q, layer.k, layer.v)),
            self._projection(layer.o, heads=1),
            *(self._projection(module) for module in (layer.gate, layer.up, layer.down)),
            *(self._address(norm and norm.weight) for norm in (*norms, layer.q_norm, layer.k_norm)),
            layer.window,
            layer.rope,
        )

    def _projection(self, module: nn.Module, heads: int | None = None) -> Projection:
        """``heads``: along which side of the weight they lie."""
        weight, bias = merged_weight(module), bias_of(module)
        if heads is not None and self._head_dim % LANES:
            weight = self._with_room(weight, heads)
            bias = self._with_room(bias, 0) if heads == 0 and bias is not None else bias
        return Projection(self._address(weight), self._address(bias), len(weight))

    def _with_room(self, x: Tensor, side: int) -> Tensor:
        """Zeros behind each head's numbers."""
        apart = x.detach().unflatten(side, (-1, self._head_dim))
        missing = roomy(self._head_dim) - self._head_dim
        more = apart.new_zeros(*apart.shape[: side + 1], missing, *apart.shape[side + 2 :])
        return torch.cat((apart, more), dim=side + 1).flatten(side, side + 1)

    def _address(self, tensor: Any) -> int | None:
        return None if tensor is None else int(self._hold(tensor.detach().contiguous()).data_ptr())

    def _hold(self, value: Any) -> Any:
        self._held.append(value)
        return value


def as_requests(requests: Sequence[Request], sampling: Sampling, **numbers: int) -> Requests:
    """``numbers``: threads, max_rows, context, every_token."""
    seeds = [half for request in requests for seed in request.seeds for half in halves(seed)]
    stops = [text.encode() for text in sampling.stop_strings]
    pieces = sampling.pieces if stops else ()
    return Requests(
        count=len(requests),
        prompts=ints([token for request in requests for token in request.tokens]),
        prompt_sizes=ints([len(request.tokens) for request in requests]),
        group_sizes=ints([len(request.seeds) for request in requests]),
        seeds=(c_uint64 * max(1, len(seeds)))(*seeds),
        rule=Rule(sampling.max_tokens, sampling.top_k, sampling.temperature, sampling.top_p, sampling.min_p),
        stop_tokens=len(sampling.stop_tokens),
        stop_strings=len(stops),
        pieces=len(pieces),
        stop_ids=ints(sampling.stop_tokens),
        stops=texts(stops),
        stop_sizes=ints([len(stop) for stop in stops]),
        piece_bytes=texts(pieces),
        piece_sizes=ints([len(piece) for piece in pieces]),
        **numbers,
    )
