"""Environments: worlds that talk with the model for several turns, and tools that it may call."""

from groupwise.environments.protocol import Call, Ended, Environment, Reply, Says, Utterance
from groupwise.environments.turns import Turns

__all__ = ["Call", "Ended", "Environment", "Reply", "Says", "Turns", "Utterance"]
