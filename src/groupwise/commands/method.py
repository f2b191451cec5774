"""A method as a command was given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupwise.algorithm import Algorithm


@dataclass(frozen=True)
class Method:
    """A recipe with the options in force."""

    name: str
    algorithm: Algorithm
    changed: Sequence[str]
    """What the options changed, a line each."""
