"""What makes two prompts one prompt, wherever prompts are shared; and which weights drew which tokens."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from groupwise.engines.torch_engine import TorchEngine
from groupwise.learners.batching import micro_batches, tokens_together
from groupwise.learners.micro_batch import MicroBatch
from groupwise.networks import blueprint_of
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Completion, Example, Prompt, Request, Rollout, Sampling

ROW = Example("row", "question")


@dataclass(frozen=True)
class Pictured(Prompt):
    """A prompt of which a network reads more than ids."""

    picture: str = ""

    @cached_property
    def key(self) -> bytes:
        return super().key + self.picture.encode()


@dataclass(frozen=True)
class PicturedRequest(Request):
    picture: str = ""

    @cached_property
    def key(self) -> bytes:
        return super().key + self.picture.encode()


def test_equal_tokens_have_equal_keys() -> None:
    """Whatever row they come from, and whatever made them; a key is found once."""
    one, again = Prompt(ROW, (5, 6)), Prompt(Example("other", "else"), (5, 6), opens_thinking=True)
    assert one.key == again.key == Request((5, 6), (1,)).key == pickle.loads(pickle.dumps(one)).key
    assert one.key is one.key
    assert one == Prompt(ROW, (5, 6))
    assert replace(one, tokens=(5,)).key == Prompt(ROW, (5,)).key


def test_other_tokens_have_other_keys() -> None:
    tokens: list[tuple[int, ...]] = [(), (0,), (0, 0), (5, 6), (6, 5), (56,), (5, 6, 0), (2**31,), (2**40,)]
    assert len({Prompt(ROW, each).key for each in tokens}) == len(tokens)


@pytest.fixture
def pictures(make_rollout: Callable[..., Rollout]) -> list[Rollout]:
    """Four completions behind the same placeholders: two of one picture, two of another."""
    rows = [make_rollout((7, 7, 7), (10 + place,) * (place + 1)) for place in range(4)]
    return [replace(row, prompt=Pictured(ROW, (7, 7, 7), picture="ab"[n // 2])) for n, row in enumerate(rows)]


def test_two_pictures_behind_the_same_ids_stay_two_prompts(pictures: list[Rollout]) -> None:
    """Packed, each stands there by itself: 2 x 3 tokens of prompts; as plain prompts one stands for all four."""
    plain = [replace(row, prompt=Prompt(ROW, row.prompt.tokens)) for row in pictures]
    assert [len(MicroBatch.of(rows, "cpu").packing.prompts) for rows in (pictures, plain)] == [2, 1]
    assert [tokens_together(rows, range(4), padded=False) for rows in (pictures, plain)] == [3 + 3 + 10, 3 + 10]
    assert [sorted(rows) for rows in micro_batches(pictures, budget=10)] == [[2, 3], [0, 1]]
    assert [sorted(rows) for rows in micro_batches(plain, budget=13)] == [[0, 1, 2, 3]]


def test_an_engine_computes_each_of_them(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with one key are one prompt in the cache; with two keys two."""
    from groupwise.engines import scheduler

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    parts = blueprint_of(model)
    assert not isinstance(parts, str)
    engine = TorchEngine(model, parts, 8)
    computed: list[int] = []
    prefill = scheduler.Batch.prefill

    def counted(self: scheduler.Batch, requests: list[Request]) -> None:
        computed.append(len(requests))
        prefill(self, requests)

    monkeypatch.setattr(scheduler.Batch, "prefill", counted)
    for kinds, expected in ((("a", "b"), 2), (("a", "a"), 1)):
        computed.clear()
        requests = [PicturedRequest((7, 8, 9), (number,), picture=kind) for number, kind in enumerate(kinds)]
        found = {number: one for number, _, one in engine.generate(requests, Sampling(4))}
        assert (sum(computed), len(found)) == (expected, 2)


def test_spans_say_who_drew_what(make_rollout: Callable[..., Rollout]) -> None:
    whole = Completion((7, 8, 9), (-1.0,) * 3, True, 5)
    assert whole.spans == ((5, 3),)
    begun = replace(whole, version=4, versions=((4, 1), (5, 3)))
    assert begun.spans == begun.versions == ((4, 1), (5, 3))
    rollout = replace(make_rollout((5,), (7, 8, 9)), version=4, versions=begun.versions)
    assert rollout.spans == begun.spans
    assert replace(rollout, version=ANOTHER_POLICY, versions=()).spans == ((ANOTHER_POLICY, 3),)
    assert Completion((), (), True, 2, versions=((2, 0),)).spans == ((2, 0),)


@pytest.mark.parametrize(
    ("version", "versions", "said"),
    [
        (5, ((4, 1), (5, 3)), "the oldest"),
        (4, ((4, 1), (5, 2)), "up to the last token"),
        (4, ((4, 3), (5, 3)), "in order"),
        (4, ((4, 0), (5, 3)), "in order"),
        (4, ((4, 2), (5, 1)), "in order"),
        (DEMONSTRATED, ((DEMONSTRATED, 1), (5, 3)), "a whole completion"),
        (ANOTHER_POLICY, ((5, 1), (ANOTHER_POLICY, 3)), "a whole completion"),
    ],
)
def test_spans_that_mean_nothing_are_refused(
    version: int, versions: tuple[tuple[int, int], ...], said: str, make_rollout: Callable[..., Rollout]
) -> None:
    with pytest.raises(ValueError, match=said):
        Completion((7, 8, 9), (-1.0,) * 3, True, version, versions=versions)
    with pytest.raises(ValueError, match=said):
        replace(make_rollout((5,), (7, 8, 9)), version=version, versions=versions)
