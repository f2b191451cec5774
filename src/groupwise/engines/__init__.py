"""Engines sample: token ids go in, token ids and log-probabilities come out. ``Native`` is the default, on CPU and
GPU."""

from groupwise.engines.config import Native
from groupwise.engines.vllm import VLLMServers

__all__ = ["Native", "VLLMServers"]
