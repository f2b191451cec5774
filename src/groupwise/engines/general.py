"""The engine for any causal LM that transformers can run: its own forward pass and cache, slower, the same contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.common import refuse_misfits, take_weights
from groupwise.engines.sampler import draw, ids_of, random_stream
from groupwise.engines.stops import StopText
from groupwise.errors import UserError
from groupwise.networks.context import stated_context
from groupwise.types import Completion, Request, Sampling


class GeneralEngine:
    """A ``protocols.RolloutEngine`` that decodes up to ``max_rows`` completions of equally long prompts together.

    Prompts of one length need no padding, so that no architecture has to know about it.
    """

    def __init__(self, model: Any, max_rows: int) -> None:
        self.model, self.max_rows, self.version = model, max_rows, 0
        self.context_tokens = stated_context(model)

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
        """See ``protocols.RolloutEngine``. A prompt that fills the context raises ValueError."""
        refuse_misfits(requests, self.context_tokens)
        by_length: dict[int, list[tuple[int, int]]] = {}
        for number, request in enumerate(requests):
            by_length.setdefault(len(request.tokens), []).extend((number, i) for i in range(len(request.seeds)))
        for owners in by_length.values():
            for start in range(0, len(owners), self.max_rows):
                yield from self._together(requests, owners[start : start + self.max_rows], sampling, on_token)

    def _together(
        self,
        requests: Sequence[Request],
        owners: list[tuple[int, int]],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """Completions of equally long prompts, in step; rows that ended are computed on, unread, until all have."""
        device = next(self.model.parameters()).device
        prompts = torch.tensor([requests[number].tokens for number, _ in owners], device=device)
        limit = min(sampling.max_tokens, self.context_tokens - prompts.shape[1])
        uniforms = torch.stack([random_stream(requests[number].seeds[i], sampling.max_tokens) for number, i in owners])
        tokens: list[list[int]] = [[] for _ in owners]
        logprobs: list[list[float]] = [[] for _ in owners]
        supports: list[list[tuple[int, ...]]] = [[] for _ in owners]
        texts = [StopText(sampling) for _ in owners] if sampling.stop_strings else []
        running = set(range(len(owners)))
        inputs, cache = prompts, None
        for step in range(limit):
            with torch.inference_mode():
                output = self.model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
                drawn, scores, kept = draw(output.logits[:, -1], uniforms[:, step], sampling)
            cache, inputs = _cache_of(self.model, output), drawn[:, None]
            choices = ids_of(kept) if kept is not None else []
            for row, (token, score) in enumerate(zip(drawn.tolist(), scores.tolist(), strict=True)):
                if row not in running:
                    continue
                tokens[row].append(token)
                logprobs[row].append(score)
                supports[row].extend(choices[row : row + 1])
                if on_token:
                    on_token(*owners[row], token)
                finished = token in sampling.stop_tokens or bool(texts and texts[row].ends_with(token))
                if finished or step + 1 == limit:
                    running.discard(row)
                    said = tuple(tokens[row]), tuple(logprobs[row])
                    yield (*owners[row], Completion(*said, finished, self.version, tuple(supports[row]) or None))
            if not running:
                return


def _cache_of(model: Any, output: Any) -> Any:
    """What the next token goes on from. Raises UserError for an architecture that gives back no keys and values."""
    if "past_key_values" not in output:
        raise UserError(
            f"{type(model).__name__} can't be sampled from: its forward pass gives back no past_key_values to go on "
            "from; it can be trained on demonstrations and pairs, without evaluation"
        )
    return output.past_key_values
