"""The embedded engine: continuous batching over preallocated cache slots, in the learner's process and weights.

A step is admit → sample → emit → compact → decode. A group's prompt is computed once and its keys and values are given
to every completion; a finished completion leaves at once, and the next that waits takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupwise.engines.common import refuse_misfits, take_weights
from groupwise.engines.decoder import Decoder
from groupwise.engines.sampler import draw, ids_of, random_stream
from groupwise.types import Completion, Request, Sampling

PREFILL_TOKENS = 16_384  # of padded prompts computed in one pass


class NativeEngine:
    """A ``protocols.RolloutEngine`` for the families of ``decoder.FAMILIES``."""

    def __init__(self, model: Any, max_rows: int) -> None:
        self.model, self.max_rows, self.version = model, max_rows, 0
        self.context_tokens = int(model.config.max_position_embeddings)
        self.decoder = Decoder(model, self.context_tokens)

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.decoder.refresh()
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
        self.decoder, self.version = engine.decoder, engine.version
        self.requests, self.sampling, self.on_token = requests, sampling, on_token
        self.waiting = deque(
            (number, index) for number, request in enumerate(requests) for index in range(len(request.seeds))
        )
        rows = min(engine.max_rows, len(self.waiting))
        longest = max(len(request.tokens) for request in requests)
        length = min(longest + sampling.max_tokens, engine.context_tokens)
        weight = engine.decoder.embedding.weight
        self.device = weight.device
        shape = (len(engine.decoder.layers), rows, engine.decoder.kv_heads, length, engine.decoder.head_dim)
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
        self.logits = weight.new_zeros(rows, engine.decoder.head.weight.shape[0])
        self.stop = torch.tensor(sampling.stop_tokens, dtype=torch.long)
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
        numbers = list(dict.fromkeys(number for number, _ in taken))
        longest = max(len(self.requests[number].tokens) for number in numbers)
        at_once = max(1, PREFILL_TOKENS // longest)
        first = len(self.owners)
        for start in range(0, len(numbers), at_once):
            part = numbers[start : start + at_once]
            self.prefill(part, [owner for owner in taken if owner[0] in part])
        for row, (number, index) in enumerate(self.owners[first:], start=first):
            prompt = len(self.requests[number].tokens)
            self.filled[row], self.drawn[row], self.supports[row] = prompt, 0, []
            self.limit[row] = min(self.sampling.max_tokens, self.keys.shape[3] - prompt, len(self.positions) - prompt)
            self.uniforms[row] = random_stream(self.requests[number].seeds[index], self.sampling.max_tokens)

    def prefill(self, numbers: list[int], taken: list[tuple[int, int]]) -> None:
        """Prompts padded on the right and attended causally: padding comes last and reaches no real token."""
        prompts = [torch.tensor(self.requests[number].tokens) for number in numbers]
        padded = nn.utils.rnn.pad_sequence(prompts, batch_first=True).to(self.device)  # [P, L]
        count, length = padded.shape
        source = torch.tensor([numbers.index(number) for number, _ in taken], device=self.device)
        rows = slice(len(self.owners), len(self.owners) + len(taken))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.view(count, length, -1, x.shape[-1]).transpose(1, 2) for x in (q, k, v))
            self.keys[layer, rows, :, :length] = k[source]
            self.values[layer, rows, :, :length] = v[source]
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            return mixed.transpose(1, 2).reshape(count * length, -1, q.shape[-1])

        hidden = self.decoder.hidden(padded.flatten(), self.positions[:length].repeat(count), attend)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        hidden = hidden.view(count, length, -1)[torch.arange(count, device=self.device), last]
        self.logits[rows] = self.decoder.logits(hidden)[source]
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
        del self.owners[remaining:]

    def decode(self) -> None:
        """Computes the logits of every running row's next token from the one just drawn."""
        active = len(self.owners)
        rows = torch.arange(active)
        tokens = self.tokens[rows, self.drawn[:active] - 1].to(self.device)
        places = self.filled[:active].to(self.device)
        length = int(self.filled[:active].max()) + 1
        rows_here = rows.to(self.device)
        uniform_length = bool((self.filled[:active] == length - 1).all())
        mask = None if uniform_length else (self.positions[:length] <= places[:, None])[:, None, None]  # [R, 1, 1, L]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[rows_here, :, places] = k
            values[rows_here, :, places] = v
            mixed = F.scaled_dot_product_attention(
                q[:, :, None], keys[:active, :, :length], values[:active, :, :length], attn_mask=mask, enable_gqa=True
            )
            return mixed.squeeze(2)

        hidden = self.decoder.hidden(tokens, places, attend)
        self.logits[:active] = self.decoder.logits(hidden)
        self.filled[:active] += 1
