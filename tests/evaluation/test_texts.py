"""Bits per byte: numbers by hand, windows, intervals and pairs."""

from __future__ import annotations

from math import log
from typing import Any, ClassVar

import pytest
import torch

from groupwise.errors import UserError
from groupwise.evaluation.statistics import Interval
from groupwise.evaluation.texts import TextEvaluation, evaluate_text, ratio_interval, text_difference
from groupwise.types import Example


class Bytes:
    """A renderer whose tokens are bytes; EOS is 256."""

    eos_token_id = 256
    added_tokens_decoder: ClassVar[dict[int, Any]] = {}
    all_special_tokens: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.tokenizer: Any = self

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(text.encode())


class Halves:
    """A learner that gives every token the probability 1/2, and keeps what it was asked."""

    context_tokens = 4

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def logprobs(self, rollouts: list, temperature: float) -> torch.Tensor:  # type: ignore[type-arg]
        width = max(len(rollout.tokens) for rollout in rollouts)
        table = torch.zeros(len(rollouts), width)
        for row, rollout in enumerate(rollouts):
            self.seen.append((*rollout.prompt.tokens, *rollout.tokens))
            table[row, : len(rollout.tokens)] = -log(2)
        return table


def documents(*texts: str) -> list[Example]:
    return [Example(f"row:{n}", "", text) for n, text in enumerate(texts)]


def test_a_bit_a_byte_where_every_byte_has_probability_one_half() -> None:
    found = evaluate_text(Halves(), Bytes(), documents("abcdefgh", "", "日本"))  # type: ignore[arg-type]
    assert found.bits_per_byte.value == pytest.approx(1.0)
    assert found.bytes == (8, 6)
    assert found.ids == ("row:0", "row:2")
    assert found.tokens == 14


def test_windows_predict_every_token_once() -> None:
    learner = Halves()
    evaluate_text(learner, Bytes(), documents("abcdefgh"))  # type: ignore[arg-type]
    assert learner.seen == [(256, *b"abc"), (*b"cdef",), (*b"fgh",)]


def test_the_interval_of_a_ratio() -> None:
    assert ratio_interval([2.0, 4.0], [1, 2]) == Interval(2.0, 2.0, 2.0)
    found = ratio_interval([1.0, 3.0], [1, 1])  # deviations -1 and 1: variance 2 * 2, over a total of 2
    assert found.value == 2
    assert found.high == pytest.approx(2 + 1.959964 * 2 / 2)


def test_pairs_need_the_same_documents() -> None:
    one = TextEvaluation("t", ("a", "b"), (8.0, 16.0), (4, 8), 3, Interval(2.0, 1.0, 3.0))
    two = TextEvaluation("t", ("a", "b"), (4.0, 8.0), (4, 8), 3, Interval(1.0, 0.0, 2.0))
    assert text_difference(one, two).value == -1.0
    assert TextEvaluation.from_json(one.to_json()) == one
    with pytest.raises(ValueError, match="same documents"):
        text_difference(one, TextEvaluation("t", ("a",), (4.0,), (4,), 1, Interval(1.0, 0.0, 2.0)))
    with pytest.raises(UserError, match="no held-out document"):
        evaluate_text(Halves(), Bytes(), documents(""))  # type: ignore[arg-type]
