"""Weights that are sent to vLLM servers, over another wire than NCCL: who says what when, and what fails how."""

from __future__ import annotations

import base64
import queue
import threading
from typing import Any

import pytest
import torch
from served import Place, drawn
from stand_in import Faults
from torch import Tensor

from groupwise.engines import nccl_transfer
from groupwise.engines.nccl_transfer import UNIQUE_BYTES, Nccl, Transfers
from groupwise.errors import UserError

NAME = bytes(range(UNIQUE_BYTES))


class Wire:
    """What a library does, from thread to thread: the learner's side, and that of the server."""

    def __init__(self) -> None:
        self.sent = queue.SimpleQueue[Tensor]()
        self.there, self.met, self.left = threading.Event(), threading.Event(), 0

    def unique_id(self) -> bytes:
        return NAME

    def join(self, count: int, unique_id: bytes) -> int:
        assert (count, unique_id) == (2, NAME)
        assert self.there.wait(60)
        return 0

    def meet(self, member: int) -> None:
        self.met.set()

    def send(self, member: int, tensor: Tensor) -> None:
        self.sent.put(tensor.clone())

    def leave(self, member: int) -> None:
        self.left += 1

    def joined(self, name: str) -> None:
        """Called by the server: it is there, and waits for the others, as NCCL does."""
        assert base64.b64decode(name) == NAME
        if not self.met.is_set():
            self.there.wait(0.5)  # longer than a refusal takes here
        self.there.set()
        assert self.met.wait(60)

    def received(self) -> Tensor:
        return self.sent.get(timeout=60)


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A refusal is waited for as long as a busy machine needs, where one comes."""
    seconds = 60.0 if "none_this_way" in request.node.name else 0.2
    monkeypatch.setattr(nccl_transfer, "REFUSAL_SECONDS", seconds)


def sending(place: Place, wire: Wire, **faults: Any) -> Any:
    place.serve(Faults(wire=wire, **faults))
    engine = place.open(transfer="nccl")
    engine.transfers = Transfers(wire)
    return engine


def test_weights_are_sent_one_after_the_other(place: Place) -> None:
    """By one link for all versions; the probe says that they arrived, the tied head's too."""
    wire = Wire()
    engine = sending(place, wire)
    before = {name: weight.clone() for name, weight in place.model.named_parameters()}
    try:
        for version in (1, 2):
            for weight in place.model.parameters():
                weight.mul_(1.05)
            engine.load(place.model.named_parameters(), version)
    finally:
        for name, weight in place.model.named_parameters():
            weight.copy_(before[name])
    [server] = place.servers
    assert engine.gaps == pytest.approx([0, 0], abs=1e-5)
    assert (server.updates, server.version, wire.left) == (2, "2", 0)
    assert {one.version for one in drawn(engine).values()} == {2}
    assert [path.name for path in (place.folder / "weights").iterdir()] == [".lock"]


def test_a_server_that_takes_none_this_way_is_one_line(place: Place) -> None:
    """It was started without, so that it says no before there is a group."""
    engine = sending(place, Wire(), refuses={"/init_weight_transfer_engine": (500, "no transfer is configured")})
    with pytest.raises(UserError, match=r"no transfer is configured; the server lives .*--vllm --transfer nccl does"):
        engine.load(place.model.named_parameters(), 1)


def test_a_server_that_refuses_a_version_is_one_line(place: Place) -> None:
    engine = sending(place, Wire(), refuses={"/update_weights": (400, "shapes differ")})
    with pytest.raises(UserError, match="shapes differ; the server lives and does not take version 1"):
        engine.load(place.model.named_parameters(), 1)


def test_without_a_gpu_there_is_no_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no GPU is here; expected engine\.transfer folder"):
        Nccl()
