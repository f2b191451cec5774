"""Learners train one network each. ``Local``: in this process, on CPU or CUDA. ``FSDP``: in several processes,
each with a part of it. ``NewModel``: a small model to begin with."""

from groupwise.learners.config import FSDP, Local, Lora
from groupwise.learners.new_model import NewModel

__all__ = ["FSDP", "Local", "Lora", "NewModel"]
