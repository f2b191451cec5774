"""What every engine promises, on every architecture: the learner's probabilities, transformers' greedy tokens, and a
completion that depends on its own seed and prompt alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.engines.torch_engine import TorchEngine
from groupwise.engines.transformers_engine import TransformersEngine
from groupwise.networks import Blueprint, blueprint_of
from groupwise.types import Completion, Example, Prompt, Request, Rollout, Sampling

NATIVE = [
    "llama",
    "llama, grouped queries, tied head",
    "llama, biases everywhere",
    "llama, llama3 rope",
    "llama, yarn rope",
    "mistral",
    "qwen2",
    "qwen2, tied head",
    "qwen3",
    "qwen3, tied head, yarn rope",
    "qwen3, narrow heads",
    "mistral, window",
    "gemma",
    "gemma2",
    "gemma2, window",
    "gemma3_text",
]


def blueprint(model: Any) -> Blueprint:
    parts = blueprint_of(model)
    assert isinstance(parts, Blueprint)
    return parts


def compiled(model: Any, max_rows: int, threads: int = 2, **options: Any) -> CppEngine:
    parts = blueprint(model)
    decoder = decoder_for(parts)
    assert not isinstance(decoder, str), decoder
    return CppEngine(model, parts, decoder, max_rows, threads, **options)


def native(model: Any, max_rows: int, **options: Any) -> TorchEngine:
    return TorchEngine(model, blueprint(model), max_rows, **options)


CASES = [(kind, name) for kind in (compiled, native) for name in NATIVE] + [
    (TransformersEngine, "qwen3"),
    (TransformersEngine, "gpt_neox"),
    (TransformersEngine, "gemma2"),
]
every_architecture = pytest.mark.parametrize(
    ("kind", "name"), CASES, ids=lambda value: getattr(value, "__name__", value)
)
every_engine = pytest.mark.parametrize("kind", [compiled, native, TransformersEngine])


def prompts(count: int, longest: int = 12) -> list[tuple[int, ...]]:
    draw = torch.Generator().manual_seed(count)
    lengths = torch.randint(1, longest + 1, (count,), generator=draw).tolist()
    return [tuple(torch.randint(2, 97, (length,), generator=draw).tolist()) for length in lengths]


def generate(engine: Any, requests: Sequence[Request], sampling: Sampling) -> dict[tuple[int, int], Completion]:
    found = {(number, index): completion for number, index, completion in engine.generate(requests, sampling)}
    assert sorted(found) == [(n, i) for n, request in enumerate(requests) for i in range(len(request.seeds))]
    return found


def tokens_of(found: dict[tuple[int, int], Completion]) -> dict[tuple[int, int], tuple[int, ...]]:
    return {key: completion.tokens for key, completion in found.items()}


TEMPERED = [
    (kind, name, (1.0, 0.7)[(list(NATIVE).index(name) + (kind is native)) % 2] if name in NATIVE else 0.7)
    for kind, name in CASES
]
"""Each engine at both temperatures, and each architecture too, by one engine and the other."""


@pytest.mark.parametrize(
    ("kind", "name", "temperature"), TEMPERED, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_engine_and_learner_agree_on_every_token(make_model: Any, kind: Any, name: str, temperature: float) -> None:
    model = make_model(name)
    requests = [Request(prompt, (number, number + 50)) for number, prompt in enumerate(prompts(9))]
    found = generate(kind(model, max_rows=7), requests, Sampling(16, temperature, stop_tokens=(1, 2, 3)))
    rollouts = [as_rollout(requests[number].tokens, completion) for (number, _), completion in found.items()]
    logprobs = learned_logprobs(model, rollouts, temperature)
    for row, rollout in enumerate(rollouts):
        expected = torch.tensor(rollout.behavior_logprobs)
        torch.testing.assert_close(logprobs[row, : len(expected)], expected, atol=1e-5, rtol=1e-5)
    assert len({len(rollout.tokens) for rollout in rollouts}) > 2


def as_rollout(prompt: tuple[int, ...], completion: Completion) -> Rollout:
    tokens = completion.tokens
    mask = (True,) * len(tokens)
    said = completion.logprobs, "", completion.finished, 0
    return Rollout(Prompt(Example("", ""), prompt), tokens, mask, *said, support=completion.support)


@torch.no_grad()
def learned_logprobs(model: Any, rollouts: list[Rollout], temperature: float) -> Tensor:
    """By transformers' own forward pass, a sequence at a time; 0 behind a completion's end."""
    found = []
    for rollout in rollouts:
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        logits = model(ids).logits[0, len(rollout.prompt.tokens) - 1 : -1] / temperature
        for row, kept in enumerate(rollout.support or ()):
            outside = torch.ones(logits.shape[-1], dtype=torch.bool)
            outside[list(kept)] = False
            logits[row, outside] = -torch.inf
        found.append(torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(rollout.tokens)[:, None]).squeeze(1))
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)


@every_architecture
def test_greedy_is_token_for_token_that_of_transformers(make_model: Any, kind: Any, name: str) -> None:
    model = make_model(name)
    requests = [Request(prompt, (0,)) for prompt in prompts(150) if len(prompt) in (1, 5, 9, 12)]
    assert len(requests) > 40
    found = generate(kind(model, max_rows=16), requests, Sampling(12, 0.0, stop_tokens=(1,)))
    for length in {len(request.tokens) for request in requests}:  # together, since none needs padding
        numbers = [number for number, request in enumerate(requests) if len(request.tokens) == length]
        ids = torch.tensor([requests[number].tokens for number in numbers])
        options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": 1, "pad_token_id": 0}
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, length:]
        for number, said in zip(numbers, expected.tolist(), strict=True):
            tokens = found[number, 0].tokens
            assert list(tokens) == said[: len(tokens)]
            assert set(said[len(tokens) :]) <= {0}


@every_engine
def test_one_step_is_drawn_from_the_models_distribution(make_model: Any, kind: Any) -> None:
    model = make_model("qwen3")
    found = generate(kind(model, max_rows=4000), [Request((5, 6, 7), tuple(range(4000)))], Sampling(1))
    counts = torch.bincount(torch.tensor([c.tokens[0] for c in found.values()]), minlength=97).double()
    with torch.no_grad():
        expected = model(torch.tensor([[5, 6, 7]])).logits[0, -1].double().softmax(0) * 4000
    common = expected >= 5  # the rest together make one more cell
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    expected = torch.cat([expected[common], expected[~common].sum()[None]])
    freedom = len(observed) - 1
    assert freedom > 10
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert statistic < freedom + 3.1 * (2 * freedom) ** 0.5 + 4  # about 0.1 %


@every_engine
def test_a_completion_depends_on_nothing_but_prompt_and_seed(make_model: Any, kind: Any) -> None:
    model, sampling = make_model("qwen3"), Sampling(16, stop_tokens=(1, 2, 3, 4))
    requests = [Request(prompt, tuple(range(10 * n, 10 * n + 4))) for n, prompt in enumerate(prompts(6))]
    whole = tokens_of(generate(kind(model, max_rows=64), requests, sampling))
    few = tokens_of(generate(kind(model, max_rows=3), requests, sampling))
    assert few == whole
    backwards = tokens_of(generate(kind(model, max_rows=5), requests[::-1], sampling))
    assert {(5 - number, index): tokens for (number, index), tokens in backwards.items()} == whole
    alone = tokens_of(generate(kind(model, max_rows=64), [Request(requests[4].tokens, (42,))], sampling))
    assert alone[0, 0] == whole[4, 2]
    assert len(set(whole.values())) > 12


@every_engine
def test_a_stop_token_ends_a_completion_and_belongs_to_it(make_model: Any, kind: Any) -> None:
    stops = tuple(range(2, 20))
    requests = [Request(prompt, (1, 2, 3)) for prompt in prompts(8)]
    found = generate(kind(make_model("qwen3"), max_rows=5), requests, Sampling(10, stop_tokens=stops)).values()
    assert {completion.finished for completion in found} == {True, False}
    for completion in found:
        assert completion.finished == (completion.tokens[-1] in stops)
        assert not set(completion.tokens[:-1]) & set(stops)
        assert completion.finished or len(completion.tokens) == 10
        assert len(completion.logprobs) == len(completion.tokens)


@every_engine
def test_the_end_of_the_context_truncates(make_model: Any, kind: Any) -> None:
    """A prompt of 63 of 64 leaves room for one token; of 64, for none."""
    engine = kind(make_model("qwen3"), max_rows=4)
    assert engine.context_tokens == 64
    requests = [Request((5,) * 63, (1,)), Request((5,) * 60, (1,)), Request((5,) * 10, (1,))]
    found = generate(engine, requests, Sampling(20))
    assert [len(found[number, 0].tokens) for number in range(3)] == [1, 4, 20]
    assert not any(completion.finished for completion in found.values())
    for bad in ((5,) * 64, ()):
        with pytest.raises(ValueError, match="request 1"):
            list(engine.generate([Request((5,), (1,)), Request(bad, (1,))], Sampling(4)))


@every_engine
def test_every_token_is_told_as_it_is_drawn(make_model: Any, kind: Any) -> None:
    heard: dict[tuple[int, int], list[int]] = {}
    engine = kind(make_model("qwen2"), max_rows=3)
    requests = [Request(prompt, (1, 2)) for prompt in prompts(4)]
    sampling = Sampling(8, stop_tokens=(1, 2, 3))
    found = {
        (number, index): completion
        for number, index, completion in engine.generate(
            requests, sampling, lambda number, index, token: heard.setdefault((number, index), []).append(token)
        )
    }
    assert {key: tuple(tokens) for key, tokens in heard.items()} == tokens_of(found)


@every_engine
def test_memory_that_was_never_written_is_never_read(make_model: Any, kind: Any) -> None:
    """With every fresh allocation full of NaN, rows of different lengths still have finite log-probabilities."""
    engine = kind(make_model("qwen3"), max_rows=3)
    requests = [Request(prompt, (1, 2)) for prompt in prompts(6)]
    expected = tokens_of(generate(engine, requests, Sampling(8, stop_tokens=(1, 2, 3))))
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty returns with NaN
    try:
        found = generate(engine, requests, Sampling(8, stop_tokens=(1, 2, 3)))
    finally:
        torch.use_deterministic_algorithms(False)
    assert tokens_of(found) == expected
    assert all(-100 < value <= 0 for completion in found.values() for value in completion.logprobs)


@every_engine
def test_whoever_takes_completions_can_train_between_them(make_model: Any, kind: Any) -> None:
    engine = kind(make_model("qwen2"), max_rows=1)
    for _ in engine.generate([Request(prompt, (1,)) for prompt in prompts(2)], Sampling(2)):
        assert not torch.is_inference_mode_enabled()
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad


@every_engine
def test_nothing_asked_nothing_given(make_model: Any, kind: Any) -> None:
    assert list(kind(make_model("qwen2"), max_rows=3).generate([], Sampling(4))) == []


@every_engine
def test_support_options_reach_the_distribution(make_model: Any, kind: Any) -> None:
    """top_k = 1 is greedy, and its log-probability, renormalised over one token, is 0."""
    engine = kind(make_model("qwen3"), max_rows=8)
    requests = [Request(prompt, (3,)) for prompt in prompts(4)]
    greedy = tokens_of(generate(engine, requests, Sampling(6, 0.0)))
    single = generate(engine, requests, Sampling(6, top_k=1))
    assert tokens_of(single) == greedy
    assert all(abs(value) < 1e-6 for completion in single.values() for value in completion.logprobs)


NARROWED = [
    Sampling(16, 0.7, top_k=5),
    Sampling(16, top_p=0.8),
    Sampling(16, 1.2, min_p=0.6),
    Sampling(16, 1.3, top_k=40, top_p=0.95, min_p=0.02),
]


@every_engine
@pytest.mark.parametrize("sampling", NARROWED, ids=["top_k", "top_p", "min_p", "all three"])
def test_what_a_token_was_drawn_from_lets_the_learner_renormalise(
    make_model: Any, kind: Any, sampling: Sampling
) -> None:
    """In float64 where the engine can, and with moderate logits, so that what is left is the pass's own rounding."""
    model = make_model("qwen3") if kind is compiled else make_model("qwen3").double()
    model.lm_head.weight.data.div_(4)
    sampling = dataclasses.replace(sampling, stop_tokens=(1, 2, 3))
    requests = [Request(prompt, (number, number + 50)) for number, prompt in enumerate(prompts(6))]
    found = generate(kind(model, max_rows=5), requests, sampling)
    rollouts = [as_rollout(requests[number].tokens, completion) for (number, _), completion in found.items()]
    logprobs = learned_logprobs(model, rollouts, sampling.temperature)
    for row, rollout in enumerate(rollouts):
        assert rollout.support is not None
        assert len(rollout.support) == len(rollout.tokens)
        for token, ids in zip(rollout.tokens, rollout.support, strict=True):
            assert token in ids
            assert list(ids) == sorted(set(ids))
            assert not sampling.top_k or len(ids) <= sampling.top_k
        expected = torch.tensor(rollout.behavior_logprobs, dtype=torch.float64)
        torch.testing.assert_close(logprobs[row, : len(expected)].double(), expected, atol=2e-6, rtol=0)
    whole = [dataclasses.replace(rollout, support=None) for rollout in rollouts]
    assert (learned_logprobs(model, whole, sampling.temperature) - logprobs).min() < -0.05


