"""A fault of config.json is one line that names the file, the entry, what stands there and what was expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.learners.loading import load_config, load_model, load_tokenizer
from groupwise.learners.shape import shape_of

TEXTS = {
    "": "is no JSON: Expecting value",
    "{a": "is no JSON: Expecting property name",
    "[]": "is [] and no JSON object",
    '"x"': 'is "x" and no JSON object',
    "null": "is null and no JSON object",
    "{}": "is empty",
    "\ufeff{}": "is no JSON",
}

ENTRIES: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "lllama"}, "model_type is 'lllama', which transformers "),
    ({"model_type": "lllama"}, "perhaps you meant llama"),
    ({"model_type": 3}, "model_type is 3; expected the name of an architecture"),
    ({"model_type": None}, "model_type is null; expected the name of an architecture"),
    ({"model_type": "t5"}, "model_type is 't5', which is no causal language model"),
    ({"hidden_size": "128"}, 'hidden_size is "128"; expected int'),
    ({"hidden_size": 128.0}, "hidden_size is 128.0; expected int"),
    ({"hidden_size": None}, "hidden_size is null; expected int"),
    ({"hidden_size": [128]}, "hidden_size is [128]; expected int"),
    ({"hidden_size": 0}, "hidden_size is 0; expected 1 or more"),
    ({"num_attention_heads": 0}, "num_attention_heads is 0; expected 1 or more"),
    ({"num_key_value_heads": 0}, "num_key_value_heads is 0; expected 1 or more"),
    ({"num_key_value_heads": 3}, "num_key_value_heads is 3; expected a number that divides num_attention_heads, 2"),
    ({"num_hidden_layers": "2"}, 'num_hidden_layers is "2"; expected int'),
    ({"layer_types": ["foo"]}, "`layer_types`"),
    ({"vocab_size": -5}, "vocab_size is -5; expected 1 or more"),
    ({"hidden_act": "sillu"}, "hidden_act is 'sillu'; perhaps you meant silu"),
    ({"hidden_act": 1}, "hidden_act is 1; expected str"),
    ({"rms_norm_eps": "small"}, 'rms_norm_eps is "small"; expected float'),
    ({"rope_parameters": [1]}, "rope_parameters is [1]; expected dict or null"),
    ({"rope_parameters": {"rope_type": "foo", "rope_theta": 1e4}}, 'rope_type is "foo"; expected one of default,'),
    ({"dtype": "float31"}, "dtype is 'float31'; expected float32"),
    ({"eos_token_id": "x"}, 'eos_token_id is "x"; expected int or null'),
    ({"pad_token_id": 10**6}, "pad_token_id is 1000000; expected an id below vocab_size"),
    ({"max_position_embeddings": "x"}, 'max_position_embeddings is "x"; expected int'),
    ({"architectures": 3}, "architectures is 3; expected a list of names of classes, or null"),
    ({"architectures": [3]}, "architectures is [3]; expected a list of names of classes, or null"),
    ({"rope_scaling": "x"}, "rope"),
    ({"tie_word_embeddings": "no"}, 'tie_word_embeddings is "no"; expected bool'),
]


def spoilt(model: Path, tmp: Path, text: str) -> Path:
    """Returns a copy of the model with this config.json."""
    path = Path(shutil.copytree(model, tmp / "copy"))
    (path / "config.json").write_text(text, encoding="utf-8")
    return path


def complaint(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: config.json")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_that_is_no_object(tiny_model: Path, tmp_path: Path, text: str) -> None:
    path = spoilt(tiny_model, tmp_path, text)
    for read in (load_tokenizer, load_model, load_config, shape_of):
        assert TEXTS[text] in complaint(read, path)


def test_bytes_that_are_no_text(tiny_model: Path, tmp_path: Path) -> None:
    path = spoilt(tiny_model, tmp_path, "")
    (path / "config.json").write_bytes(b"\xff\xfe{}")
    assert "is no JSON: 'utf-8' codec can't decode" in complaint(load_tokenizer, path)


def opened(path: Path) -> None:
    """Opens a model as commands do: its tokenizer first."""
    load_tokenizer(path)
    load_model(path)


@pytest.mark.parametrize(("entries", "expected"), ENTRIES, ids=str)
def test_an_entry_that_makes_no_model(tiny_model: Path, tmp_path: Path, entries: dict[str, Any], expected: str) -> None:
    said = json.loads((tiny_model / "config.json").read_text(encoding="utf-8"))
    assert expected in complaint(opened, spoilt(tiny_model, tmp_path, json.dumps(said | entries)))


def test_no_model_type(tiny_model: Path, tmp_path: Path) -> None:
    said = json.loads((tiny_model / "config.json").read_text(encoding="utf-8"))
    del said["model_type"]
    assert "model_type is missing" in complaint(opened, spoilt(tiny_model, tmp_path, json.dumps(said)))
