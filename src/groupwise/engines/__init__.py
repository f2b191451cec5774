"""Samplers: token ids in, token ids and log-probabilities out. ``Native`` is the default, on CPU and GPU."""

from groupwise.engines.config import Native

__all__ = ["Native"]
