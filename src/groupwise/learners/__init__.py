"""Trainers of one network. ``Local``: on any torch device. ``NewModel`` makes a small model to begin with."""

from groupwise.learners.config import Local
from groupwise.learners.scratch import NewModel

__all__ = ["Local", "NewModel"]
