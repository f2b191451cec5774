"""What an open page is told while its runs write."""

from __future__ import annotations

import asyncio
import json

from groupwise.view.index import LedgerIndex
from groupwise.view.live import Pulse
from groupwise.view.run_files import RunFiles


async def next_event(stream):
    """The next thing that is told; fails where nothing comes."""
    while True:
        text = await asyncio.wait_for(anext(stream), timeout=600)
        if text.startswith("data: "):
            return json.loads(text.removeprefix("data: "))


def test_what_another_page_brings_up_while_a_page_begins_to_read_is_told_to_both(make_run, hand):
    """A page reads once it has heard "hello"; what is written from then on it must be told, whoever looked first."""
    directory = make_run()

    async def told():
        pulse = Pulse([RunFiles(directory)], [LedgerIndex(directory / "ledger")])
        other, page = pulse.events(), pulse.events()
        await anext(other)
        await next_event(other)  # of the ledger, which every page is told once
        assert "hello" in await anext(page)
        hand.write_metrics(directory, 4)
        found = [await next_event(other), await next_event(page)]
        for stream in (other, page):
            await stream.aclose()
        return found

    assert asyncio.run(told()) == [{"run": 0, "rows": True}] * 2
