"""What tests of vLLM servers share: stand-ins, engines on them, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stand_in import Faults, StandIn

from groupwise.engines import VLLMServers
from groupwise.engines.vllm_engine import VLLMEngine
from groupwise.types import Completion, Request, Sampling

REQUESTS = [Request((5 + row, 9, 3 + row), tuple(range(8 * row, 8 * row + 4))) for row in range(15)]
SAMPLING = Sampling(12, stop_tokens=(1, 2, 3))
Found = dict[tuple[int, int], Completion]


class Place:
    """Opens servers and engines on them, and closes what it opened."""

    def __init__(self, model: Any, tokenizer: Any, folder: Path) -> None:
        self.model, self.tokenizer, self.folder = model, tokenizer, folder
        self.servers: list[StandIn] = []
        self.notes: list[str] = []

    def serve(self, faults: Faults | None = None) -> StandIn:
        self.servers.append(StandIn(self.model, self.tokenizer, faults))
        return self.servers[-1]

    def open(self, **options: Any) -> VLLMEngine:
        urls = tuple(server.url for server in self.servers)
        config = VLLMServers(urls, str(self.folder / "weights"), **options)
        engine = config.open("nowhere", self.model, self.tokenizer, self.notes.append)
        assert isinstance(engine, VLLMEngine)
        return engine

    def loaded(self, version: int = 1, **options: Any) -> VLLMEngine:
        engine = self.open(**options)
        engine.load(self.model.named_parameters(), version)
        return engine

    def close(self) -> None:
        for server in self.servers:
            server.close()


def drawn(engine: VLLMEngine, requests: int = len(REQUESTS)) -> Found:
    """Completions of the first requests, by request and index: each of them once."""
    found = Found()
    for row, index, completion in engine.generate(REQUESTS[:requests], SAMPLING):
        assert (row, index) not in found
        found[row, index] = completion
    return found


def same(found: Found, expected: Found, requests: int = len(REQUESTS)) -> None:
    """Whether what is found of the first requests is what is expected, and whole."""
    expected = {at: one for at, one in expected.items() if at[0] < requests}
    assert {at: one.tokens for at, one in found.items()} == {at: one.tokens for at, one in expected.items()}
    for at, one in found.items():
        assert one.logprobs == pytest.approx(expected[at].logprobs, abs=1e-5)
        assert one.finished == expected[at].finished
