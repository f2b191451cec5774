"""A model's directory is what a stranger made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from groupwise.errors import UserError
from groupwise.learners.loading import load_model, load_scorer, load_tokenizer


class Executes:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def sharded(model: Path, to: Path, **leads: str) -> Path:
    """A copy whose index leads each weight to its shard, or where ``leads`` says."""
    path = Path(shutil.copytree(model, to))
    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    save_file(weights, path / "a.safetensors", metadata={"format": "pt"})
    names = dict.fromkeys(weights, "a.safetensors")
    first = next(iter(names))
    names[first] = leads.get("first", names[first])
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return path


def test_an_index_of_safetensors_is_read(tiny_model: Path, tmp_path: Path) -> None:
    expected, found = load_model(tiny_model).state_dict(), load_model(sharded(tiny_model, tmp_path / "a")).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "name",
    [
        "w.bin",
        "../other/a.safetensors",
        "/etc/a.safetensors",
        "w.pt",
        "sub/a.safetensors",
        "",
        "w.safetensors.pkl",
        "C:\\a",
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tiny_model: Path, tmp_path: Path, name: str) -> None:
    path = sharded(tiny_model, tmp_path / "a", first=name)
    torch.save({"x": Executes(tmp_path / "PWNED")}, path / "w.bin")
    for load in (load_model, load_tokenizer, load_scorer):
        with pytest.raises(UserError, match=r"index\.json: leads to"):
            load(path)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_an_index_that_is_none(tiny_model: Path, tmp_path: Path, text: str) -> None:
    path = sharded(tiny_model, tmp_path / "a")
    (path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match=r"index\.json: "):
        load_model(path)


def test_an_index_by_another_name(tiny_model: Path, tmp_path: Path) -> None:
    """A config can name the file that transformers begins with."""
    path = sharded(tiny_model, tmp_path / "a", first="w.bin")
    (path / "model.safetensors.index.json").rename(path / "x.safetensors.index.json")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"transformers_weights": "x.safetensors.index.json"}))
    with pytest.raises(UserError, match=r"leads to 'w\.bin'"):
        load_model(path)


def test_an_adapter_beside_a_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_model, tmp_path / "a"))
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    torch.save({"x": Executes(tmp_path / "PWNED")}, path / "adapter_model.bin")
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        load_model(path)


WRONG = [
    ("config.json", {"vocab_size": "many"}),
    ("config.json", {"hidden_size": None}),
    ("config.json", {"architectures": 3}),
    ("config.json", {"architectures": [3]}),
    ("config.json", {"model_type": ["qwen3"]}),
    ("config.json", {"num_attention_heads": 0}),
    ("config.json", {"rope_scaling": "x"}),
    ("config.json", {"transformers_weights": "../w.bin"}),
    ("config.json", "[]"),
    ("config.json", '"x"'),
    ("config.json", "null"),
    ("tokenizer.json", "{}"),
    ("tokenizer.json", "[1"),
    ("tokenizer.json", {"model": 3}),
    ("tokenizer_config.json", "[]"),
    ("tokenizer_config.json", {"added_tokens_decoder": 3}),
    ("generation_config.json", "[]"),
    ("model.safetensors", "x"),
]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_wrong_files_are_one_line(tiny_model: Path, tmp_path: Path, name: str, change: str | dict[str, Any]) -> None:
    path = Path(shutil.copytree(tiny_model, tmp_path / "a"))
    if isinstance(change, dict):
        before = json.loads((path / name).read_text()) if (path / name).exists() else {}
        change = json.dumps(before | change)
    (path / name).write_text(change)
    for load in (load_tokenizer, load_model):
        said = refusal(load, path)
        assert not said or (str(path) in said and "\n" not in said)


def refusal(load: Callable[[Path], Any], path: Path) -> str:
    """What is said; empty where the file is read all the same. Any other error is a fault."""
    try:
        load(path)
    except UserError as error:
        return str(error)
    return ""
