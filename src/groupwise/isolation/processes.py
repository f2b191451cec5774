"""This module speaks of processes that the system does not give: an error that says so, of every reward that needs
one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from groupwise.errors import UserError

NONE_LEFT = (errno.EAGAIN, errno.ENOMEM)


@contextmanager
def process_creation(what: str) -> Iterator[None]:
    """Raises UserError where a process can't be made within; ``what`` it was for."""
    try:
        yield
    except OSError as error:
        if error.errno not in NONE_LEFT:
            raise
        raise UserError(
            f"a process for {what} can't be made: {error.strerror}; this user may have no more (ulimit -u), a "
            "container no more (pids.max), or memory ran out: expected room for at least three; end others or raise it"
        ) from error
