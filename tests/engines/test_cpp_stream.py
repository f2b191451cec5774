"""What only the compiled engine's stream promises: a conversation stays in the cache, what is cancelled leaves it."""

from __future__ import annotations

import gc
import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.engines.cpp_stream import CppStream
from groupwise.kernels.decode import Decoder
from groupwise.networks import Blueprint, blueprint_of
from groupwise.types import Completion, CompletionEvent, Request, Sampling

PAGE = 16  # positions


def engine(model: Any, max_rows: int = 64, threads: int = 2) -> CppEngine:
    parts = blueprint_of(model)
    assert isinstance(parts, Blueprint)
    decoder = decoder_for(parts)
    assert isinstance(decoder, Decoder), decoder
    return CppEngine(model, parts, decoder, max_rows, threads)


def opened(sampler: CppEngine, sampling: Sampling, every_token: bool = False) -> CppStream:
    stream = sampler.stream(sampling, every_token)
    assert isinstance(stream, CppStream)
    return stream


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(random.Random(f"{length} {seed}").choices(range(2, 97), k=length))


Found = dict[tuple[int, int], Completion]


def drained(stream: CppStream) -> Found:
    events = (event for event in stream.events() if isinstance(event, CompletionEvent))
    return {(event.request, event.index): event.completion for event in events}


def generated(sampler: CppEngine, requests: list[Request], sampling: Sampling) -> Found:
    return {(number, index): one for number, index, one in sampler.generate(requests, sampling)}


