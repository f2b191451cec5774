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
    """Returns how long prompt and completion may be together; UNLIMITED where the config states none.

    Of a ``longrope`` it is the length that the model was first trained with: beyond it every position is turned
    otherwise, those before it too, so that a sequence would say other things of its beginning once it is longer.
    """
    config = model.config.get_text_config().to_dict()
    stated = (config.get(name) for name in NAMES)
    found = next((value for value in stated if isinstance(value, int) and 0 < value < UNLIMITED), UNLIMITED)
    return min(found, *_short_lengths(config.get("rope_parameters")))


def _short_lengths(ropes: Any) -> list[int]:
    """Returns the lengths up to which each ``longrope`` of a config turns positions in one way; first UNLIMITED."""
    scalings = [ropes, *ropes.values()] if isinstance(ropes, dict) else []
    long = [scaling for scaling in scalings if isinstance(scaling, dict) and scaling.get("rope_type") == "longrope"]
    lengths = [scaling.get("original_max_position_embeddings") for scaling in long]
    return [UNLIMITED, *(length for length in lengths if isinstance(length, int) and length > 0)]
