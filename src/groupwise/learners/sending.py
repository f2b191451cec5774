"""A long message is sent to another process by a thread of its own, so that one who reads nothing holds nobody up."""

from __future__ import annotations

import pickle
import threading
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from groupwise.errors import UserError

SHORT_BYTES = 32_768
"""So much a socket takes although nobody reads it: a process that answers has read all that it was told."""


class Sending:
    """This sends a long message in a thread of its own."""

    def __init__(self, link: Connection, data: bytes) -> None:
        self.error: OSError | TypeError | None = None
        self._link, self._data = link, data
        self._thread = threading.Thread(target=self._send, name="tell", daemon=True)
        self._thread.start()

    def _send(self) -> None:
        try:
            self._link.send_bytes(self._data)
        except (OSError, TypeError) as error:  # the latter where it is closed meanwhile
            self.error = error

    def ended(self, seconds: float) -> bool:
        """Waits for so long at most, and says whether it is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


def packed(message: Any) -> bytes:
    """Returns a message in bytes, with the classes of a recipe's own file in it. Raises UserError for what can't
    travel."""
    try:
        return bytes(cloudpickle.dumps(message))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"learner FSDP: the other processes can't be told of this algorithm ({error}); expected slots that hold "
            "plain values"
        ) from error
