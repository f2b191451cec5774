"""This module says whether somebody else started this process as one of several. It imports nothing heavy."""

from __future__ import annotations

import os

GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets in every process that it starts, and rank 0 in those that it starts."""
PARENT = "GROUPWISE_PARENT"
"""The environment's word for the process that starts a follower: it may be gone before that one can ask who it was."""


def started_by_torchrun() -> bool:
    """Says whether this process is one of several, by the variables that torchrun sets."""
    return all(os.environ.get(name) for name in GIVEN)
