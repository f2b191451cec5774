"""Lanes: every unit once, whoever does it; they belong to their owner, and no number depends on them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groupwise.kernels import learn
from groupwise.kernels import tile_threads as module
from groupwise.kernels.tile_threads import TileThreads, own_threads

kernels = pytest.mark.skipif(bool(learn.why_not()), reason=f"no kernels here: {learn.why_not()}")


def thread_ids() -> set[str]:
    place = Path("/proc/self/task")
    if not place.exists():
        pytest.skip("threads of other languages are listed in /proc alone")
    return {each.name for each in place.iterdir()}


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_every_unit_is_done_once(count: int) -> None:
    done: list[int] = []
    TileThreads(3).each(count, done.append)
    assert sorted(done) == list(range(count))


def test_who_is_held_up_does_less() -> None:
    """One lane hangs on its first unit: the other does all that is left."""
    gate, by = threading.Event(), dict[int, int]()

    def work(unit: int) -> None:
        by[unit] = threading.get_ident()
        if unit == 0:
            assert gate.wait(60)
        elif len(by) == 20:
            gate.set()

    TileThreads(2).each(20, work)
    assert len(set(by.values())) == 2
    assert sum(owner == by[0] for owner in by.values()) == 1


def test_sums_go_in_the_tiles_order_whoever_makes_them() -> None:
    tiles = [slice(n, n + 1) for n in range(30)]
    terms = numbers(30, 5) * 10 ** numbers(30, 1)

    def total(count: int) -> list[Tensor]:
        def work(tile: slice, sums: list[Tensor]) -> None:
            time.sleep(0.001 * (tile.start % 3))
            sums[0] += terms[tile].sum(0)

        whole, nothing = TileThreads(count).summed(tiles, (terms[0], None), work)
        assert nothing is None
        return [whole]

    [expected] = total(1)
    torch.testing.assert_close(expected, terms.sum(0), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(total(count)[0], expected) for count in (2, 3, 8))


def test_gradients_and_inference_are_those_of_the_caller() -> None:
    modes: list[tuple[bool, bool]] = []

    def work(_: int) -> None:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    pool = TileThreads(3)
    pool.each(3, work)
    with torch.inference_mode():
        pool.each(3, work)
    assert modes == [(False, False)] * 3 + [(False, True)] * 3


def test_an_error_in_a_lane_reaches_the_caller() -> None:
    def work(unit: int) -> None:
        if unit == 2:
            raise ValueError("unit 2")

    with pytest.raises(ValueError, match="unit 2"):
        TileThreads(3).each(3, work)


def test_what_was_before_is_so_again() -> None:
    before, pool = torch.get_num_threads(), TileThreads(3)
    with pool.inside(tiled=True):
        assert torch.get_num_threads() == 1
        with pool.inside(tiled=False):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(module._per_thread() is None, reason="torch without OpenMP or MKL")
def test_torchs_threads_in_one_thread_are_no_matter_of_another() -> None:
    """Two learners, each with its own number; and what a thread that is new begins with stays as it was."""
    seen, inside, leave = dict[str, list[int]](), threading.Barrier(3), threading.Event()

    def learner(name: str, count: int) -> None:
        seen[name] = [torch.get_num_threads()]
        with TileThreads(count).inside(tiled=False):
            inside.wait(60)
            seen[name].append(torch.get_num_threads())
            assert leave.wait(60)
        seen[name].append(torch.get_num_threads())

    def newcomer() -> None:
        seen["new"] = [torch.get_num_threads()]

    others = [threading.Thread(target=learner, args=given) for given in (("a", 5), ("b", 7))]
    for other in others:
        other.start()
    inside.wait(60)
    late = threading.Thread(target=newcomer)
    late.start()
    late.join()
    leave.set()
    for other in others:
        other.join()
    first = seen["a"][0]
    assert seen == {"a": [first, 5, first], "b": [first, 7, first], "new": [first]}


@kernels
def test_threads_end_with_their_owner() -> None:
    """Told by their ids: others of the process may end meanwhile."""
    before, pool = thread_ids(), TileThreads(4)
    x = numbers(1000, 48)
    expected = learn.norm(x, x[0], 1e-6, TileThreads(1))
    assert torch.equal(learn.norm(x, x[0], 1e-6, pool), expected)
    made = thread_ids() - before
    assert len(made) == 3
    pool.count = 2
    assert not made & thread_ids()
    assert torch.equal(learn.norm(x, x[0], 1e-6, pool), expected)
    assert len(again := thread_ids() - before) == 1
    del pool
    assert not again & thread_ids()


@kernels
def test_a_child_of_the_process_has_lanes_of_its_own() -> None:
    pool, x = TileThreads(2), numbers(1000, 48)
    expected = learn.norm(x, x[0], 1e-6, pool)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(learn.norm(x, x[0], 1e-6, pool), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(learn.norm(x, x[0], 1e-6, pool), expected)


@kernels
def test_two_threads_that_share_lanes_do_not_meet() -> None:
    pool, x, wrong = TileThreads(3), numbers(3000, 48), []
    expected = learn.norm(x, x[0], 1e-6, TileThreads(1))

    def work() -> None:
        for _ in range(30):
            if not torch.equal(learn.norm(x, x[0], 1e-6, pool), expected):
                wrong.append(1)

    others = [threading.Thread(target=work) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert not wrong


def test_own_threads_is_undone() -> None:
    before = torch.get_num_threads()
    again = own_threads(before + 2)
    assert torch.get_num_threads() == before + 2
    again()
    assert torch.get_num_threads() == before


def no_more_than(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives so many further threads at once."""
    real, alive = threading.Thread.start, list[threading.Thread]()

    def start(thread: threading.Thread) -> None:
        if sum(each.is_alive() for each in alive) >= count:
            raise RuntimeError("can't start new thread")
        real(thread)
        alive.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.parametrize(("given", "found"), [(0, 1), (1, 2), (2, 3), (3, 4), (9, 4)])
def test_threads_are_tried_before_they_are_promised(given: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_than(given, monkeypatch)
    before = threading.active_count()
    assert module.available_threads(4) == found
    assert threading.active_count() == before
    assert module.available_threads(1) == 1


@pytest.mark.parametrize("given", [0, 2, 99])
def test_where_threads_are_few_nobody_makes_some_of_their_own(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    for name in ("HF_DEACTIVATE_ASYNC_LOAD", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "")
    no_more_than(given, monkeypatch)
    before = torch.get_num_threads()
    try:
        said = module.keep_to_available_threads()
        assert torch.get_num_threads() == (before if given == 99 else 1)
        restore = module.own_threads(3)
        assert torch.get_num_threads() == (3 if given == 99 else 1)
        restore()
    finally:
        torch.set_num_threads(before)
        module._FEW.clear()
    few = given != 99
    assert (f"the system gives {given + 1} threads, fewer than {2 * before + 4 + 4 + 3}" in said) == few
    assert os.environ["HF_DEACTIVATE_ASYNC_LOAD"] == ("1" if few else "")
    assert os.environ["TOKENIZERS_PARALLELISM"] == ("false" if few else "")
