"""Our model in lm-eval's hands gives what transformers gives there, number for number."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from groupwise.errors import UserError
from groupwise.harness import version
from groupwise.harness.model import GroupwiseLM, _alike
from groupwise.learners import NewModel

MODEL = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=48)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    path = tmp_path_factory.mktemp("harness") / "model"
    MODEL.save(path, seed=1)
    theirs = HFLM(pretrained=str(path), device="cpu", dtype="float32", batch_size=1, max_length=48)
    return GroupwiseLM(str(path), device="cpu"), theirs


def asked(kind: str, *arguments: Any) -> list[Instance]:
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


def texts(count: int, most: int) -> list[str]:
    source = random.Random(5)
    words = ["one", "two", "three", "+", "=", "4", "71", "the", "of", "(x)", "\n", "é", "日"]
    return [" ".join(source.choice(words) for _ in range(source.randint(1, most))) for _ in range(count)]


def test_log_likelihoods_are_those_of_transformers(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    contexts = [f"one {text}" for text in texts(180, 5)] + [""] * 10 + [f"one {text}" for text in texts(10, 60)]
    pairs = [(context, f" {text}") for context, text in zip(contexts, texts(200, 2), strict=True)]
    found = ours.loglikelihood(asked("loglikelihood", *pairs))
    wanted = theirs.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    assert [total for total, _ in found] == pytest.approx([total for total, _ in wanted], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]


def test_rolling_log_likelihoods_are_those_of_transformers(models: tuple[Any, Any]) -> None:
    ours, theirs = models
    requests = asked("loglikelihood_rolling", *((text,) for text in texts(12, 60)))
    wanted = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests) == pytest.approx(wanted, abs=1e-3)


def test_generations_end_before_the_first_stop_text(models: tuple[Any, Any]) -> None:
    ours, _ = models
    whole = ours.generate_until(asked("generate_until", *((text, {"max_gen_toks": 20}) for text in texts(4, 3))))
    stop = whole[0][3:5]
    settings = {"max_gen_toks": 20, "until": [stop]}
    cut = ours.generate_until(asked("generate_until", *((text, settings) for text in texts(4, 3))))
    assert cut == [text.split(stop)[0] for text in whole]


@pytest.mark.parametrize(
    ("settings", "most", "temperature"),
    [
        ({}, 0, 0.0),
        ({"temperature": 0.7}, 0, 0.7),
        ({"temperature": 0.7, "do_sample": False}, 0, 0.0),
        ({"do_sample": True}, 0, 1.0),
        ({"do_sample": True, "temperature": 0.0}, 0, 0.0),
        ({"max_tokens": 7, "max_new_tokens": 5}, 5, 0.0),
        ({"max_completion_tokens": 9}, 9, 0.0),
        ({"max_gen_toks": 3, "max_new_tokens": 5, "until": [""]}, 3, 0.0),
    ],
)
def test_settings_of_a_generation_mean_what_they_mean_in_lm_eval(
    settings: dict[str, Any], most: int, temperature: float
) -> None:
    assert list(_alike([settings])) == [(most, temperature, 1.0, 0, ())]


@pytest.mark.parametrize("most", [1, 47, 48, 500])
def test_a_context_and_its_answer_never_need_more_than_the_context(models: tuple[Any, Any], most: int) -> None:
    ours, _ = models
    settings = {"max_gen_toks": most, "until": []}
    found = ours.generate_until(asked("generate_until", ("", settings), ("one two " * 60, settings)))
    assert [isinstance(text, str) for text in found] == [True, True]


def test_an_old_harness_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "version", lambda name: "0.3.0")
    with pytest.raises(UserError, match=r"lm-eval 0\.3\.0 is installed.*without \[math\]"):
        version.refuse_version()
    monkeypatch.setattr(version, "version", lambda name: "0.4.13")
    version.refuse_version()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(UserError, match="model_args parallelize: not known"):
        GroupwiseLM("nowhere", parallelize=True)