def pages(positions: int) -> int:
    return -(-positions // PAGE)


def settled(stream: CppStream, held: int) -> bool:
    """Whether it comes to hold so many pages: a thread gives back what was cancelled at its next step."""
    patience = time.monotonic() + 300
    while stream.held() != held and time.monotonic() < patience:
        time.sleep(0.001)
    return stream.held() == held


def test_a_conversation_is_in_the_cache_once(make_model: Any) -> None:
    """Its prompt and every turn of it, whatever goes on; of what is not kept, nothing."""
    stream = opened(engine(make_model("qwen3")), Sampling(5))
    asked = Request(prompt(20), (1, 2), keep=True)
    number = stream.submit(asked)
    assert stream.held() == 0
    begun = drained(stream)
    length = 4  # the last token is not computed before something stands behind it
    assert stream.held() == pages(20) + 2 * pages(length)
    request = asked.resumed(number, 0, begun[0, 0].tokens, prompt(9))
    for turn in range(1, 3):
        number = stream.submit(request)
        [one] = drained(stream).values()
        length = len(request.forced) + len(one.tokens) - 1
        assert stream.held() == pages(20) + pages(length) + pages(4), turn
        request = request.resumed(number, 0, one.tokens, prompt(3, turn))
    last = stream.submit(replace(request, keep=False))
    drained(stream)
    assert stream.held() == pages(20) + pages(4)
    stream.cancel(last)
    stream.cancel(0)
    assert stream.held() == 0
    stream.submit(replace(asked, keep=False))
    drained(stream)
    assert stream.held() == 0
    stream.close()
    assert stream.held() == 0


def test_what_is_cancelled_leaves_the_cache(make_model: Any) -> None:
    """While it is drawn, while it waits, and when it is kept."""
    stream = opened(engine(make_model("qwen3"), max_rows=6), Sampling(50), every_token=True)
    running = [stream.submit(Request(prompt(5, seed), (1, 2, 3), keep=True)) for seed in range(4)]
    for count, _ in enumerate(stream.events()):
        if count == 10:
            for number in running:
                stream.cancel(number)
            assert settled(stream, 0)
            break
    stream.submit(Request(prompt(5), (1,)))
    assert len(drained(stream)) == 1
    stream.close()


@pytest.mark.parametrize("name", ["qwen3", "gemma3_text"])
def test_a_prompt_longer_than_any_before_is_the_same_prompt(make_model: Any, name: str) -> None:
    """The tables of the ropes grow while others read them."""
    model, sampling = make_model(name), Sampling(6)
    model.config.max_position_embeddings = 700
    asked = [Request(prompt(length), (1, 2)) for length in (3, 60, 5, 130, 600)]
    expected = generated(engine(model), asked, sampling)
    stream = opened(engine(model), sampling)
    stream.submit(asked[0])
    found = {}
    for event in stream.events():
        assert isinstance(event, CompletionEvent)
        found[event.request, event.index] = event.completion
        if len(asked) > event.request + 1 and event.index == 0:
            stream.submit(asked[event.request + 1])
    stream.close()
    assert found == expected


def test_what_the_reader_asks_for_is_handed_over_together(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that go on while events are read, each behind one that is cancelled at once: the bits of fresh requests."""
    sampler, sampling = engine(make_model("qwen3"), threads=1), Sampling(4)
    stream, handed, fresh, found = opened(sampler, sampling), list[int](), list[Request](), dict[int, Completion]()
    send = stream._send
    monkeypatch.setattr(stream, "_send", lambda batch: (handed.append(len(stream._unsent)), send(batch)))
    fresh += [Request(prompt(5, n), (n,), keep=True) for n in range(6)]
    for request in fresh:
        stream.submit(request)
    for event in stream.events():
        assert isinstance(event, CompletionEvent)
        found[event.request] = event.completion
        if event.request < 12:
            request = fresh[event.request].resumed(event.request, 0, event.completion.tokens, prompt(3))
            assert stream.submit(request) == len(fresh)
            stream.cancel(event.request)
            fresh.append(request)
    assert sum(handed) == len(fresh) == 18
    assert handed[0] == 6
    assert len(handed) < 13, "all that ended in one step go on together"
    alone = generated(sampler, [replace(each, follows=None, keep=False) for each in fresh], sampling)
    assert found == {number: one for (number, _), one in alone.items()}
    for number in range(12, 18):
        stream.cancel(number)
    assert stream.held() == 0
    stream.close()


def test_requests_come_and_go_from_other_threads(make_model: Any) -> None:
    """While one reads: what is not cancelled is what it always is."""
    sampler, sampling = engine(make_model("qwen3"), max_rows=9, threads=3), Sampling(20, stop_tokens=(1, 2, 3))
    asked = [Request(prompt(4 + number % 9, number), (number, number + 1)) for number in range(60)]
    expected = generated(sampler, asked, sampling)
    stream, cancelled, over = opened(sampler, sampling), set[int](), threading.Event()
    numbers: dict[int, int] = {}

    def submit(mine: range) -> None:
        for place in mine:
            number = stream.submit(asked[place])
            numbers[number] = place
            if place % 7 == 3:
                stream.cancel(number)
                cancelled.add(place)

    threads = [threading.Thread(target=submit, args=(range(start, 60, 3),)) for start in range(3)]

    def finish() -> None:
        for thread in threads:
            thread.join()
        over.set()

    for thread in (*threads, threading.Thread(target=finish)):
        thread.start()
    found = {}
    while not over.is_set() or not found or len(found) < 2 * (60 - len(cancelled)):
        found |= drained(stream)
    stream.close()
    placed = {(numbers[number], index): one for (number, index), one in found.items()}
    assert {place: one for place, one in placed.items() if place[0] not in cancelled} == {
        place: one for place, one in expected.items() if place[0] not in cancelled
    }
    assert len(cancelled) == 9


class Failing:
    """A decoder that runs out of memory in a few of its calls, until it has room for one row alone."""

    def __init__(self, decoder: Decoder, seed: int) -> None:
        self.decoder, self.dice, self.failures = decoder, random.Random(seed), 0

    def begin(self, weights: Any, rules: Any) -> Any:
        batch = self.decoder.begin(weights, rules)
        for name in ("poll", "submit"):
            setattr(batch, name, self.failing(getattr(batch, name), rules.max_rows))
        return batch

    def failing(self, call: Any, rows: int) -> Any:
        def failing(*arguments: Any) -> Any:
            if rows > 1 and self.dice.random() < 0.3:
                self.failures += 1
                raise MemoryError("out of memory in sampling")
            return call(*arguments)

        return failing


@pytest.mark.parametrize("seed", range(6))
def test_a_conversation_outlives_memory_that_ran_out(make_model: Any, seed: int) -> None:
    """What was kept is lost, and computed again: the same bits; each completion comes once."""
    model, sampling = make_model("qwen3"), Sampling(6, stop_tokens=(1, 2, 3))
    sampler = engine(model, max_rows=64)
    sampler.decoder = failing = Failing(sampler.decoder, seed)  # type: ignore[assignment]
    stream, fresh, found = opened(sampler, sampling), list[Request](), {}
    turns = {stream.submit(Request(prompt(5, n), (n, n + 9), keep=True)): 1 for n in range(4)}
    fresh += [Request(prompt(5, n), (n, n + 9), keep=True) for n in range(4)]
    for event in stream.events():
        assert isinstance(event, CompletionEvent)
        assert (event.request, event.index) not in found
        found[event.request, event.index] = event.completion
        if turns[event.request] < 4:
            request = fresh[event.request].resumed(event.request, event.index, event.completion.tokens, prompt(4))
            turns[stream.submit(request)] = turns[event.request] + 1
            fresh.append(request)
    stream.close()
    assert failing.failures > 0
    assert len(found) == 4 * 2 * 4
    assert found == generated(engine(model), [replace(each, follows=None, keep=False) for each in fresh], sampling)


def test_a_stream_that_nobody_has_any_more_ends_its_threads(make_model: Any) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    if not Path("/proc/self/task").exists():
        pytest.skip("threads of other languages are counted in /proc alone")
    before = count()
    stream = opened(engine(make_model("qwen3"), threads=4), Sampling(50))
    stream.submit(Request(prompt(5), tuple(range(50))))
    next(stream.events())
    assert count() > before
    del stream
    gc.collect()
    patience = time.monotonic() + 300
    while count() > before and time.monotonic() < patience:  # the kernel lists a thread a moment longer
        time.sleep(0.001)
    assert count() <= before
