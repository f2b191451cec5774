"""Lanes: every tile once, in the lane that is its own, as the caller's thread would have done it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from groupwise.kernels import lanes


@pytest.fixture
def three() -> Iterator[None]:
    with lanes.open_lanes(3):
        yield


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_tiles_go_to_their_lanes(count: int) -> None:
    done: list[tuple[int, int]] = []
    lanes.each_tile([slice(n, n + 1) for n in range(count)], lambda tile, lane: done.append((tile.start, lane)))
    assert sorted(done) == [(n, n % min(3, count)) for n in range(count)]


@pytest.mark.usefixtures("three")
def test_sums_of_lanes_are_added_up() -> None:
    sums = lanes.zeros(torch.ones(2), torch.ones(1, 3))
    assert len(sums) == 3
    for lane, (first, second) in enumerate(sums):
        first += lane
        second -= 1
    found = lanes.total(sums)
    assert [part.tolist() for part in found] == [[3.0, 3.0], [[-3.0, -3.0, -3.0]]]


@pytest.mark.usefixtures("three")
def test_gradients_and_inference_are_those_of_the_caller() -> None:
    modes: list[tuple[bool, bool]] = []

    def work(tile: slice, lane: int) -> None:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    tiles = [slice(n, n + 1) for n in range(3)]
    lanes.each_tile(tiles, work)
    with torch.inference_mode():
        lanes.each_tile(tiles, work)
    assert modes == [(False, False)] * 3 + [(False, True)] * 3


@pytest.mark.usefixtures("three")
def test_an_error_in_a_lane_reaches_the_caller() -> None:
    def work(tile: slice, lane: int) -> None:
        if lane == 2:
            raise ValueError("lane 2")

    with pytest.raises(ValueError, match="lane 2"):
        lanes.each_tile([slice(n, n + 1) for n in range(3)], work)


def test_what_was_before_is_so_again() -> None:
    def now() -> tuple[int, int]:
        return lanes.count(), torch.get_num_threads()

    assert now() == (1, 1)
    with lanes.open_lanes(3):
        assert now() == (3, 1)
        with lanes.open_lanes(2, tiled=False):
            assert now() == (1, 2)
        assert now() == (3, 1)
    assert now() == (1, 1)
