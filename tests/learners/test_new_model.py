"""The model made from a config: real transformers files, any text in and out, weights decided by the seed."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen3ForCausalLM

from groupwise.learners import NewModel
from groupwise.learners.new_model import SPECIAL_TOKENS, byte_tokenizer

TOKENIZER = byte_tokenizer()


def test_it_is_a_directory_that_transformers_loads(tiny_model: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.config.vocab_size == len(tokenizer) == 261
    assert model.config.max_position_embeddings == 128
    assert tokenizer.eos_token == "<|end|>" != tokenizer.pad_token == "<|pad|>"
    generation = GenerationConfig.from_pretrained(tiny_model)
    assert generation.eos_token_id == tokenizer.eos_token_id
    assert generation.pad_token_id == tokenizer.pad_token_id
    text = "3 + 4 = ?\n<<3+4=7>> é 中"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("é")["input_ids"]) == 2


def test_the_default_has_about_a_million_parameters(tmp_path: Path) -> None:
    NewModel().save(tmp_path)
    count = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(tmp_path).parameters())
    assert 0.8e6 < count < 1.2e6


def test_weights_are_a_function_of_the_seed(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        NewModel(32, 1, 2, 64).save(tmp_path / name, seed)
        weights.append(AutoModelForCausalLM.from_pretrained(tmp_path / name).model.embed_tokens.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_goes_in_and_comes_out(text: str) -> None:
    ids = TOKENIZER(text, split_special_tokens=True)["input_ids"]
    assert len(ids) == len(text.encode())
    assert TOKENIZER.decode(ids) == text


def test_special_tokens_are_one_token_each() -> None:
    for number, token in enumerate(SPECIAL_TOKENS):
        assert TOKENIZER(token)["input_ids"] == [number]


def test_the_chat_template_opens_the_assistants_turn() -> None:
    conversation = [{"role": "user", "content": "1+1"}]
    assert TOKENIZER.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True) == (
        "<|user|>1+1<|assistant|>"
    )
    answered = [*conversation, {"role": "assistant", "content": "2"}]
    assert TOKENIZER.apply_chat_template(answered, tokenize=False) == "<|user|>1+1<|assistant|>2<|end|>"