@every_engine
@pytest.mark.parametrize("sampling", [Sampling(4), Sampling(4, 0.6), Sampling(4, 0.0, top_k=3)], ids=str)
def test_what_was_not_narrowed_keeps_no_support(make_model: Any, kind: Any, sampling: Sampling) -> None:
    found = generate(kind(make_model("qwen2"), max_rows=4), [Request((5, 6), (1, 2))], sampling)
    assert {completion.support for completion in found.values()} == {None}


@every_engine
def test_new_weights_are_sampled_from_without_a_copy(make_model: Any, kind: Any) -> None:
    """The engine reads the learner's own parameters; ``load`` only marks the version."""
    model = make_model("qwen3")
    engine = kind(model, max_rows=8)
    requests = [Request(prompt, (3, 4)) for prompt in prompts(4)]
    before = generate(engine, requests, Sampling(8))
    assert {completion.version for completion in before.values()} == {0}
    places = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(torch.arange(12)[None]).logits.square().mean().backward()
    optimizer.step()
    engine.load(((name, parameter.detach()) for name, parameter in model.named_parameters()), 7)
    after = generate(engine, requests, Sampling(8))
    assert {completion.version for completion in after.values()} == {7}
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == places
    assert tokens_of(after) != tokens_of(before)
    rollouts = [as_rollout(requests[number].tokens, completion) for (number, _), completion in after.items()]
    logprobs = learned_logprobs(model, rollouts, 1.0)
    expected = torch.tensor([rollout.behavior_logprobs for rollout in rollouts])
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=1e-5)


