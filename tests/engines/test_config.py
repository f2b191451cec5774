"""Which engine a model gets, and what is said where it is not the fastest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise.engines import Native
from groupwise.engines.cpp import CppEngine
from groupwise.engines.torch_engine import TorchEngine
from groupwise.engines.transformers_engine import TransformersEngine
from groupwise.errors import UserError
from groupwise.kernels import build
from groupwise.learners import Local
from groupwise.learners.loading import load_tokenizer
from groupwise.types import Request, Sampling

FAMILIES = ["llama", "llama, biases everywhere", "mistral", "qwen2", "qwen3, tied head, yarn rope", "gemma", "gemma2"]


def opened(model: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return Native().open("made here", model, None, notes.append), notes


@pytest.mark.parametrize("name", [*FAMILIES, "gemma3_text"])
def test_the_families_are_compiled_and_nothing_is_said(make_model: Any, name: str) -> None:
    engine, notes = opened(make_model(name))
    assert isinstance(engine, CppEngine)
    assert engine.threads >= 1
    assert notes == []


def test_another_architecture_goes_the_general_way_and_says_so(make_model: Any) -> None:
    engine, notes = opened(make_model("gpt_neox"))
    assert isinstance(engine, TransformersEngine)
    assert len(notes) == 2
    assert "gpt_neox" in notes[0]
    assert "\n" not in "".join(notes)
    assert re.fullmatch(r"engine: decoding with a cache and one forward pass agree to \S+ nats on a probe", notes[1])
    assert float(notes[1].split()[-5]) < 1e-4


def test_the_general_way_is_probed_too(make_model: Any) -> None:
    """One that decodes otherwise with a cache is named, and one that has none, before anything is sampled."""
    model = make_model("gpt_neox")
    forward = model.forward

    def shaken(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        if options.get("past_key_values") is not None:
            output.logits = output.logits / 2
        return output

    model.forward = shaken
    engine, notes = opened(model)
    assert isinstance(engine, TransformersEngine)
    assert re.search(
        r"decoding with a cache gives log-probabilities that differ by \S+ from those of gpt_neox", notes[1]
    )

    def forgetful(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        return type(output)(logits=output.logits)

    model.forward = forgetful
    engine, notes = opened(model)
    assert "GPTNeoXForCausalLM can't be sampled from: its forward pass gives back no past_key_values" in notes[1]
    with pytest.raises(UserError, match="GPTNeoXForCausalLM can't be sampled from"):
        list(engine.generate([Request((5, 6), (1,))], Sampling(3)))


def test_another_precision_is_sampled_in_plain_torch(make_model: Any) -> None:
    engine, notes = opened(make_model("qwen3").double())
    assert isinstance(engine, TorchEngine)
    assert notes == ["engine: weights are float64 on cpu; sampling in plain torch, slower"]


@pytest.fixture
def libraries() -> Iterator[None]:
    """Asked for again, and once more when the test's environment is gone."""
    build.library.cache_clear()
    yield
    build.library.cache_clear()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("GROUPWISE_KERNELS", "off", "GROUPWISE_KERNELS is off"),
        ("CXX", "no-such-compiler", "no-such-compiler could not make decode"),
        ("CXX", "false", "false could not make decode"),
        ("PATH", "", "no C++ compiler found"),
    ],
)
def test_without_a_compiler_the_same_tokens_come_more_slowly(
    make_model: Any,
    libraries: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    setting: str,
    value: str,
    said: str,
) -> None:
    model, requests = make_model("qwen3"), [Request((5, 6, 7), (1, 2, 3))]
    expected = {(n, i): c.tokens for n, i, c in opened(model)[0].generate(requests, Sampling(12))}
    build.library.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(setting, value)
    engine, notes = opened(model)
    assert isinstance(engine, TorchEngine)
    assert len(notes) == 1
    assert said in notes[0]
    assert "\n" not in notes[0]
    assert {(n, i): c.tokens for n, i, c in engine.generate(requests, Sampling(12))} == expected


def test_a_model_that_computes_something_else_is_noticed(make_model: Any) -> None:
    """Whatever its config says: log-probabilities of a probe decide."""
    model = make_model("llama")
    model.forward = _half_as_sure(model.forward)
    engine, notes = opened(model)
    assert isinstance(engine, TransformersEngine)
    assert [("differ by" in note, "\n" in note) for note in notes] == [(True, False), (True, False), (False, False)]


def _half_as_sure(forward: Any) -> Any:
    def scaled(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = output.logits / 2
        return output

    return scaled


def test_threads_are_as_asked(make_model: Any) -> None:
    engine = Native(threads=3).open("made here", make_model("qwen3"), None)
    assert isinstance(engine, CppEngine)
    assert engine.threads == 3


def test_a_short_context_needs_no_probe(make_model: Any) -> None:
    model = make_model("qwen3")
    model.config.max_position_embeddings = 6
    engine, _ = opened(model)
    [(_, _, completion)] = engine.generate([Request((5, 6), (1,))], Sampling(9))
    assert len(completion.tokens) == 4
    assert torch.isfinite(torch.tensor(completion.logprobs)).all()


def test_without_a_live_module_an_engine_loads_the_directory_itself(tiny_model: Path) -> None:
    """The same completions as on the module of a learner; ``dtype`` is its own."""
    learner = Local(device="cpu", threads=1).open(tiny_model)
    requests = [Request((5, 6, 7), (1, 2, 3)), Request((8, 9), (4,))]

    def said(live: Any, **options: str) -> tuple[Any, dict[tuple[int, int], Any]]:
        engine = Native().open(tiny_model, live, learner.tokenizer, device="cpu", **options)
        return engine, {(n, i): (c.tokens, c.logprobs) for n, i, c in engine.generate(requests, Sampling(12))}

    (shared, expected), (own, found) = said(learner.live_module()), said(None)
    assert found == expected
    assert shared.model is learner.model
    assert own.model is not learner.model
    assert not any(parameter.requires_grad for parameter in own.model.parameters())
    assert next(said(None, dtype="float64")[0].model.parameters()).dtype == torch.float64


def test_a_directory_without_a_model_is_named(tmp_path: Path, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        Native().open(tmp_path, None, tokenizer)
    lost = len(tokenizer)
    tokenizer.add_tokens(["<beyond>"])
    with pytest.raises(UserError, match=rf"<beyond>' \({lost}\)"):
        Native().open(tiny_model, None, tokenizer, device="cpu")


def test_a_scorer_is_no_policy_to_sample_from(tiny_model: Path) -> None:
    assert Local(device="cpu", threads=1).open_scorer(tiny_model).policy is None
