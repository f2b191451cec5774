"""This module runs the viewer's server on this machine until somebody stops it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyarrow
import uvicorn

from groupwise.errors import UserError
from groupwise.view.answers import Answers
from groupwise.view.index import Indexer
from groupwise.view.run_files import RunFiles
from groupwise.view.server import application
from groupwise.view.what_if import WhatIf

NICENESS = 10
"""A run at work on this machine goes first."""


def serve(
    runs: Sequence[RunFiles],
    explain: Sequence[str],
    methods: Sequence[tuple[str, str]],
    token: str,
    port: int,
    introduce: Callable[[int], None],
) -> None:
    """Serves at ``port``, 0: any that is free, and tells which once it listens. Raises UserError where it is taken."""
    with suppress(OSError):
        os.nice(NICENESS)
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # the others keep what they once had
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    listening = _listen(port)
    port = listening.getsockname()[1]
    answers = Answers.of(runs, WhatIf(explain), methods)
    indexer = Indexer(list(answers.indices))
    config = uvicorn.Config(
        application(answers, token, port),
        log_level="critical",
        access_log=False,
        http="h11",
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    try:
        indexer.start()
        introduce(port)
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        indexer.close()
        if answers.explain:
            answers.explain.close()
        listening.close()


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UserError(f"--port {port}: {error.strerror}; choose another, or 0 for any that is free") from None
    return listening
