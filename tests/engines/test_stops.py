"""Stop strings: what tokens spell, and where a completion ends."""

from __future__ import annotations

import pytest

from groupwise.engines.stops import StopText, no_spelling, spelling_of
from groupwise.learners.new_model import byte_tokenizer
from groupwise.types import Sampling


@pytest.mark.parametrize("stop", ["</a>", "é", "\n\n"])
def test_tokens_spell_their_text(stop: str) -> None:
    """Characters cut in two included; special tokens spell nothing."""
    tokenizer = byte_tokenizer()
    spelled = spelling_of(tokenizer)()
    assert len(spelled) == len(tokenizer)
    text = f"naïve 日本 {stop}!"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(spelled[token] for token in tokens).decode() == text
    assert spelled[tokenizer.eos_token_id] == b""
    ends = StopText(Sampling(9, stop_strings=(stop,)), spelling_of(tokenizer))
    assert [ends.ends_with(token) for token in tokens] == [False] * (len(tokens) - 2) + [True, False]


def test_a_vocabulary_is_spelled_once_and_only_when_asked_for() -> None:
    class Counting:
        count = 0

        def __getattr__(self, name: str) -> object:
            Counting.count += 1
            return getattr(tokenizer, name)

        def __len__(self) -> int:
            return len(tokenizer)

    tokenizer = byte_tokenizer()
    spelling = spelling_of(Counting())
    assert Counting.count == 0
    first = spelling()
    counted = Counting.count
    assert spelling() is first
    assert Counting.count == counted > 0


def test_without_a_tokenizer_nothing_is_spelled() -> None:
    with pytest.raises(ValueError, match="expected it at Native"):
        no_spelling()
