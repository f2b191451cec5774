"""What is no model gets one line that says what was seen, what was expected and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.learners.loading import check_model, load_model, load_tokenizer


def copy_of(model: Path, to: Path) -> Path:
    return Path(shutil.copytree(model, to / "copy"))


def missing(model: Path, tmp: Path) -> Path:
    return tmp / "nowhere"


def a_file(model: Path, tmp: Path) -> Path:
    path = tmp / "model.txt"
    path.write_text("not a model")
    return path


def without_config(model: Path, tmp: Path) -> Path:
    path = copy_of(model, tmp)
    (path / "config.json").unlink()
    return path


def pickle_only(model: Path, tmp: Path) -> Path:
    path = copy_of(model, tmp)
    (path / "model.safetensors").unlink()
    torch.save({}, path / "pytorch_model.bin")
    return path


def without_weights(model: Path, tmp: Path) -> Path:
    path = copy_of(model, tmp)
    (path / "model.safetensors").unlink()
    return path


def other_layers(model: Path, tmp: Path) -> Path:
    return edited(copy_of(model, tmp), num_hidden_layers=3, layer_types=None)


def other_width(model: Path, tmp: Path) -> Path:
    return edited(copy_of(model, tmp), intermediate_size=80)


def other_architecture(model: Path, tmp: Path) -> Path:
    return edited(copy_of(model, tmp), model_type="no_such_thing", architectures=["NoSuchThing"])


def broken_config(model: Path, tmp: Path) -> Path:
    path = copy_of(model, tmp)
    (path / "config.json").write_text("{")
    return path


def truncated_weights(model: Path, tmp: Path) -> Path:
    path = copy_of(model, tmp)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return path


def edited(path: Path, **changes: object) -> Path:
    config = path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return path


def code_beside_it(model: Path, tmp: Path) -> Path:
    """A model whose class is a file in its directory."""
    path = copy_of(model, tmp)
    (path / "modeling_own.py").write_text(f"open({str(tmp / 'was_run')!r}, 'w')\nclass Own:\n    pass\n")
    names = {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    return edited(path, model_type="own", architectures=["Own"], auto_map=names)


CASES: dict[Callable[[Path, Path], Path], str] = {
    missing: "no such model directory",
    a_file: "is a file",
    without_config: "config.json is missing",
    pickle_only: "pytorch_model.bin, a pickle",
    without_weights: "no model.safetensors",
    other_layers: "do not match",
    other_width: "",
    other_architecture: "no_such_thing",
    code_beside_it: "custom code",
    broken_config: "",
    truncated_weights: "",
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda case: case.__name__)
def test_one_line_for_each(tiny_model: Path, tmp_path: Path, spoil: Callable[[Path, Path], Path]) -> None:
    path = spoil(tiny_model, tmp_path)
    with pytest.raises(UserError) as caught:
        Local(device="cpu").open(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert CASES[spoil] in message
    assert not (tmp_path / "was_run").exists()


def test_a_model_without_a_tokenizer_says_so(tiny_model: Path, tmp_path: Path) -> None:
    path = copy_of(tiny_model, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).unlink()
    with pytest.raises(UserError, match="tokenizer") as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value)


def test_a_hub_name_is_left_to_transformers(tiny_model: Path) -> None:
    assert check_model("organisation/model") == "organisation/model"
    assert check_model(tiny_model) == str(tiny_model)


def test_a_hub_name_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="organisation/no-such-model") as caught:
        load_model("organisation/no-such-model")
    assert "\n" not in str(caught.value)
    assert "HF_HUB_OFFLINE" in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_parameters_have_the_dtype_asked_for(tiny_model: Path, dtype: str) -> None:
    model = load_model(tiny_model, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert not model.training
