"""Says whether an engine says what the model says, asked before it is trusted."""

from __future__ import annotations

from typing import Any

import torch

from groupwise.protocols import RolloutEngine
from groupwise.types import Request, Sampling

PROMPT, DRAWN = 8, 4


def gap(engine: RolloutEngine, model: Any) -> str:
    """Says how log-probabilities of a few tokens differ from those of the model's own forward pass; empty: not."""
    return too_far(largest_gap(engine, model), model)


def too_far(most: float | None, model: Any) -> str:
    """Says the same of a gap that is known."""
    exact = model.get_output_embeddings().weight.dtype in (torch.float32, torch.float64)
    if most is None or most < (1e-3 if exact else 0.1):
        return ""
    return f"gives log-probabilities that differ by {most:.1g} from those of {model.config.model_type} itself"


@torch.inference_mode()
def largest_gap(engine: RolloutEngine, model: Any) -> float | None:
    """Returns the largest difference, in nats, of a few tokens that the engine draws; None where the context has no
    room for them."""
    head = model.get_output_embeddings().weight
    vocabulary = model.config.get_text_config().vocab_size
    if engine.context_tokens < PROMPT + DRAWN:
        return None
    prompt = tuple(token % vocabulary for token in range(1, PROMPT + 1))
    [(_, _, completion)] = engine.generate([Request(prompt, (0,))], Sampling(DRAWN))
    ids = torch.tensor([[*prompt, *completion.tokens]], device=head.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0, PROMPT - 1 :]
    own = torch.log_softmax(logits.double(), dim=-1).gather(1, ids[0, PROMPT:, None]).squeeze(1)
    found = torch.tensor(completion.logprobs, dtype=torch.float64, device=own.device)
    return float((own - found).abs().max())
