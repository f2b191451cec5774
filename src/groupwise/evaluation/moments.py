"""This module names a run's evaluations of policies: those of stages, and one for its beginning."""

from __future__ import annotations

BEFORE = "before "
"""No stage's name has a blank."""


def before(stage: str) -> str:
    """Returns the name of what is known of the model that a stage begins with."""
    return f"{BEFORE}{stage}"


def moment(name: str) -> str:
    """Returns ``before grpo``, or ``after grpo`` of the model that the stage grpo left."""
    return name if name.startswith(BEFORE) else f"after {name}"
