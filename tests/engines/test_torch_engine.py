"""What the engine in torch promises beside what every engine does: prompts stored once, lanes, graphs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groupwise.engines.backends import decoder_makers, differs, example, experimental_decoder_makers
from groupwise.engines.decode_step import Lanes, TrunkDecoder
from groupwise.engines.graphs import Graphs
from groupwise.engines.kv_cache import Cache, KVAllocator, KVSpans, TorchAttention, View, evenly, over
from groupwise.engines.torch_engine import TorchEngine
from groupwise.networks import Blueprint, blueprint_of
from groupwise.networks.trunk import Trunk
from groupwise.types import Completion, Request, Sampling

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing can be recorded")
FAMILIES = ["qwen3", "gemma2, window", "gemma3_text", "mistral, window", "llama, biases everywhere"]


class Unchanging(TorchAttention):
    """Plain attention told only what a graph may know: upper bounds, and tiles that are empty."""

    name, static, most_lanes = "plain, bounds only", True, 3


class Counting(Graphs):
    """On no GPU: what would be recorded."""

    def run(self, key: Any, function: Any, keep: list[Tensor]) -> Tensor | None:
        self._graphs.setdefault(key, (None, None))  # type: ignore[arg-type]
        return super().run(key, function, keep)


def engine_for(model: Any, max_rows: int, **settings: Any) -> TorchEngine:
    parts = blueprint_of(model)
    assert isinstance(parts, Blueprint)
    engine = TorchEngine(model, parts, max_rows)
    for name, value in settings.items():
        setattr(engine, name, value)
    return engine


def as_on_a_gpu(model: Any, max_rows: int) -> TorchEngine:
    """One step ahead of the host, fixed numbers of lanes, the cache kept: all of it but the recording."""
    engine = engine_for(model, max_rows, lag=1, padded=True, kept_bytes=1 << 40)
    decoder = TrunkDecoder(engine.trunk, Unchanging(engine.parts))
    engine.go(dataclasses.replace(engine.paths, decoder=decoder))
    return engine


def said(engine: TorchEngine, requests: list[Request], sampling: Sampling) -> dict[tuple[int, int], Completion]:
    return {(number, index): found for number, index, found in engine.generate(requests, sampling)}


def requests_of(sizes: list[tuple[int, int]]) -> list[Request]:
    """(prompt's length, completions) each; no two prompts alike."""
    return [
        Request(tuple(5 + (7 * n + 3 * i) % 90 for i in range(length)), tuple(range(100 * n, 100 * n + count)))
        for n, (length, count) in enumerate(sizes)
    ]


def agree(ours: dict[Any, Completion], theirs: dict[Any, Completion]) -> None:
    assert {key: (one.tokens, one.finished) for key, one in ours.items()} == {
        key: (one.tokens, one.finished) for key, one in theirs.items()
    }
    for key, one in ours.items():
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(theirs[key].logprobs), atol=1e-5, rtol=0)
        assert one.support == theirs[key].support


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_ahead_and_padded_lanes_say_the_same(make_model: Any, name: str) -> None:
    """Rows leave at stop tokens and at their limits, others enter; equal prompts stand in two requests."""
    model = make_model(name)
    requests = requests_of([(20, 5), (3, 1), (11, 7), (1, 3), (20, 2)])
    requests.append(Request(requests[1].tokens, (77, 78)))
    sampling = Sampling(14, stop_tokens=tuple(range(1, 9)))
    expected = said(engine_for(model, 64), requests, sampling)
    assert len({len(one.tokens) for one in expected.values()}) > 3
    for rows in (1, 5, 64):
        agree(said(as_on_a_gpu(model, rows), requests, sampling), expected)
        agree(said(engine_for(model, rows), requests, sampling), expected)


@pytest.mark.parametrize(
    "sampling", [Sampling(9, top_p=0.8, stop_tokens=(3, 4)), Sampling(9, 0.0)], ids=["p", "greedy"]
)
def test_narrowed_and_greedy_say_the_same(make_model: Any, sampling: Sampling) -> None:
    model, requests = make_model("qwen3"), requests_of([(6, 4), (9, 3), (2, 1)])
    agree(said(as_on_a_gpu(model, 3), requests, sampling), said(engine_for(model, 64), requests, sampling))


