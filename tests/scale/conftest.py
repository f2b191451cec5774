"""A model that servers sample from, and what an engine in this process draws of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from served import REQUESTS, SAMPLING, Found, Place

from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.networks import blueprint_of


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.15}
    torch.manual_seed(3)
    config = transformers.Qwen3Config(**sizes, **heads, max_position_embeddings=96, tie_word_embeddings=True)
    return transformers.Qwen3ForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture
def place(model: Any, tokenizer: Any, tmp_path: Path) -> Iterator[Place]:
    opened = Place(model, tokenizer, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def expected(model: Any) -> Found:
    parts = blueprint_of(model)
    decoder = decoder_for(parts)  # type: ignore[arg-type]
    engine = CppEngine(model, parts, decoder, 8, threads=1)  # type: ignore[arg-type]
    return {(row, index): one for row, index, one in engine.generate(REQUESTS, SAMPLING)}
