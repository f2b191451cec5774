"""Log-probabilities of given tokens from a causal LM, a chunk of the vocabulary matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groupwise.types import Rollout

CHUNK_ELEMENTS = 2**26  # of [tokens, vocabulary] logits that exist at once


class TokenLogprobs:
    """``(rollouts, temperature) -> logprobs, entropy``, both ``[B, T]``.

    Where the head turns out to be a plain matrix (checked once against the model's own logits), logits of prompt
    tokens are never computed and large ones are recomputed in the backward pass instead of kept.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.plain_head = _head_is_plain(model)

    def __call__(self, rollouts: Sequence[Rollout], temperature: float) -> tuple[Tensor, Tensor]:
        tokens, rows, places, targets, mask = _layout(rollouts)
        device = next(self.model.parameters()).device
        tokens, rows, places, targets, mask = (x.to(device) for x in (tokens, rows, places, targets, mask))
        # Right padding under a causal mask: no real token can see it.
        if self.plain_head:
            hidden = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[rows, places]
            head = self.model.get_output_embeddings()
        else:
            hidden = self.model(input_ids=tokens, use_cache=False).logits[rows, places]
            head = nn.Identity()
        logprobs, entropy = _in_chunks(head, hidden, targets, temperature)
        blank = logprobs.new_zeros(mask.shape)
        return blank.masked_scatter(mask, logprobs), blank.masked_scatter(mask, entropy)


def _layout(rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Padded ids ``[B, P+T]``; row, position of the predicting token, and target of each sampled token; mask [B, T]."""
    sequences = [torch.tensor([*rollout.prompt.tokens, *rollout.tokens]) for rollout in rollouts]
    tokens = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.tensor(rollout.mask) for rollout in rollouts], batch_first=True)
    rows, places = mask.nonzero(as_tuple=True)
    starts = torch.tensor([len(rollout.prompt.tokens) for rollout in rollouts])
    places = places + starts[rows] - 1
    return tokens, rows, places, tokens[rows, places + 1], mask


def _in_chunks(head: nn.Module, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    weight = head.weight if isinstance(head, nn.Linear) else hidden
    size = max(1, CHUNK_ELEMENTS // (weight.shape[0] if isinstance(head, nn.Linear) else hidden.shape[-1]))
    if len(hidden) <= size:
        return _head_logprobs(head, hidden, targets, temperature)
    parts = [
        checkpoint(_head_logprobs, head, h, t, temperature, use_reentrant=False)
        for h, t in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _head_logprobs(head: nn.Module, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = head(hidden)
    logits = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
    logprobs = torch.log_softmax(logits, dim=-1)  # [N, V]
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
    return logprobs.gather(1, targets[:, None]).squeeze(1), entropy


@torch.no_grad()
def _head_is_plain(model: Any) -> bool:
    """Whether logits are exactly the output embedding of the base model's last hidden state.

    Some architectures scale or cap their logits; believing otherwise would give silently wrong numbers. The probe makes
    logits large, since a cap hardly touches those of a model with fresh weights.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        return False
    probe = torch.arange(8, device=head.weight.device)[None] % head.weight.shape[0]
    hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
    enlarged = head.register_forward_hook(lambda module, inputs, logits: logits * 1000)
    try:
        return torch.allclose(head(hidden), model(input_ids=probe, use_cache=False).logits, rtol=1e-4, atol=1e-5)
    finally:
        enlarged.remove()
