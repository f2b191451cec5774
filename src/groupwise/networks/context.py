"""This module reads how many tokens a model can take together, by what its config states."""

from __future__ import annotations

from typing import Any

NAMES = (
    "max_position_embeddings",
    "n_positions",
    "seq_length",
    "max_seq_len",
    "max_sequence_length",
    "context_length",
    "n_ctx",
)
"""Under which a config states how many positions there are; the first counts."""
UNLIMITED = 2**30
"""Of an architecture without positions."""


def stated_context(model: Any) -> int:
    """Returns how long prompt and completion may be together; UNLIMITED where the config states none."""
    config = model.config.get_text_config().to_dict()
    stated = (config.get(name) for name in NAMES)
    return next((value for value in stated if isinstance(value, int) and 0 < value < UNLIMITED), UNLIMITED)
