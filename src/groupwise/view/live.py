"""This module tells an open page what its runs have written since: server-sent events, a few looks a second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from groupwise.view.index import LedgerIndex
from groupwise.view.run_files import Changes, RunFiles

EVERY = 0.25  # seconds
ALIVE = 15.0
"""So often something is sent, so that a connection that is gone is noticed."""
KEPT = 4096  # events


class Pulse:
    """This looks at all runs while any page is open, once for all pages."""

    def __init__(self, runs: Sequence[RunFiles], indices: Sequence[LedgerIndex]) -> None:
        self.runs, self.indices = runs, indices
        self._events: list[tuple[int, str]] = []
        self._count = 0
        self._versions = [-1] * len(runs)
        self._looking = asyncio.Lock()
        for run in runs:
            run.look()

    async def events(self) -> AsyncIterator[str]:
        """Yields events as the stream has them, from now on."""
        heard, quiet = self._count, 0.0  # before the page is told to read: what comes meanwhile is told
        yield "event: hello\ndata: {}\n\n"
        while True:
            await self._look()
            fresh = [text for number, text in self._events if number > heard]
            heard = self._count
            for text in fresh:
                yield f"data: {text}\n\n"
            quiet = 0.0 if fresh else quiet + EVERY
            if quiet >= ALIVE:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(EVERY)

    async def _look(self) -> None:
        """Looks unless somebody else just does."""
        if self._looking.locked():
            return
        async with self._looking:
            for number, (run, index) in enumerate(zip(self.runs, self.indices, strict=True)):
                changes = await asyncio.to_thread(run.look)
                event = self._event(number, changes, index)
                if event:
                    self._count += 1
                    self._events = [*self._events[-KEPT:], (self._count, json.dumps(event, allow_nan=False))]

    def _event(self, number: int, changes: Changes, index: LedgerIndex) -> dict[str, Any] | None:
        """Returns what a page is told; None where nothing has changed."""
        told: dict[str, Any] = {}
        if changes.again:
            told["again"] = True
        elif changes.rows:
            told["rows"] = True
        if changes.record:
            told["about"] = True
        if index.version != self._versions[number]:
            self._versions[number] = index.version
            told["ledger"] = index.progress
        return {"run": number, **told} if told else None
