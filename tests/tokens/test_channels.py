"""An answer in channels: the final one is what rewards and readers get, the tokens are kept."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.tokens.renderer import Renderer
from groupwise.types import Example

from .test_renderer import make_tokenizer

MARKS = ("<|channel|>", "<|message|>", "<|start|>", "<|return|>", "<|call|>")
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>"
    "{{ m.content }}{% if m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


@pytest.fixture
def renderer() -> Renderer:
    tokenizer: Any = make_tokenizer(TEMPLATE)
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    return Renderer(tokenizer)


THOUGHT = "<|channel|>analysis<|message|>2 and 3 make 5"
FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"{THOUGHT}{FINAL}#### 5<|return|>", "#### 5"),
        ("<|channel|>final<|message|>2+3=5<|return|>", "2+3=5"),
        (f"<|channel|>final json<|message|>{{}}{FINAL}5", "5"),
        (f"{THOUGHT}{FINAL}", ""),
        (f"{THOUGHT}", "analysis2 and 3 make 5"),
        (f"{THOUGHT}<|end|><|start|>assistant<|channel|>final", "analysis2 and 3 make 5assistantfinal"),
        ("<|channel|>commentary to=f<|message|>{}<|call|>", "commentary to=f{}"),
        ("the final<|message|>", "the final"),
        ("", ""),
    ],
)
def test_the_final_channel_is_the_answer(renderer: Renderer, said: str, shown: str) -> None:
    tokens = renderer.tokenizer.encode(said, add_special_tokens=False)
    assert renderer.decode(tokens) == shown
    assert "".join(renderer.pieces(tokens)) == shown
    assert len(renderer.pieces(tokens)) == len(tokens)


def test_a_demonstration_says_its_answer(renderer: Renderer) -> None:
    rollout = renderer.demonstration(Example("row", "2+3=", "final words: 5"))
    assert rollout.text == "final words: 5"
    assert renderer.tokenizer.decode(rollout.tokens).startswith("<|channel|>final<|message|>final words")


def test_without_channels_nothing_changes() -> None:
    plain = Renderer(make_tokenizer())
    tokens = plain.tokenizer.encode("<|channel|>final<|message|>5", add_special_tokens=False)
    assert plain.decode(tokens) == "<|channel|>final<|message|>5"
