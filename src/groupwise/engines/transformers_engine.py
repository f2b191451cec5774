"""The engine for any causal LM that transformers can run: its own forward pass and cache, slower, the same contract.

What a request forces is computed with its prompt, whether it ``follows`` another or not: nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.common import limit_of, refuse_misfit, take_weights
from groupwise.engines.sampler import draw, ids_of, random_stream
from groupwise.engines.stops import Spelling, StopText, no_spelling
from groupwise.errors import UserError
from groupwise.networks.context import stated_context
from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling, TokenEvent


class TransformersEngine(RolloutEngine):
    """This engine decodes up to ``max_rows`` completions of equally long prompts together.

    Prompts of one length need no padding, so that no architecture has to know about it.
    """

    def __init__(self, model: Any, max_rows: int, spelling: Spelling = no_spelling) -> None:
        self.model, self.max_rows, self.version, self.spelling = model, max_rows, 0, spelling
        self.context_tokens = stated_context(model)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.version = version

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of completions (``protocols.RolloutEngine``)."""
        return TransformersStream(self, sampling, every_token)


@dataclass(eq=False)
class Row:
    """A completion that waits or runs."""

    number: int
    index: int
    prompt: tuple[int, ...]
    uniforms: Tensor
    limit: int
    text: StopText | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    support: list[tuple[int, ...]] = field(default_factory=list)


class TransformersStream(Stream):
    """A ``protocols.Stream`` of one thread. What is submitted while completions run begins when they have ended."""

    def __init__(self, engine: TransformersEngine, sampling: Sampling, every_token: bool) -> None:
        self._engine, self._sampling, self._every_token = engine, sampling, every_token
        self._count, self._version = 0, engine.version
        self._waiting: dict[int, list[Row]] = {}
        """By the length of the prompt."""
        self._running: set[Row] = set()

    def submit(self, request: Request) -> int:
        """Takes a request and returns its number. Raises ValueError for a prompt that fills the context."""
        number, context = self._count, self._engine.context_tokens
        refuse_misfit(number, request, context)
        self._count += 1
        prompt, skipped = request.tokens + request.forced, len(request.forced)
        limit = limit_of(request, self._sampling, context)
        for index, seed in enumerate(request.seeds):
            uniforms = random_stream(seed, skipped + limit)[skipped:]
            text = StopText(self._sampling, self._engine.spelling) if self._sampling.stop_strings else None
            row = Row(number, index, prompt, uniforms, limit, text)
            self._waiting.setdefault(len(prompt), []).append(row)
        return number

    def events(self) -> Iterator[Event]:
        """Yields tokens and completions as they come (``protocols.Stream``)."""
        while self._waiting:
            length, rows = next(iter(self._waiting.items()))
            together, rest = rows[: self._engine.max_rows], rows[self._engine.max_rows :]
            if rest:
                self._waiting[length] = rest
            else:
                del self._waiting[length]
            self._running = set(together)
            yield from self._together(together)

    def cancel(self, number: int) -> None:
        """Ends what is under way of a request."""
        left = {length: [row for row in rows if row.number != number] for length, rows in self._waiting.items()}
        self._waiting = {length: rows for length, rows in left.items() if rows}
        self._running = {row for row in self._running if row.number != number}

    def close(self) -> None:
        """Ends everything; called again, nothing."""
        self._waiting.clear()
        self._running.clear()

    def _together(self, rows: list[Row]) -> Iterator[Event]:
        """Completions of equally long prompts, in step; rows that ended are computed on, unread, until all have."""
        device = next(self._engine.model.parameters()).device
        inputs, cache = torch.tensor([row.prompt for row in rows], device=device), None
        uniforms = torch.nn.utils.rnn.pad_sequence([row.uniforms for row in rows], batch_first=True)
        for step in range(uniforms.shape[1]):
            with torch.inference_mode():
                output = self._engine.model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
                drawn, scores, kept = draw(output.logits[:, -1], uniforms[:, step], self._sampling)
            cache, inputs = _cache_of(self._engine.model, output), drawn[:, None]
            choices = ids_of(kept) if kept is not None else []
            for number, (row, token, score) in enumerate(zip(rows, drawn.tolist(), scores.tolist(), strict=True)):
                if row not in self._running:
                    continue
                row.tokens.append(token)
                row.logprobs.append(score)
                row.support.extend(choices[number : number + 1])
                if self._every_token:
                    yield TokenEvent(row.number, row.index, token)
                finished = token in self._sampling.stop_tokens or bool(row.text and row.text.ends_with(token))
                if row in self._running and (finished or len(row.tokens) == row.limit):
                    self._running.remove(row)
                    yield self._event(row, finished)
            if not self._running:
                return

    def _event(self, row: Row, finished: bool) -> CompletionEvent:
        said = tuple(row.tokens), tuple(row.logprobs)
        completion = Completion(*said, finished, self._version, tuple(row.support) or None)
        return CompletionEvent(row.number, row.index, completion)


def _cache_of(model: Any, output: Any) -> Any:
    """What the next token goes on from. Raises UserError for an architecture that gives back no keys and values."""
    if "past_key_values" not in output:
        raise UserError(
            f"{type(model).__name__} can't be sampled from: its forward pass gives back no past_key_values to go on "
            "from; it can be trained on demonstrations and pairs, without evaluation"
        )
    return output.past_key_values
