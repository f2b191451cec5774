"""Whether an engine says what the model says, asked before it is trusted."""

from __future__ import annotations

from typing import Any

import torch

from groupwise.protocols import RolloutEngine
from groupwise.types import Request, Sampling

PROMPT, DRAWN = 8, 4


@torch.inference_mode()
def gap(engine: RolloutEngine, model: Any) -> str:
    """Says how log-probabilities of a few tokens differ from those of the model's own forward pass; empty: not."""
    head = model.get_output_embeddings().weight
    vocabulary = model.config.get_text_config().vocab_size
    if engine.context_tokens < PROMPT + DRAWN:
        return ""
    prompt = tuple(token % vocabulary for token in range(1, PROMPT + 1))
    [(_, _, completion)] = engine.generate([Request(prompt, (0,))], Sampling(DRAWN))
    ids = torch.tensor([[*prompt, *completion.tokens]], device=head.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0, PROMPT - 1 :]
    own = torch.log_softmax(logits.double(), dim=-1).gather(1, ids[0, PROMPT:, None]).squeeze(1)
    found = torch.tensor(completion.logprobs, dtype=torch.float64, device=own.device)
    tolerance = 1e-3 if head.dtype in (torch.float32, torch.float64) else 0.1
    most = float((own - found).abs().max())
    if most < tolerance:
        return ""
    return f"gives log-probabilities that differ by {most:.1g} from those of {model.config.model_type} itself"
