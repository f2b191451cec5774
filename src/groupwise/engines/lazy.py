"""An engine that is opened when it is first asked: of a policy that a stage may sample from and does not train."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Sampling

if TYPE_CHECKING:
    from torch import Tensor


class Lazy(RolloutEngine):
    """Samples from what ``open`` opens. Weights that it is given are another network's: they are not loaded, and what
    was opened is let go, so that its memory is free while that network learns."""

    version = 0

    def __init__(self, context_tokens: int, open: Callable[[], RolloutEngine]) -> None:
        self.context_tokens = context_tokens
        self._open = open
        self._engine: RolloutEngine | None = None

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens the engine where it is not open yet, and a stream on it. Raises what ``open`` raises."""
        if self._engine is None:
            self._engine = self._open()
        return self._engine.stream(sampling, every_token)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Closes the engine that is open: the weights are another network's."""
        self._engine = None
