"""Rollouts made by hand, as the tests of rewards have them."""

from __future__ import annotations

from ..rewards.conftest import rollout

__all__ = ["rollout"]
