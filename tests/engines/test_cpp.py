"""What only the compiled engine promises: no bit depends on threads or neighbours, and its threads end with it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.conftest import SIZES

from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.engines.sampler import draw, ids_of, random_stream, support
from groupwise.kernels.decode import Decoder
from groupwise.networks import Blueprint, blueprint_of
from groupwise.types import Completion, Request, Sampling

Found = dict[tuple[int, int], Completion]


def engine(model: Any, max_rows: int = 64, threads: int = 2) -> CppEngine:
    parts = blueprint_of(model)
    assert isinstance(parts, Blueprint)
    decoder = decoder_for(parts)
    assert isinstance(decoder, Decoder), decoder
    return CppEngine(model, parts, decoder, max_rows, threads)


def generate(found_by: CppEngine, requests: list[Request], sampling: Sampling) -> Found:
    return {(number, index): completion for number, index, completion in found_by.generate(requests, sampling)}


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    loaded = Decoder.load()
    assert isinstance(loaded, Decoder), loaded
    return loaded


@given(seed=st.integers(0, 2**128 - 1), count=st.integers(1, 40))
def test_its_random_streams_are_those_of_numpy_to_the_bit(decoder: Decoder, seed: int, count: int) -> None:
    assert decoder.uniforms(seed, count) == random_stream(seed, count).tolist()


def test_no_bit_depends_on_threads_or_on_what_is_computed_beside(make_model: Any) -> None:
    """Ids and log-probabilities: equal, not close. Thirty groups, prompts of one token to more than a page."""
    model = make_model("qwen3")
    draws = torch.Generator().manual_seed(1)
    lengths = [1, 2, 15, 16, 17, 31, 32, 33, 40, *torch.randint(1, 40, (21,), generator=draws).tolist()]
    requests = [
        Request(
            tuple(torch.randint(2, 97, (length,), generator=draws).tolist()), tuple(range(9 * n, 9 * n + 1 + n % 9))
        )
        for n, length in enumerate(lengths)
    ]
    sampling = Sampling(24, stop_tokens=(1, 2, 3))
    whole = generate(engine(model, 512, threads=1), requests, sampling)
    assert len(whole) == sum(len(request.seeds) for request in requests) > 100
    for rows, threads in ((512, 2), (512, 5), (7, 2), (1, 1), (33, 3)):
        assert generate(engine(model, rows, threads), requests, sampling) == whole
    alone = Request(requests[17].tokens, requests[17].seeds[4:5])
    assert generate(engine(model), [alone], sampling)[0, 0] == whole[17, 4]


def test_threads_that_share_large_experts_change_no_bit() -> None:
    """Of 1.5 MB a layer: each expert is computed for the rows of all threads that make a step together."""
    settings = {"num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 64, "num_key_value_heads": 2}
    config = transformers.Qwen3MoeConfig(**(SIZES | settings | {"hidden_size": 128, "head_dim": 32}))
    torch.manual_seed(3)
    model = transformers.Qwen3MoeForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gate.weight"):
            torch.nn.init.normal_(parameter)
    requests = [Request(tuple(range(3 + n, 9 + 4 * n)), tuple(range(9 * n, 9 * n + 1 + n))) for n in range(6)]
    sampling = Sampling(12, stop_tokens=(5, 6, 7))
    whole = generate(engine(model, 512, threads=1), requests, sampling)
    assert len(whole) == 21
    for rows, threads in ((512, 2), (512, 4), (5, 3)):
        assert generate(engine(model, rows, threads), requests, sampling) == whole


def test_a_prompt_of_many_passes_is_one_prompt(make_model: Any) -> None:
    """Longer than what is computed at once; compared with the model's own forward pass."""
    model = make_model("llama")
    model.config.max_position_embeddings = 700
    prompt = tuple(torch.randint(2, 97, (600,), generator=torch.Generator().manual_seed(2)).tolist())
    [completion] = generate(engine(model), [Request(prompt, (5,))], Sampling(8)).values()
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion.tokens]])).logits[0, 599:-1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.tokens)[:, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(completion.logprobs).float(), expected, atol=2e-5, rtol=0)


@given(
    seed=st.integers(0, 2**32),
    top_k=st.sampled_from([0, 1, 3, 50, 400]),
    top_p=st.sampled_from([1.0, 0.9, 0.3, 1e-6]),
    min_p=st.sampled_from([0.0, 0.05, 0.9]),
    temperature=st.sampled_from([1.0, 0.5, 1.7]),
)
def test_it_narrows_as_plain_torch_does(
    make_model: Any, seed: int, top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    """Of the same logits the same ids are left, the same one is drawn, with the same log-probability."""
    model = make_model("qwen2")
    sampling = Sampling(1, temperature, top_k, top_p, min_p)
    prompt = tuple(torch.randint(2, 97, (5,), generator=torch.Generator().manual_seed(seed)).tolist())
    [completion] = generate(engine(model, 4, 1), [Request(prompt, (seed,))], sampling).values()
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1:]
    drawn = draw(logits, random_stream(seed, 1), sampling)
    if top_k or top_p < 1 or min_p:
        kept = support(torch.log_softmax(logits / temperature, -1), sampling)
        assert completion.support == tuple(ids_of(kept))
    assert completion.tokens == (int(drawn.tokens),)
    assert completion.logprobs[0] == pytest.approx(float(drawn.logprobs), abs=1e-5)


