"""What every engine promises as a stream: an engine joins by one line in ``ENGINES``."""

from __future__ import annotations

import json
import queue
import random
import tempfile
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from stand_in import StandIn

from groupwise.engines import Native
from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.engines.torch_engine import TorchEngine
from groupwise.engines.transformers_engine import TransformersEngine
from groupwise.engines.vllm_client import Address, Client
from groupwise.engines.vllm_engine import VLLMEngine
from groupwise.engines.vllm_servers import Rules, Server, Servers
from groupwise.networks import blueprint_of
from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Completion, CompletionEvent, Request, Sampling, TokenEvent

CONTEXT = 96
SPELLED = tuple(bytes([97 + id % 6]) * (2 if id % 5 == 0 else 1) for id in range(90))
"""Id t spells the letter t % 6, twice where t % 5 is 0; ids from 90 on spell nothing."""


def compiled(model: Any, max_rows: int) -> RolloutEngine:
    parts = blueprint_of(model)
    assert not isinstance(parts, str), parts
    decoder = decoder_for(parts)
    assert not isinstance(decoder, str), decoder
    return CppEngine(model, parts, decoder, max_rows, threads=2, spelling=lambda: SPELLED)


def native(model: Any, max_rows: int) -> RolloutEngine:
    parts = blueprint_of(model)
    assert not isinstance(parts, str), parts
    return TorchEngine(model, parts, max_rows, spelling=lambda: SPELLED)


def general(model: Any, max_rows: int) -> RolloutEngine:
    return TransformersEngine(model, max_rows, lambda: SPELLED)


class Distant(RolloutEngine):
    """An engine behind a wire, as a server is: requests and completions cross it as JSON, one after the other."""

    def __init__(self, model: Any, max_rows: int) -> None:
        self.behind = general(model, max_rows)
        self.version, self.context_tokens = 0, self.behind.context_tokens

    def load(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        self.behind.load(weights, version)
        self.version = version

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        return Wire(self, sampling)


class Wire(Stream):
    def __init__(self, engine: Distant, sampling: Sampling) -> None:
        self.engine, self.sampling, self.count, self.left = engine, sampling, 0, dict[int, int]()
        self.there, self.back = queue.SimpleQueue[str](), queue.SimpleQueue[str]()
        self.server = threading.Thread(target=self.serve, daemon=True)
        self.server.start()

    def serve(self) -> None:
        while line := self.there.get():
            asked = json.loads(line)
            if asked[0] not in self.left:
                continue
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in asked[1].items()}
            for _, index, completion in self.engine.behind.generate([Request(**given)], self.sampling):
                self.back.put(json.dumps([asked[0], index, asdict(completion)]))

    def submit(self, request: Request) -> int:
        if not request.tokens or len(request.tokens) + len(request.forced) >= self.engine.context_tokens:
            raise ValueError(f"request {self.count}: too long")
        number, self.count = self.count, self.count + 1
        if request.seeds:
            self.left[number] = len(request.seeds)
            self.there.put(json.dumps([number, asdict(request)]))
        return number

    def events(self) -> Iterator[TokenEvent | CompletionEvent]:
        while self.left:
            number, index, said = json.loads(self.back.get(timeout=600))
            support = said.pop("support")
            said = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
            events: list[TokenEvent | CompletionEvent] = [TokenEvent(number, index, token) for token in said["tokens"]]
            events.append(
                CompletionEvent(number, index, Completion(**said, support=support and (*map(tuple, support),)))
            )
            for event in events:
                if number in self.left:
                    yield event
            if number in self.left:
                self.left[number] -= 1
            if not self.left.get(number, 1):
                del self.left[number]

    def cancel(self, number: int) -> None:
        self.left.pop(number, None)

    def close(self) -> None:
        self.left.clear()
        self.there.put("")
        self.server.join()


def servers(model: Any, max_rows: int) -> RolloutEngine:
    """On one server, by the routes of vLLM."""
    folder = tempfile.TemporaryDirectory()
    stand_in = StandIn(model)
    rules = Rules(Path(folder.name), concurrent=max_rows)
    found = Servers([Server(Client(Address.of(stand_in.url), 60.0))], print)
    engine = VLLMEngine(rules, found, None, model.config, CONTEXT, lambda: SPELLED, print)
    weakref.finalize(engine, lambda: (stand_in.close(), folder.cleanup()))
    return engine