def test_a_prompt_stands_in_the_cache_once(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3")
    made: list[Cache] = []
    init = Cache.__init__

    def remember(self: Cache, *given: Any) -> None:
        init(self, *given)
        made.append(self)

    monkeypatch.setattr(Cache, "__init__", remember)
    engine = engine_for(model, 64)
    found = said(engine, [*requests_of([(40, 8), (10, 4)]), requests_of([(40, 2)])[0]], Sampling(5))
    assert len(found) == 14
    [cache] = made
    layers, kv_heads, head_dim = 2, 2, 16
    # Fourteen completions of at most five tokens, one slab that nobody reads, two prompts.
    assert cache.keys.numel() == cache.values.numel() == layers * kv_heads * head_dim * (40 + 10 + 15 * 5)
    written = cache.keys[1].abs().sum((1, 2)) > 0
    assert int(written[:50].sum()) == 50
    # A completion's last token is never asked about, so four of its five are there.
    assert int(written[50:].sum()) == 14 * 4


def test_a_kept_cache_serves_the_next_call(make_model: Any) -> None:
    model = make_model("qwen2")
    engine, small, large = as_on_a_gpu(model, 16), requests_of([(9, 4)]), requests_of([(30, 4), (12, 4)])
    places = []
    for requests, sampling in ((large, Sampling(9)), (small, Sampling(4, 0.5)), (large, Sampling(9))):
        agree(said(engine, requests, sampling), said(engine_for(model, 16), requests, sampling))
        assert engine._lanes is not None
        places.append(engine._lanes.cache.keys.data_ptr())
    assert len(set(places)) == 1
    said(engine, requests_of([(50, 4)] * 3), Sampling(10))
    assert engine._lanes.cache.sizes == (187, 12, 10)


def test_two_calls_at_a_time_do_not_disturb_each_other(make_model: Any) -> None:
    model, requests, sampling = make_model("qwen3"), requests_of([(7, 3), (5, 3)]), Sampling(8, stop_tokens=(2, 3, 4))
    expected = said(engine_for(model, 4), requests, sampling)
    engine = as_on_a_gpu(model, 4)
    first, second = engine.generate(requests, sampling), engine.generate(requests, sampling)
    found: list[dict[tuple[int, int], Completion]] = [{}, {}]
    for a, b in zip(first, second, strict=True):
        for ours, (number, index, one) in zip(found, (a, b), strict=True):
            ours[number, index] = one
    for ours in found:
        agree(ours, expected)


def test_a_parameter_that_moved_is_noticed(make_model: Any) -> None:
    """A graph holds addresses: what was recorded before is recorded anew."""
    model, requests = make_model("qwen3"), requests_of([(4, 5)])
    engine = as_on_a_gpu(model, 8)
    said(engine, requests, Sampling(6))
    assert engine._lanes is not None
    engine._lanes.graphs = graphs = Counting(torch.device("cpu"))
    said(engine, requests, Sampling(6))
    assert set(graphs._graphs) == {(5, 1.0)}
    graphs._graphs["old"] = (None, None)  # type: ignore[assignment]
    said(engine, requests, Sampling(6))
    assert "old" in graphs._graphs
    norm = model.model.norm.weight
    norm.data = norm.data * -1.5
    agree(said(engine, requests, Sampling(6)), said(engine_for(model, 8), requests, Sampling(6)))
    assert "old" not in graphs._graphs


def test_few_numbers_of_lanes_do_for_all(make_model: Any) -> None:
    parts = blueprint_of(make_model("qwen3"))
    assert isinstance(parts, Blueprint)
    decoder = TrunkDecoder(Trunk(parts, 64), TorchAttention(parts))
    lanes = Lanes(parts, decoder, Cache(parts, 10, 500, 4), Graphs(torch.device("cpu")), padded=True)
    found = {lanes.width(count) for count in range(1, 501)}
    assert found == {1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 500}
    assert all(count <= lanes.width(count) for count in range(1, 501))


@pytest.mark.parametrize(("window", "cap"), [(0, 0.0), (6, 0.0), (0, 2.0), (9, 1.5)])
def test_merged_attention_is_attention_over_both(make_model: Any, window: int, cap: float) -> None:
    """Over a prompt's stretch and a slab by themselves, weighted: as if they were one sequence."""
    parts = blueprint_of(make_model("qwen3"))
    assert isinstance(parts, Blueprint)
    layers = tuple(dataclasses.replace(layer, window=window) for layer in parts.layers)
    parts = dataclasses.replace(parts, layers=layers, attention_cap=cap, heads=4, kv_heads=2)
    dice = torch.Generator().manual_seed(1)
    keys, values = (torch.randn(80, 2, 16, generator=dice).double() for _ in range(2))
    q = torch.randn(4, 4, 16, generator=dice).double()
    places, lengths = torch.tensor([0, 5, 9, 2]), torch.tensor([7, 7, 7, 20])
    starts = torch.tensor([50, 40, 60, 70])
    view = View(
        KVSpans(torch.tensor([0, 3, 4]), torch.tensor([2, 12, 0]), torch.tensor([7, 20]), 3, 20),
        KVSpans(torch.arange(5), torch.cat((starts, starts[:1])), places + 1, 1, 10),
        lengths + places, places, starts + places,
    )  # fmt: skip
    ours = TorchAttention(parts)(0, q, keys, values, view)
    for lane, (prompt, place) in enumerate([((2, 7), 0), ((2, 7), 5), ((2, 7), 9), ((12, 20), 2)]):
        where = [*range(prompt[0], sum(prompt)), *range(starts[lane], starts[lane] + place + 1)]
        where = where[-window:] if window else where
        for head in range(4):
            scores = keys[where, head // 2] @ q[lane, head] * parts.attention_scale
            scores = cap * torch.tanh(scores / cap) if cap else scores
            expected = scores.softmax(0) @ values[where, head // 2]
            torch.testing.assert_close(ours[lane, head], expected, atol=1e-12, rtol=0)


def test_bounds_alone_give_the_same_logits(make_model: Any) -> None:
    for name in FAMILIES:
        parts = blueprint_of(make_model(name))
        assert isinstance(parts, Blueprint)
        trunk = Trunk(parts, 64)
        with torch.inference_mode():
            exact, bounds = (
                example(parts, TrunkDecoder(trunk, kind(parts)), 64) for kind in (TorchAttention, Unchanging)
            )
            torch.testing.assert_close(bounds.logits(8)[:7], exact.logits(7), atol=2e-5, rtol=0)


def test_neighbours_with_one_prompt_share_a_tile() -> None:
    assert over([(0, 9)] * 5 + [(9, 4)] + [(20, 9)] * 2, 3) == [(3, 0, 9), (2, 0, 9), (1, 9, 4), (2, 20, 9)]
    assert evenly([4, 14, 24]) == 10
    assert evenly([7]) == 0
    assert evenly([4, 14, 25]) is None
    assert evenly([4, 2]) is None


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), max_size=60))
def test_room_gives_each_place_once_and_all_come_back(turns: list[tuple[int, int]]) -> None:
    room, taken = KVAllocator(30), dict[int, int]()
    for length, give in turns:
        start = room.take(length)
        if start is None:
            assert all(free < length for _, free in room.free)
        else:
            assert all(start + length <= other or other + size <= start for other, size in taken.items())
            assert 0 <= start <= 30 - length
            taken[start] = length
        if taken and give < len(taken):
            leaving = sorted(taken)[give]
            room.give(leaving, taken.pop(leaving))
        assert sum(size for _, size in room.free) == 30 - sum(taken.values())
    for start, length in taken.items():
        room.give(start, length)
    assert room.free == [(0, 30)]


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_steps_say_what_the_model_says(make_model: Any, name: str, dtype: torch.dtype) -> None:
    """By whichever way this GPU takes: the log-probability of each token is that of transformers' forward pass."""
    model = make_model(name).to("cuda", dtype)
    engine = engine_for(model, 7)
    requests = requests_of([(20, 5), (3, 1), (11, 7), (1, 3)])
    for sampling in (Sampling(14, stop_tokens=tuple(range(1, 9))), Sampling(14, 0.7), Sampling(6, top_k=9)):
        found = said(engine, requests, sampling)
        assert len(found) == 16
        for (number, _), one in found.items():
            prompt = requests[number].tokens
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *one.tokens]], device="cuda")).logits[0, len(prompt) - 1 : -1]
            logits = logits.float() / sampling.temperature
            for row, kept in enumerate(one.support or ()):
                logits[row] = torch.full_like(logits[row], -torch.inf).index_copy(
                    0, torch.tensor(kept, device="cuda"), logits[row, list(kept)]
                )
            own = logits.log_softmax(-1).gather(1, torch.tensor(one.tokens, device="cuda")[:, None])[:, 0].cpu()
            tolerance = 1e-3 if dtype == torch.float32 else 0.3
            torch.testing.assert_close(own, torch.tensor(one.logprobs), atol=tolerance, rtol=0)
    assert "CUDA graphs are off" not in " ".join(engine.notes)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["Triton", "flash attention"])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_faster_way_is_right_or_says_why_not(make_model: Any, name: str, way: str, dtype: torch.dtype) -> None:
    parts = blueprint_of(make_model(name).to("cuda", dtype))
    assert isinstance(parts, Blueprint)
    trunk = Trunk(parts, 64)
    try:
        decoder = {**decoder_makers(trunk), **experimental_decoder_makers(trunk)}[way]()
    except (ImportError, ValueError) as error:
        pytest.skip(str(error))
    assert differs(lambda: decoder, TrunkDecoder(trunk, TorchAttention(parts)), trunk, []) == ""


def test_one_way_is_kept_and_the_other_is_experimental(make_model: Any) -> None:
    parts = blueprint_of(make_model("qwen3"))
    assert isinstance(parts, Blueprint)
    trunk = Trunk(parts, 64)
    assert list(decoder_makers(trunk)) == ["Triton"]
    assert list(experimental_decoder_makers(trunk)) == ["flash attention"]


@on_gpu
def test_a_graph_says_what_its_function_says(make_model: Any) -> None:
    model = make_model("qwen3").to("cuda")
    requests, sampling = requests_of([(20, 5), (3, 1), (11, 7)]), Sampling(14, stop_tokens=(1, 2, 3))
    recorded = engine_for(model, 9)
    ours = said(recorded, requests, sampling)
    plain = engine_for(model, 9)
    plain.padded, plain.lag = False, 0
    plain.go(dataclasses.replace(plain.paths, decoder=TrunkDecoder(plain.trunk, TorchAttention(plain.parts))))
    agree(ours, said(plain, requests, sampling))
    assert recorded._lanes is not None
    assert len(recorded._lanes.graphs) > 0
