"""Stop strings, for engines that sample in Python."""

from __future__ import annotations

from groupwise.types import Sampling


class StopText:
    """What one completion has said so far, as far as a stop string may lie in it."""

    def __init__(self, sampling: Sampling) -> None:
        self._stops = [text.encode() for text in sampling.stop_strings]
        self._pieces = sampling.pieces
        self._reach = max(map(len, self._stops), default=1) - 1
        self._text = b""

    def ends_with(self, token: int) -> bool:
        """Whether a stop string is complete with ``token``, the completion's next."""
        text = self._text + (self._pieces[token] if token < len(self._pieces) else b"")
        self._text = text[-self._reach :] if self._reach else b""
        return any(stop in text for stop in self._stops)