ENGINES: dict[str, Callable[[Any, int], RolloutEngine]] = {
    "compiled": compiled,
    "torch": native,
    "transformers": general,
    "distant": Distant,
    "servers": servers,
}
ANEW = {"servers"}
"""Engines in which what goes on behind forced tokens begins a random stream of its own, and that narrow no choice."""
EXACT = {"compiled"}
"""Engines whose log-probabilities have the same bits whatever is computed beside them."""


@pytest.fixture(scope="module")
def model() -> Any:
    sizes = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.15}
    torch.manual_seed(3)
    config = transformers.Qwen3Config(**sizes, **heads, max_position_embeddings=CONTEXT, eos_token_id=1)
    return transformers.Qwen3ForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture(params=list(ENGINES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(name: str, model: Any) -> RolloutEngine:
    return ENGINES[name](model, 5)


Found = dict[tuple[int, int], Completion]


def drained(stream: Stream) -> Found:
    """Completions by request and index; each comes once, and behind its tokens."""
    found, tokens = Found(), defaultdict[tuple[int, int], list[int]](list)
    for event in stream.events():
        place = event.request, event.index
        assert place not in found
        if isinstance(event, TokenEvent):
            tokens[place].append(event.token)
        else:
            found[place] = event.completion
    assert all(tuple(tokens[place]) == found[place].tokens for place in tokens)
    return found


def generated(engine: RolloutEngine, requests: Sequence[Request], sampling: Sampling) -> Found:
    return {(number, index): completion for number, index, completion in engine.generate(requests, sampling)}


def agree(name: str, found: Found, expected: Found) -> None:
    if name in EXACT:
        assert found == expected
        return
    assert {place: one.tokens for place, one in found.items()} == {place: one.tokens for place, one in expected.items()}
    for place, one in found.items():
        assert one.logprobs == pytest.approx(expected[place].logprobs, abs=1e-5)
        assert (one.finished, one.version, one.support) == (
            expected[place].finished, expected[place].version, expected[place].support
        )  # fmt: skip


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(random.Random(f"{length} {seed}").choices(range(2, 97), k=length))


REQUESTS = [Request(prompt(length), tuple(range(9 * length, 9 * length + 3))) for length in (3, 16, 7, 17, 3)]
STOPS = Sampling(12, stop_tokens=(1, 2, 3, 4, 5, 6))


def test_generate_is_a_stream_that_ends(name: str, engine: RolloutEngine) -> None:
    expected = generated(engine, REQUESTS, STOPS)
    stream = engine.stream(STOPS, every_token=True)
    assert [stream.submit(request) for request in REQUESTS] == [0, 1, 2, 3, 4]
    agree(name, drained(stream), expected)
    assert drained(stream) == {}
    stream.close()
    assert len(expected) == 15
    assert {one.finished for one in expected.values()} == {True, False}


def test_without_every_token_events_are_completions(engine: RolloutEngine, name: str) -> None:
    stream = engine.stream(STOPS)
    stream.submit(REQUESTS[0])
    kinds = {type(event) for event in stream.events()}
    stream.close()
    assert kinds == ({TokenEvent, CompletionEvent} if name == "distant" else {CompletionEvent})


def test_requests_may_come_while_events_are_read(name: str, engine: RolloutEngine) -> None:
    """Of any size, before and after the stream has run dry."""
    expected = generated(engine, REQUESTS, STOPS)
    stream, waiting, found = engine.stream(STOPS), REQUESTS[:], Found()
    stream.submit(waiting.pop(0))
    for event in stream.events():
        if waiting:
            stream.submit(waiting.pop(0))
        assert isinstance(event, CompletionEvent | TokenEvent)
        if isinstance(event, CompletionEvent):
            found[event.request, event.index] = event.completion
    agree(name, found, {place: one for place, one in expected.items() if place in found})
    assert len(found) >= 4 * 3
    long = Request(prompt(60), (5, 6))
    number = stream.submit(long)
    alone = drained(stream)
    stream.close()
    agree(name, {(0, index): one for (_, index), one in alone.items()}, generated(engine, [long], STOPS))
    assert {place[0] for place in alone} == {number}


def test_a_cancelled_request_is_not_heard_of_any_more(name: str, engine: RolloutEngine) -> None:
    """One that waits, one that runs, one that is over, one that never was; the others are as they would be."""
    many = [Request(prompt(5, seed), tuple(range(4 * seed, 4 * seed + 4))) for seed in range(6)]
    expected = generated(engine, many, Sampling(12))
    stream, found, ended = engine.stream(Sampling(12)), Found(), -1
    for request in many:
        stream.submit(request)
    stream.cancel(5)
    for event in stream.events():
        assert event.request not in (ended, 5)
        if isinstance(event, CompletionEvent):
            found[event.request, event.index] = event.completion
            if ended < 0:
                ended = event.request
                stream.cancel(ended)
                stream.cancel(99)
    stream.cancel(ended)
    stream.close()
    assert {number for number, _ in found} == {0, 1, 2, 3, 4}
    assert sum(number == ended for number, _ in found) == 1
    assert sum(number != ended for number, _ in found) == 16
    agree(name, found, {place: expected[place] for place in found})


def test_what_is_all_cancelled_is_over(engine: RolloutEngine) -> None:
    stream = engine.stream(Sampling(40))
    numbers = [stream.submit(request) for request in REQUESTS]
    for event in stream.events():
        assert isinstance(event, CompletionEvent | TokenEvent)
        for number in numbers:
            stream.cancel(number)
    numbers = [stream.submit(request) for request in REQUESTS]
    for number in numbers:
        stream.cancel(number)
    assert drained(stream) == {}
    stream.close()


@pytest.mark.parametrize("rule", [{}, {"temperature": 0.0}, {"top_k": 5, "temperature": 0.8}, {"min_p": 0.05}], ids=str)
def test_a_completion_goes_on_as_if_it_had_never_stopped(
    name: str, engine: RolloutEngine, rule: dict[str, Any]
) -> None:
    """Cut after five tokens, or two, and resumed: the tokens of one that was never cut."""
    if name in ANEW:
        pytest.skip("its random streams begin anew behind forced tokens")
    whole, part = Sampling(15, **rule), Sampling(15, **rule)
    asked = Request(prompt(11), (7, 8, 9), keep=True)
    expected = generated(engine, [asked], whole)
    stream = engine.stream(part)
    stream.submit(replace(asked, max_tokens=5))
    begun = drained(stream)
    for index in range(3):
        stream.submit(replace(asked, max_tokens=10).resumed(0, index, begun[0, index].tokens))
    ended = drained(stream)
    stream.close()
    assert sorted(ended) == [(1, 0), (2, 0), (3, 0)]
    joined = {}
    for index in range(3):
        first, rest = begun[0, index], ended[index + 1, 0]
        assert (len(first.tokens), len(rest.tokens)) == (5, 10)
        support = None if first.support is None else first.support + (rest.support or ())
        tokens, logprobs = first.tokens + rest.tokens, first.logprobs + rest.logprobs
        joined[0, index] = Completion(tokens, logprobs, rest.finished, rest.version, support)
    agree(name, joined, expected)


@pytest.mark.parametrize("said", [1, 3, 16, 40])
def test_a_resumed_completion_is_that_of_a_fresh_request(
    name: str, engine: RolloutEngine, model: Any, said: int
) -> None:
    """Whatever an environment said, and whether or not the engine kept anything."""
    asked = Request(prompt(13), (3, 4, 5), keep=True)
    stream = engine.stream(STOPS)
    number = stream.submit(asked)
    begun = drained(stream)
    nexts = [asked.resumed(number, i, begun[number, i].tokens, prompt(said, i)) for i in range(3)]
    numbers = [stream.submit(request) for request in nexts]
    ended = drained(stream)
    stream.close()
    fresh = [replace(request, keep=False, follows=None) for request in nexts]
    agree(name, ended, {(numbers[i], 0): one for (i, _), one in generated(engine, fresh, STOPS).items()})
    for number, request in zip(numbers, fresh, strict=True):  # and what the model itself says of it as one sequence
        one = ended[number, 0]
        ids = torch.tensor([request.tokens + request.forced + one.tokens])
        logits = model(ids).logits[0, -len(one.tokens) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(one.tokens)[:, None]).squeeze(1)
        assert one.logprobs == pytest.approx(expected.tolist(), abs=2e-5)


def test_turns_of_many_rollouts_in_any_order(name: str, engine: RolloutEngine) -> None:
    """Eight rollouts of up to four turns, each answered late or at once: every turn is that of a fresh request."""
    dice = random.Random(5)
    asked = [Request(prompt(4 + seed % 3, seed), (seed,), max_tokens=1 + seed % 6, keep=True) for seed in range(8)]
    stream, fresh, found, late = engine.stream(STOPS), [], Found(), list[Request]()
    turns = {stream.submit(request): request for request in asked}
    fresh += asked
    while True:
        for event in stream.events():
            if isinstance(event, TokenEvent):
                continue
            found[event.request, 0] = event.completion
            request = turns[event.request]
            if len(request.forced) > 40:
                stream.cancel(event.request)
                continue
            then = prompt(dice.randrange(1, 9), event.request)
            late.append(request.resumed(event.request, 0, event.completion.tokens, then))
            while late and dice.random() < 0.6:
                request = late.pop(dice.randrange(len(late)))
                turns[stream.submit(request)] = request
                fresh.append(request)
        if not late:
            break
        request = late.pop()
        turns[stream.submit(request)] = request
        fresh.append(request)
    stream.close()
    assert len(fresh) > 24
    plain = [replace(request, follows=None, keep=False) for request in fresh]
    agree(name, found, generated(engine, plain, STOPS))


def test_a_hint_that_is_wrong_changes_nothing(name: str, engine: RolloutEngine) -> None:
    stream = engine.stream(STOPS)
    stream.submit(Request(prompt(9), (1,), keep=True))
    [first] = drained(stream).values()
    wrong = [
        Request(prompt(9), (1,), (*first.tokens[:-1], 77), follows=(0, 0)),
        Request(prompt(8), (1,), (*first.tokens, 7), follows=(0, 0)),
        Request(prompt(9), (1, 2), (*first.tokens, 7), follows=(0, 0)),
        Request(prompt(9), (1,), follows=(0, 0)),
        Request(prompt(9), (1,), first.tokens, follows=(0, 3)),
        Request(prompt(9), (1,), first.tokens, follows=(50, 0)),
    ]
    numbers = [stream.submit(request) for request in wrong]
    found = drained(stream)
    stream.close()
    plain = generated(engine, [replace(request, follows=None) for request in wrong], STOPS)
    agree(name, found, {(numbers[number], index): one for (number, index), one in plain.items()})


def test_stop_strings_are_looked_for_in_what_is_drawn(name: str, engine: RolloutEngine) -> None:
    """Across tokens, within one, and never one that began in the prompt or in what was forced."""
    sampling = Sampling(30, stop_strings=("ab", "ccd", "fff"))
    asked = [Request(prompt(5, seed), (seed,), prompt(seed, seed)) for seed in range(12)]
    found = generated(engine, asked, sampling)
    for completion in found.values():
        texts = [b"".join(SPELLED[t] for t in completion.tokens[:end] if t < 90).decode() for end in range(1, 31)]
        ends = [any(stop in text for stop in sampling.stop_strings) for text in texts]
        expected = ends.index(True) + 1 if True in ends else 30
        assert (len(completion.tokens), completion.finished) == (expected, True in ends)
    assert {completion.finished for completion in found.values()} == {True, False}


def test_a_stop_token_ends_a_completion_and_belongs_to_it(engine: RolloutEngine) -> None:
    """One that is forced ends nothing."""
    asked = [replace(request, forced=(1, 2, 3)) for request in REQUESTS]
    for completion in generated(engine, asked, STOPS).values():
        assert completion.finished == (completion.tokens[-1] in STOPS.stop_tokens)
        assert not set(completion.tokens[:-1]) & set(STOPS.stop_tokens)
        assert completion.finished or len(completion.tokens) == 12


def test_a_completion_depends_on_nothing_but_its_request(name: str, engine: RolloutEngine) -> None:
    expected = generated(engine, REQUESTS, STOPS)
    for number, request in enumerate(REQUESTS):
        for index, seed in enumerate(request.seeds):
            alone = generated(engine, [replace(request, seeds=(seed,))], STOPS)
            agree(name, alone, {(0, 0): expected[number, index]})
    assert len({one.tokens for one in expected.values()}) > 10


def test_nothing_asked_nothing_given(engine: RolloutEngine) -> None:
    assert generated(engine, [], STOPS) == {}
    assert generated(engine, [Request((5, 6), ())], STOPS) == {}
    stream = engine.stream(STOPS)
    assert [stream.submit(Request((5, 6), ())), stream.submit(Request((5, 6), (1,)))] == [0, 1]
    assert list(drained(stream)) == [(1, 0)]
    stream.close()


def test_the_end_of_the_context_truncates(engine: RolloutEngine) -> None:
    """Prompt, forced tokens and completion together; what leaves no room is refused, and the stream goes on."""
    assert engine.context_tokens == CONTEXT
    lengths = [(CONTEXT - 1, 0), (CONTEXT - 4, 0), (10, CONTEXT - 11), (10, CONTEXT - 15), (10, 5)]
    asked = [Request(prompt(length), (1,), prompt(forced)) for length, forced in lengths]
    found = generated(engine, asked, Sampling(20))
    assert [len(found[number, 0].tokens) for number in range(5)] == [1, 4, 1, 5, 20]
    assert not any(completion.finished for completion in found.values())
    stream = engine.stream(Sampling(3))
    for bad in (Request((), (1,)), Request(prompt(CONTEXT), (1,)), Request((5,), (1,), prompt(CONTEXT - 1))):
        with pytest.raises(ValueError, match="request 0"):
            stream.submit(bad)
    assert stream.submit(Request((5,), (1,))) == 0
    assert len(drained(stream)) == 1
    stream.close()


def test_a_request_may_have_fewer_tokens(engine: RolloutEngine) -> None:
    asked = [replace(REQUESTS[1], max_tokens=most) for most in (1, 4, 50, None)]
    found = generated(engine, asked, Sampling(8))
    assert [len(found[number, 0].tokens) for number in range(4)] == [1, 4, 8, 8]
    assert found[0, 1].tokens == found[3, 1].tokens[:1]
    assert found[1, 2].tokens == found[3, 2].tokens[:4]


def test_a_closed_stream_says_nothing(engine: RolloutEngine) -> None:
    stream = engine.stream(Sampling(9))
    for request in REQUESTS:
        stream.submit(request)
    events = stream.events()
    next(events)
    stream.close()
    assert list(events) == []
    stream.close()
    assert generated(engine, REQUESTS, Sampling(2))


def test_new_weights_draw_the_next_stream(name: str, model: Any) -> None:
    own = transformers.Qwen3ForCausalLM(model.config).eval().requires_grad_(False)
    own.load_state_dict(model.state_dict())
    engine, other = ENGINES[name](own, 5), ENGINES[name](model, 5)
    before = generated(engine, REQUESTS, Sampling(8))
    agree(name, before, generated(other, REQUESTS, Sampling(8)))
    changed = {key: tensor * 1.1 for key, tensor in model.state_dict().items()}
    engine.load(changed.items(), 7)
    after = generated(engine, REQUESTS, Sampling(8))
    assert {one.version for one in before.values()} == {0}
    assert {one.version for one in after.values()} == {7}
    assert {one.tokens for one in after.values()} != {one.tokens for one in before.values()}
    engine.load(model.state_dict().items(), 8)
    again = generated(engine, REQUESTS, Sampling(8))
    agree(name, {place: replace(one, version=0) for place, one in again.items()}, before)


def test_whoever_reads_events_can_train_between_them(engine: RolloutEngine) -> None:
    stream = engine.stream(Sampling(4), every_token=True)
    stream.submit(REQUESTS[0])
    for _ in stream.events():
        assert not torch.is_inference_mode_enabled()
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad
    stream.close()


def test_stop_strings_come_with_the_tokenizer_at_open(tiny_model: Any) -> None:
    """Of an engine that was opened as a run opens it, in text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    engine = Native().open(tiny_model, None, tokenizer)
    letters = [chr(letter) for letter in range(97, 123)]
    sampling = Sampling(60, stop_strings=tuple(letters))
    found = generated(engine, [Request((5, 6, 7), tuple(range(8)))], sampling)
    for completion in found.values():
        texts = [tokenizer.decode([token], skip_special_tokens=True) for token in completion.tokens]
        ends = [any(letter in text for letter in letters) for text in texts]
        assert ends[:-1] == [False] * (len(ends) - 1)
        assert completion.finished == ends[-1]
    assert any(completion.finished for completion in found.values())


def test_stop_strings_need_a_tokenizer(model: Any) -> None:
    engine = TransformersEngine(model, 4)
    with pytest.raises(ValueError, match="stop strings: seen an engine without a tokenizer"):
        generated(engine, REQUESTS, Sampling(4, stop_strings=("a",)))
