"""Learners train one network each. ``Local``: in this process, on CPU or CUDA. ``NewModel``: a small model to begin
with."""

from groupwise.learners.config import Local, Lora
from groupwise.learners.new_model import NewModel

__all__ = ["Local", "Lora", "NewModel"]