def test_whoever_stops_listening_stops_the_threads(make_model: Any) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    if not Path("/proc/self/task").exists():
        pytest.skip("threads of other languages are counted in /proc alone")
    sampler = engine(make_model("qwen3"), max_rows=2, threads=4)
    before = count()
    running = sampler.generate([Request((5, 6), tuple(range(500)))], Sampling(50))
    next(running)
    assert count() > before
    running.close()
    patience = time.monotonic() + 300
    while count() > before and time.monotonic() < patience:  # the kernel lists a thread a moment longer
        time.sleep(0.001)
    assert count() <= before


def test_python_goes_on_while_it_samples(make_model: Any) -> None:
    """Rewards are scored meanwhile: the interpreter is free."""
    sampler = engine(make_model("qwen3"), max_rows=4, threads=1)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()

    def ticks_meanwhile() -> int:
        began = time.perf_counter()
        generate(sampler, [Request((5, 6), tuple(range(200)))], Sampling(50))
        ended = time.perf_counter()
        return sum(began < at < ended for at in ticks)

    try:
        assert any(ticks_meanwhile() > 3 for _ in range(50))  # on a busy machine the other thread may get no turn
    finally:
        stop.set()
        thread.join()


class Failing:
    """A decoder that has room for so many completions side by side, and hears of some before it runs out."""

    def __init__(self, decoder: Decoder, room: int, heard: int) -> None:
        self.decoder, self.room, self.heard = decoder, room, heard
        self.rows: list[int] = []

    def begin(self, weights: Any, rules: Any) -> Any:
        self.rows.append(rules.max_rows)
        batch, said = self.decoder.begin(weights, rules), 0
        poll = batch.poll

        def failing(seconds: float) -> Any:
            nonlocal said
            if rules.max_rows > self.room and said >= self.heard:
                raise MemoryError("out of memory in sampling")
            events, over = poll(seconds)
            if rules.max_rows > self.room:
                events = events[: self.heard - said]
            said += len(events)
            return events, over

        batch.poll = failing  # type: ignore[method-assign]
        return batch


@pytest.mark.parametrize("heard", [0, 1, 40])
@pytest.mark.parametrize("told", [True, False])
def test_out_of_memory_it_goes_on_with_half_the_rows_and_the_same_completions(
    make_model: Any, heard: int, told: bool
) -> None:
    """Each completion comes once, each token is told once and in order."""
    sampler, notes = engine(make_model("qwen3"), max_rows=16), []
    requests = [Request((5, 6, number), tuple(range(7))) for number in range(9)]
    sampling = Sampling(12, stop_tokens=(1, 2, 3, 4))
    expected = generate(sampler, requests, sampling)
    sampler.decoder = failing = Failing(sampler.decoder, 4, heard)  # type: ignore[assignment]
    sampler.note = notes.append
    tokens: dict[tuple[int, int], list[int]] = {}

    def on_token(request: int, index: int, token: int) -> None:
        tokens.setdefault((request, index), []).append(token)

    found = list(sampler.generate(requests, sampling, on_token if told else None))
    assert len(found) == len(expected)
    assert {(number, index): completion for number, index, completion in found} == expected
    assert failing.rows == [16, 8, 4][: len(failing.rows)]
    assert len(notes) == len(failing.rows) - 1 >= 1
    assert "at most 8 completions side by side" in notes[0]
    if told:
        assert tokens == {place: list(completion.tokens) for place, completion in expected.items()}


def test_too_little_memory_for_one_completion_is_named(make_model: Any) -> None:
    sampler = engine(make_model("qwen3"), max_rows=8)
    sampler.decoder = Failing(sampler.decoder, 0, 0)  # type: ignore[assignment]
    with pytest.raises(MemoryError, match="out of memory in sampling"):
        generate(sampler, [Request((5, 6), tuple(range(9)))], Sampling(5))
    assert sampler.decoder.rows == [8, 4, 2, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("ids", [(5, -1), (5, 97), (2**31, 5)])
def test_ids_without_an_embedding_are_refused(make_model: Any, ids: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"request 1: ids from .* to .*; the model knows 0 to 96"):
        generate(engine(make_model("qwen3")), [Request((5,), (1,)), Request(ids, (1,))], Sampling(5))


def test_weights_that_do_not_fit_together_are_refused(make_model: Any) -> None:
    model = make_model("qwen3")
    sampler = engine(model)
    norm = model.model.layers[1].mlp.down_proj
    norm.weight = torch.nn.Parameter(norm.weight[:, 1:].detach().clone())
    with pytest.raises(
        ValueError, match=r"weights for sampling: seen .*, expected torch.float32 \(\d+, \d+\) on the CPU"
    ):
        generate(sampler, [Request((5,), (1,))], Sampling(5))
