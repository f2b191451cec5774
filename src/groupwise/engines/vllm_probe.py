"""A probe compares what a server says of a completion with what the weights say that it was given."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from groupwise.engines.vllm_client import ServerError
from groupwise.engines.vllm_servers import Server
from groupwise.output.counting import counted

PROMPT, DRAWN = 8, 8


class Probe:
    """Scores completions with given weights, on a twin of the learner's model: the learner may be at work, and further
    on, while weights that it had before are loaded."""

    def __init__(self, model: Any) -> None:
        shared = {id(each): each for each in (*model.parameters(), *model.buffers())}
        self._twin = copy.deepcopy(model, shared).eval()
        self._weights: dict[str, Tensor] = {}
        self._given: dict[str, Tensor] = {}
        self._mark = 0

    def take(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """Scores with these from now on. A matrix that has several names may come by one of them."""
        self._weights, self._mark = dict(weights), mark_of(weights)
        names: dict[int, list[str]] = {}
        for name, weight in self._twin.named_parameters(remove_duplicate=False):
            names.setdefault(id(weight), []).append(name)
        self._given = dict(self._weights)
        for same in names.values():
            given = next((self._weights[name] for name in same if name in self._weights), None)
            self._given |= {name: given for name in same if given is not None and name not in self._weights}

    @property
    def is_current(self) -> bool:
        """Says whether nobody has written to the weights since they were taken."""
        return bool(self._weights) and mark_of(list(self._weights.items())) == self._mark

    @torch.inference_mode()
    def gap(self, server: Server, temperature: float, scored_at: float) -> float:
        """Returns the largest difference, in nats, between a server and the weights on a completion. Raises
        ServerError where it gives none."""
        head = self._twin.get_output_embeddings().weight
        vocabulary = self._twin.config.get_text_config().vocab_size
        prompt = [token % vocabulary for token in range(1, PROMPT + 1)]
        rule = {"temperature": temperature, "seed": 1, "max_tokens": DRAWN, "logprobs": 0}
        rule |= {"ignore_eos": True, "detokenize": False}
        choice = server.generate({"token_ids": prompt, "sampling_params": rule})
        tokens, said = choice["token_ids"], [each["logprob"] for each in choice["logprobs"]["content"]]
        if len(tokens) != DRAWN or not all(0 <= token < vocabulary for token in tokens):
            words = f"a completion of {counted(len(tokens), 'token')}, or of ids beyond {vocabulary:,}"
            raise ServerError(server.url, f"{words}, where {DRAWN} of the vocabulary were asked for", 500)
        ids = torch.tensor([[*prompt, *tokens]], device=head.device)
        given = {"input_ids": ids[:, :-1], "use_cache": False}
        found = functional_call(self._twin, self._given, (), given, tie_weights=False)
        own = torch.log_softmax(found.logits[0, PROMPT - 1 :].double() / scored_at, dim=-1)
        own = own.gather(1, ids[0, PROMPT:, None]).squeeze(1)
        return float((own - torch.tensor(said, dtype=torch.float64, device=own.device)).abs().max())


def mark_of(weights: Sequence[tuple[str, Tensor]]) -> int:
    """Returns a number that changes whenever a weight is written to, or another takes its place."""
    return hash(tuple((name, weight.data_ptr(), weight._version) for name, weight in weights))
