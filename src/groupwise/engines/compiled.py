"""The engine on a CPU: a whole batch of completions in compiled code, on every core, in the learner's own process.

Its threads share no step and no lock while they compute, and no number depends on how many there are: a completion has
the same ids and log-probabilities alone and among five hundred, on one core and on sixteen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from ctypes import c_uint64, c_void_p
from dataclasses import replace
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

    def __init__(
        self,
        model: Any,
        parts: Blueprint,
        decoder: Decoder,
        max_rows: int,
        threads: int,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.model, self.parts, self.decoder, self.note = model, parts, decoder, note
        self.max_rows, self.threads, self.version = max_rows, threads, 0
        self.context_tokens = int(model.config.max_position_embeddings)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.version = version

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """See ``protocols.RolloutEngine``. A prompt that fills the context, or has ids beyond the vocabulary, raises
        ValueError. Where memory runs out, what is not done is sampled again with half as many completions side by side:
        the same ids. Raises MemoryError where it does not suffice for one."""
        refuse_misfits(requests, self.context_tokens)
        refuse_strangers(requests, self.parts.embedding.num_embeddings)
        left, rows = Left(requests, on_token), self.max_rows
        while left.some:
            try:
                yield from self._sampled(left, sampling, rows)
            except MemoryError:
                rows = min(rows, left.some) // 2
                if not rows:
                    raise
                self.note(
                    f"engine: memory ran out while sampling; what is not done is sampled again, at most {rows} "
                    "completions side by side, which changes no completion"
                )

    def _sampled(self, left: Left, sampling: Sampling, rows: int) -> Iterator[tuple[int, int, Completion]]:
        requests, places = left.requests()
        longest = max(len(request.tokens) for request in requests) + sampling.max_tokens
        weights = LaidOut(self.parts, min(longest, self.context_tokens))
        asked = as_requests(
            requests,
            sampling,
            threads=self.threads,
            max_rows=rows,
            context=self.context_tokens,
            every_token=left.on_token is not None,
        )
        for event in self.decoder.events(weights.structure, asked):
            request, index = places[event.request][event.index]
            if event.logprobs:
                completion = self._completion(event)
                left.done(request, index)
                yield request, index, completion
            else:
                left.tell(request, index, event.token)

    def _completion(self, event: Any) -> Completion:
        support = None
        if event.kept:
            ids, ends = event.kept_ids[: event.kept], itertools.accumulate(event.kept_sizes[: event.length])
            support = tuple(tuple(ids[start:end]) for start, end in itertools.pairwise([0, *ends]))
        tokens, logprobs = event.tokens[: event.length], event.logprobs[: event.length]
        return Completion(tuple(tokens), tuple(logprobs), bool(event.finished), self.version, support)


class Left:
    """What of a batch is still to be sampled, and which tokens were told already."""

    def __init__(self, requests: Sequence[Request], on_token: Callable[[int, int, int], None] | None) -> None:
        self.asked, self.on_token = requests, on_token
        self._open = {(number, index) for number, request in enumerate(requests) for index in range(len(request.seeds))}
        self._told: dict[tuple[int, int], int] = {}
        self._again: dict[tuple[int, int], int] = {}

    @property
    def some(self) -> int:
        """Completions."""
        return len(self._open)

    def requests(self) -> tuple[list[Request], list[list[tuple[int, int]]]]:
        """Of what is left, from its beginning; and each completion's number and index in what was asked."""
        self._again = dict(self._told)
        places = [
            [(number, index) for index in range(len(request.seeds)) if (number, index) in self._open]
            for number, request in enumerate(self.asked)
        ]
        kept = [place for place in places if place]
        return [
            replace(self.asked[place[0][0]], seeds=tuple(self.asked[number].seeds[index] for number, index in place))
            for place in kept
        ], kept

    def tell(self, request: int, index: int, token: int) -> None:
        """Unless it was told before."""
        place = request, index
        if self._again.get(place, 0):
            self._again[place] -= 1
        elif self.on_token is not None:
            self._told[place] = self._told.get(place, 0) + 1
            self.on_token(request, index, token)

    def done(self, request: int, index: int) -> None:
        self._open.discard((request, index))


def refuse_strangers(requests: Sequence[Request], vocabulary: int) -> None:
    """Raises ValueError for token ids that the model has no embedding of."""
    for number, request in enumerate(requests):
        if not 0 <= min(request.tokens) <= max(request.tokens) < vocabulary:
            seen = f"ids from {min(request.tokens)} to {max(request.tokens)}"
            raise ValueError(f"request {number}: {seen}; the model knows 0 to {vocabulary - 1}")


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
        width, rows = parts.width, (positions, parts.head_dim)
        self.structure = Weights(
            shape,
            self._hold((LayerWeights * len(parts.layers))(*(self._layer(layer, shape) for layer in parts.layers))),
            self._address(parts.embedding.weight, parts.embedding.num_embeddings, width),
            self._address(parts.head.weight, shape.vocabulary, width),
            self._address(parts.head.bias, shape.vocabulary),
            self._address(parts.norm.weight, width),
            self._hold((c_void_p * len(tables))(*(self._address(cos, *rows) for cos, _ in tables))),
            self._hold((c_void_p * len(tables))(*(self._address(sin, *rows) for _, sin in tables))),
        )

    def _layer(self, layer: LayerParts, shape: Shape) -> LayerWeights:
        norms = [layer.before_attention, layer.after_attention, layer.before_mlp, layer.after_mlp]
        room, width, hidden = shape.head_room, shape.width, shape.hidden
        heads = shape.heads * room, shape.kv_heads * room, shape.kv_heads * room
        return LayerWeights(
            *(
                self._projection(module, outputs, width, heads=0)
                for module, outputs in zip((layer.q, layer.k, layer.v), heads, strict=True)
            ),
            self._projection(layer.o, width, heads[0], heads=1),
            *(self._projection(module, hidden, width) for module in (layer.gate, layer.up)),
            self._projection(layer.down, width, hidden),
            *(self._address(norm and norm.weight, width) for norm in norms),
            *(self._address(norm and norm.weight, shape.head_dim) for norm in (layer.q_norm, layer.k_norm)),
            layer.window,
            layer.rope,
        )

    def _projection(self, module: nn.Module, outputs: int, inputs: int, heads: int | None = None) -> Projection:
        """``heads``: along which side of the weight they lie."""
        weight, bias = merged_weight(module), bias_of(module)
        if heads is not None and self._head_dim % LANES:
            weight = self._with_room(weight, heads)
            bias = self._with_room(bias, 0) if heads == 0 and bias is not None else bias
        return Projection(self._address(weight, outputs, inputs), self._address(bias, outputs), outputs)

    def _with_room(self, x: Tensor, side: int) -> Tensor:
        """Zeros behind each head's numbers."""
        apart = x.detach().unflatten(side, (-1, self._head_dim))
        missing = roomy(self._head_dim) - self._head_dim
        more = apart.new_zeros(*apart.shape[: side + 1], missing, *apart.shape[side + 2 :])
        return torch.cat((apart, more), dim=side + 1).flatten(side, side + 1)

    def _address(self, tensor: Any, *shape: int) -> int | None:
        """Raises ValueError for what the compiled code would misread."""
        if tensor is None:
            return None
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tuple(tensor.shape) != shape:
            seen = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            raise ValueError(f"weights for sampling: seen {seen}, expected torch.float32 {shape} on the CPU")
        return int(self._hold(tensor.detach().contiguous()).data_ptr())

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
