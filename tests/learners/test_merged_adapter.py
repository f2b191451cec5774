"""An adapter by itself is a model: what it names, with it in the weights."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from groupwise.errors import UserError
from groupwise.learners import Local, Lora, NewModel
from groupwise.learners.loading import load_model
from groupwise.learners.source import check_model

pytestmark = pytest.mark.skipif(not find_spec("peft"), reason="peft is not installed")


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


def test_merging_warns_of_nothing(adapter: Path, recwarn: pytest.WarningsRecorder) -> None:
    check_model(adapter)
    assert not [str(warning.message) for warning in recwarn]


def test_a_fault_of_the_base_is_not_the_adapters(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "config.json").write_text(json.dumps({"model_type": "lllama"}))
    text = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(json.dumps(json.loads(text) | {"base_model_name_or_path": str(base)}))
    with pytest.raises(UserError, match=r"base: config\.json: model_type is 'lllama'.*perhaps you meant llama"):
        check_model(adapter)


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


def saved(model: Path, directory: Path, options: dict[str, Any]) -> Any:
    """peft's own adapter, with numbers in it; the logits of some ids, by peft."""
    import peft  # a second of each process that lists tests, were it at the top

    torch.manual_seed(0)
    config = getattr(peft, options.pop("config", "LoraConfig"))(**options)
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        logits = adapted(IDS).logits
    adapted.save_pretrained(directory)
    return logits


IDS = torch.arange(5, 25)[None]
TARGETS = ["q_proj", "v_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "ranks and scales by layer": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 32}},
    "magnitudes apart (DoRA)": {"use_dora": True},
    "of an embedding that is the head": {"target_modules": ["embed_tokens", "q_proj"]},
    "of some layers": {"layers_to_transform": [1]},
    "rows of an embedding that is the head": {"trainable_token_indices": [7, 9]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_every_kind_of_adapter_says_what_peft_says(
    options: dict[str, Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = saved(tiny_model, tmp_path / "a", {"r": 4, "target_modules": TARGETS, **options})
    ours = load_model(tmp_path / "a")
    torch.testing.assert_close(ours(IDS).logits, expected, atol=1e-5, rtol=1e-5)
    assert ours.config.tie_word_embeddings == ("embed_tokens" not in options.get("target_modules", ()))


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_that_does_not_fit_is_told_why(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for fewer layers than it has, one for other layers, one of another width, and kinds that add no weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    saved(tiny_model, tmp_path / "a", {"r": 4, "target_modules": TARGETS})
    path = tmp_path / "a" / "adapter_config.json"
    config = json.loads(path.read_text())
    sizes = {"hidden_size": 32, "heads": 2, "intermediate_size": 64, "context_tokens": 128}
    for name, changed in (("shallow", {"layers": 1}), ("deep", {"layers": 3}), ("wide", {"hidden_size": 64})):
        NewModel(**{"layers": 2, **sizes, **changed}).save(tmp_path / name)
    for changes, words in (
        ({"base_model_name_or_path": str(tmp_path / "shallow")}, r"has no place for .*layers\.1.* and 3 others"),
        ({"base_model_name_or_path": str(tmp_path / "deep")}, r"needs .*layers\.2.* and 3 others"),
        ({"base_model_name_or_path": str(tmp_path / "wide")}, "PeftModel: size mismatch for .*q_proj"),
        ({"target_modules": ["q_proj"]}, r"has no place for .*v_proj.* and 3 others"),
        ({"peft_type": "PROMPT_TUNING"}, "an adapter of kind PROMPT_TUNING, which can't be put into weights"),
        ({"peft_type": None}, "an adapter of kind None, which can't be put into weights"),
        ({"task_type": "SEQ_CLS"}, "an adapter of a model for SEQ_CLS; expected one for CAUSAL_LM"),
    ):
        path.write_text(json.dumps(config | changes))
        with pytest.raises(UserError, match=words):
            check_model(tmp_path / "a")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", ["IA3Config", "LoHaConfig", "VeraConfig"])
def test_no_kind_of_adapter_is_taken_by_a_deeper_model(
    config: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in part: layers that it has nothing for would be those of the model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ia3: dict[str, Any] = {"feedforward_modules": []}
    options = ia3 if config == "IA3Config" else {"r": 4}
    saved(tiny_model, tmp_path / "a", {"config": config, "target_modules": ["o_proj"], **options})
    path = tmp_path / "a" / "adapter_config.json"
    NewModel(layers=3, hidden_size=32, heads=2, intermediate_size=64, context_tokens=128).save(tmp_path / "deep")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "deep")}))
    with pytest.raises(UserError, match=r"needs .*layers\.2"):
        check_model(tmp_path / "a")