@every_engine
def test_weights_from_elsewhere_are_copied_in(make_model: Any, kind: Any) -> None:
    source, target = make_model("qwen3"), make_model("qwen3")
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.mul_(1.1)
    engine = kind(target, max_rows=8)
    engine.load(source.named_parameters(), 1)
    requests = [Request(prompt, (3,)) for prompt in prompts(4)]
    expected = tokens_of(generate(kind(source, max_rows=8), requests, Sampling(8)))
    assert tokens_of(generate(engine, requests, Sampling(8))) == expected


@every_engine
def test_a_stop_string_ends_a_completion_with_the_token_that_completes_it(make_model: Any, kind: Any) -> None:
    """Across tokens, within one, and never one that began in the prompt. Token t spells the letter t % 6 twice where
    t % 5 is 0; ids from 90 on spell nothing."""
    pieces = tuple(bytes([97 + t % 6]) * (2 if t % 5 == 0 else 1) for t in range(90))
    stops = ("ab", "ccd", "fff")
    sampling = Sampling(30, stop_strings=stops)
    requests = [Request(prompt, (1, 2, 3, 4)) for prompt in prompts(12)]
    found = generate(kind(make_model("qwen3"), max_rows=7, spelling=lambda: pieces), requests, sampling).values()
    for completion in found:
        said = [b"".join(pieces[t] for t in completion.tokens[:end] if t < 90).decode() for end in range(1, 31)]
        ends = [any(stop in text for stop in stops) for text in said]
        expected = ends.index(True) + 1 if True in ends else 30
        assert (len(completion.tokens), completion.finished) == (expected, True in ends)
    assert {completion.finished for completion in found} == {True, False}


def test_an_architecture_without_a_cache_is_refused_by_its_name() -> None:
    from groupwise.engines.transformers_engine import _cache_of
    from groupwise.errors import UserError

    class Forgetful:
        pass

    with pytest.raises(UserError, match="Forgetful can't be sampled from: its forward pass gives back no past_key"):
        _cache_of(Forgetful(), {"logits": 0})
