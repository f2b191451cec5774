"""An adapter by itself is a model: what it names, with it in the weights."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from groupwise.errors import UserError
from groupwise.learners import Local, Lora
from groupwise.learners.loading import load_model
from groupwise.learners.source import check_model

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a run leaves it beside its model, with numbers in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    learner = Local(device="cpu", threads=1, lora=Lora(rank=2)).open(tiny_model)
    with torch.no_grad():
        for parameter in learner._adapters.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    learner.save(tmp_path / "model")
    return tmp_path / "model" / "adapter"


def test_it_says_what_the_merged_model_says(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, expected = load_model(adapter), AutoModelForCausalLM.from_pretrained(adapter.parent)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(ours(ids).logits, expected(ids).logits, atol=1e-5, rtol=1e-5)
    assert "made into a model directory once" in capsys.readouterr().err
    assert Local(device="cpu", threads=1).open(adapter).tokenizer.chat_template
    assert "once" not in capsys.readouterr().err


def test_another_adapter_of_the_same_name_is_made_anew(adapter: Path, tmp_path: Path) -> None:
    first = check_model(adapter)
    text = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(json.dumps(json.loads(text) | {"lora_alpha": 64}))
    assert check_model(adapter) != first


def test_an_adapter_that_leads_nowhere_is_one_line(adapter: Path, tmp_path: Path) -> None:
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    said = {
        "./gone": r"an adapter of \./gone, which can't be opened: \./gone: no such model directory",
        str(adapter): "an adapter of the adapter .*; expected adapter_config.json to name a model",
        "": "an adapter of no model",
        None: "an adapter of no model",
    }
    for base, words in said.items():
        path.write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(UserError, match=words):
            check_model(adapter)
    path.write_text("[]")
    with pytest.raises(UserError, match="an adapter of no model"):
        check_model(adapter)
    path.write_text(json.dumps(config))
    weights = adapter / "adapter_model.safetensors"
    shutil.move(weights, tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"an adapter without adapter_model\.safetensors"):
        check_model(adapter)
    weights.write_bytes(b"cut")
    with pytest.raises(UserError, match="the adapter can't be put into"):
        check_model(adapter)
