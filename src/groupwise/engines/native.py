"""The engine in plain torch, on any device and in any precision: continuous batching over preallocated cache slots.

A step is admit → sample → emit → compact → decode. A group's prompt is computed once and its keys and values are given
to every completion; a finished completion leaves at once, and the next that waits takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groupwise.engines.common import refuse_misfits, take_weights
from groupwise.engines.sampler import draw, ids_of, random_stream
from groupwise.engines.stops import StopText
from groupwise.networks import Blueprint
from groupwise.networks.attention import packed_attention
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk
from groupwise.types import Completion, Request, Sampling

PREFILL_TOKENS = 16_384  # of prompts computed in one pass


class NativeEngine:
    """A ``protocols.RolloutEngine`` for the families of ``networks.blueprint``."""

    def __init__(self, model: Any, parts: Blueprint, max_rows: int) -> None:
        self.model, self.parts, self.max_rows, self.version = model, parts, max_rows, 0
        self.context_tokens = int(model.config.max_position_embeddings)
        self.trunk = Trunk(parts, self.context_tokens)

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
        if requests:
            yield from _Batch(self, requests, sampling, on_token).run()


class _Batch:
    """The state of one ``generate``: rows 0 .. active-1 of every buffer are running, in the order of ``owners``."""

    def __init__(
        self,
        engine: NativeEngine,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None,
    ) -> None:
        self.trunk, self.parts, self.version = engine.trunk, engine.parts, engine.version
        self.requests, self.sampling, self.on_token = requests, sampling, on_token
        self.waiting = deque(
            (number, index) for number, request in enumerate(requests) for index in range(len(request.seeds))
        )
        rows = min(engine.max_rows, len(self.waiting))
        longest = max(len(request.tokens) for request in requests)
        length = min(longest + sampling.max_tokens, engine.context_tokens)
        parts = engine.parts
        weight = parts.embedding.weight
        self.device = weight.device
        shape = (len(parts.layers), rows, parts.kv_heads, length, parts.head_dim)
        # Zeros: what attention masks out must still be finite.
        self.keys, self.values = weight.new_zeros(shape), weight.new_zeros(shape)
        self.owners: list[tuple[int, int]] = []
        self.uniforms = torch.empty(rows, sampling.max_tokens, dtype=torch.float64)
        self.tokens = torch.zeros(rows, sampling.max_tokens, dtype=torch.long)
        self.logprobs = torch.zeros(rows, sampling.max_tokens, dtype=torch.float64)
        self.supports: list[list[tuple[int, ...]]] = [[] for _ in range(rows)]  # empty: the whole vocabulary
        self.drawn = torch.zeros(rows, dtype=torch.long)  # completion tokens so far
        self.filled = torch.zeros(rows, dtype=torch.long)  # cache positions in use
        self.limit = torch.zeros(rows, dtype=torch.long)  # completion tokens at most
        self.logits = weight.new_zeros(rows, parts.vocabulary)
        self.stop = torch.tensor(sampling.stop_tokens, dtype=torch.long)
        self.texts = [StopText(sampling) for _ in range(rows)] if sampling.stop_strings else []
        self.positions = torch.arange(length, device=self.device)

    def run(self) -> Iterator[tuple[int, int, Completion]]:
        while self.waiting or self.owners:
            # Closed before the yield: whoever consumes this must not find itself in inference mode.
            with torch.inference_mode():
                if self.waiting and len(self.owners) < len(self.drawn):
                    self.admit()
                completed = self.sample()
                if self.owners:
                    self.decode()
            yield from completed

    def admit(self) -> None:
        """Takes waiting completions into free rows; each prompt among them is computed once."""
        taken = [self.waiting.popleft() for _ in range(min(len(self.drawn) - len(self.owners), len(self.waiting)))]
        first = len(self.owners)
        part: list[int] = []
        for number in dict.fromkeys(number for number, _ in taken):
            part.append(number)
            if sum(len(self.requests[number].tokens) for number in part) >= PREFILL_TOKENS:
                self.prefill(part, [owner for owner in taken if owner[0] in part])
                part = []
        if part:
            self.prefill(part, [owner for owner in taken if owner[0] in part])
        for row, (number, index) in enumerate(self.owners[first:], start=first):
            prompt = len(self.requests[number].tokens)
            self.filled[row], self.drawn[row], self.supports[row] = prompt, 0, []
            self.limit[row] = min(self.sampling.max_tokens, self.keys.shape[3] - prompt, len(self.positions) - prompt)
            self.uniforms[row] = random_stream(self.requests[number].seeds[index], self.sampling.max_tokens)
            if self.texts:
                self.texts[row] = StopText(self.sampling)

    def prefill(self, numbers: list[int], taken: list[tuple[int, int]]) -> None:
        """Prompts side by side; each one's keys and values go to the rows of all its completions."""
        packing = Packing.of([(self.requests[number].tokens, ()) for number in numbers], self.device)
        places = {number: slice(start, start + size) for number, (start, size, *_) in zip(numbers, packing.prompts.tolist(), strict=True)}
        rows = list(enumerate((number for number, _ in taken), start=len(self.owners)))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for row, number in rows:
                place = places[number]
                self.keys[layer, row, :, : place.stop - place.start] = k[place].transpose(0, 1)
                self.values[layer, row, :, : place.stop - place.start] = v[place].transpose(0, 1)
            parts = self.parts
            return packed_attention(q, k, v, packing, parts.attention_scale, parts.attention_cap, parts.layers[layer].window)

        hidden = self.trunk.hidden(packing.tokens, packing.positions, attend)
        ends = torch.tensor([places[number].stop - 1 for _, number in rows], device=self.device)
        self.logits[len(self.owners) : len(self.owners) + len(taken)] = self.parts.logits(hidden[ends])
        self.owners.extend(taken)

    def sample(self) -> list[tuple[int, int, Completion]]:
        """Draws one token a row; removes and returns the completions that end with it."""
        active = len(self.owners)
        rows = torch.arange(active)
        uniforms = self.uniforms[rows, self.drawn[:active]]
        found = draw(self.logits[:active], uniforms, self.sampling)
        tokens = found.tokens.cpu()
        self.tokens[rows, self.drawn[:active]] = tokens
        self.logprobs[rows, self.drawn[:active]] = found.logprobs.cpu().double()
        if found.kept is not None:
            for chosen, ids in zip(self.supports, ids_of(found.kept), strict=False):
                chosen.append(ids)
        self.drawn[:active] += 1
        if self.on_token:
            for (number, index), token in zip(self.owners, tokens.tolist(), strict=True):
                self.on_token(number, index, token)
        stopped = torch.isin(tokens, self.stop)
        for row, text in enumerate(self.texts[:active]):
            stopped[row] |= text.ends_with(int(tokens[row]))
        ended = stopped | (self.drawn[:active] >= self.limit[:active])
        rows_ended = ended.nonzero().flatten().tolist()
        completed = [(*self.owners[row], self.completion(row, bool(stopped[row]))) for row in rows_ended]
        if completed:
            self.compact(ended)
        return completed

    def completion(self, row: int, finished: bool) -> Completion:
        length = int(self.drawn[row])
        return Completion(
            tuple(self.tokens[row, :length].tolist()),
            tuple(self.logprobs[row, :length].tolist()),
            finished,
            self.version,
            tuple(self.supports[row]) or None,
        )

    def compact(self, ended: Tensor) -> None:
        """Moves running rows from the end into the places that became free, so that running rows stay together."""
        remaining = len(ended) - int(ended.sum())
        free = ended[:remaining].nonzero().flatten()
        movers = (~ended[remaining:]).nonzero().flatten() + remaining
        if len(free):
            length = int(self.filled[: len(ended)].max())
            for cache in (self.keys, self.values):
                cache[:, free, :, :length] = cache[:, movers, :, :length]
            for buffer in (self.uniforms, self.tokens, self.logprobs, self.drawn, self.filled, self.limit):
                buffer[free] = buffer[movers]
            for place, mover in zip(free.tolist(), movers.tolist(), strict=True):
                self.owners[place], self.supports[place] = self.owners[mover], self.supports[mover]
                if self.texts:
                    self.texts[place] = self.texts[mover]
        del self.owners[remaining:]

    def decode(self) -> None:
        """Computes the logits of every running row's next token from the one just drawn."""
        active = len(self.owners)
        rows = torch.arange(active)
        tokens = self.tokens[rows, self.drawn[:active] - 1].to(self.device)
        places = self.filled[:active].to(self.device)
        length = int(self.filled[:active].max()) + 1
        rows_here = rows.to(self.device)
        seen = {window: self._seen(places, length, window) for window in {layer.window for layer in self.parts.layers}}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[rows_here, :, places] = k
            values[rows_here, :, places] = v
            here = keys[:active, :, :length], values[:active, :, :length], seen[self.parts.layers[layer].window]
            return one_query(q, *here, self.parts.attention_scale, self.parts.attention_cap)

        hidden = self.trunk.hidden(tokens, places, attend)
        self.logits[:active] = self.parts.logits(hidden)
        self.filled[:active] += 1

    def _seen(self, places: Tensor, length: int, window: int) -> Tensor | None:
        """``[R, length]``: which positions the token at each of ``places`` ``[R]`` sees; None: all of them do."""
        if not window and bool((places == length - 1).all()):
            return None
        seen = self.positions[:length] <= places[:, None]
        return seen & (self.positions[:length] > places[:, None] - window) if window else seen


def one_query(q: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scale: float, cap: float) -> Tensor:
    """``[R, H, D]`` of one token a row, q ``[R, H, D]``, with keys and values ``[R, Hkv, L, D]``."""
    mask = None if seen is None else seen[:, None, None]
    if not cap:
        mixed = F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=mask, scale=scale, enable_gqa=True)
        return mixed.squeeze(2)
    grouped = q.unflatten(1, (keys.shape[1], -1))  # [R, Hkv, G, D]
    scores = cap * torch.tanh(grouped @ keys.transpose(2, 3) * (scale / cap))
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ values).flatten(1, 2)
