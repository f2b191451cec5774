"""What is no model gets one line that says what was seen, what was expected and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.learners.loading import context_of, load_model, load_tokenizer
from groupwise.learners.source import check_model
from groupwise.networks.context import UNLIMITED
from groupwise.storage import hub


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


def quantised(model: Path, tmp: Path) -> Path:
    return edited(copy_of(model, tmp), quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


def integers(model: Path, tmp: Path) -> Path:
    """As a quantised checkpoint has them whose config.json does not say so."""
    return with_queries(model, tmp, lambda weight: weight.to(torch.int8))


def not_a_number(model: Path, tmp: Path) -> Path:
    """One of them, among queries: attention in transformers hides it."""
    return with_queries(model, tmp, lambda weight: weight.flatten().index_fill(0, torch.tensor(5), torch.nan))


def infinite(model: Path, tmp: Path) -> Path:
    return with_queries(model, tmp, lambda weight: weight.flatten().index_fill(0, torch.tensor(5), -torch.inf))


def with_queries(model: Path, tmp: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """Changes the first layer's."""
    path = copy_of(model, tmp)
    weights = load_file(path / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    changed = change(weights[name]).view_as(weights[name])
    save_file(weights | {name: changed}, path / "model.safetensors", {"format": "pt"})
    return path


def generation(text: str) -> Callable[[Path, Path], Path]:
    def spoilt(model: Path, tmp: Path) -> Path:
        path = copy_of(model, tmp)
        (path / "generation_config.json").write_text(text)
        return path

    spoilt.__name__ = f"generation {text[:20]}"
    return spoilt


CASES: dict[Callable[[Path, Path], Path], str] = {
    quantised: "its weights are quantised (bitsandbytes), and are not trained here, beside adapters (QLoRA) neither",
    missing: "no such model directory",
    a_file: "is a file",
    without_config: "config.json is missing",
    pickle_only: "pytorch_model.bin, a pickle",
    without_weights: "no model.safetensors",
    other_layers: "do not match",
    other_width: r"parameters without weights of its size, model.layers.0.mlp.down_proj.weight (32, 64) for (32, 80)",
    integers: "its weights are quantised, model.layers.0.self_attn.q_proj.weight (I8) among them",
    not_a_number: "model.layers.0.self_attn.q_proj.weight holds numbers that are nan or infinite",
    infinite: "model.layers.0.self_attn.q_proj.weight holds numbers that are nan or infinite",
    generation("{"): "generation_config.json is no JSON object",
    generation("[]"): "generation_config.json is no JSON object",
    generation('{"eos_token_id": "x"}'): "eos_token_id of its generation_config.json is 'x'",
    generation('{"eos_token_id": [1, null]}'): "eos_token_id of its generation_config.json is [1, None]",
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


NEAR = [
    ("runs/quickstrat", "; perhaps runs/quickstart/models/sft?"),
    ("runs/quickstart/modles/sft", "; perhaps runs/quickstart/models/sft?"),
    ("runs/quickstart/models/stf", "; perhaps runs/quickstart/models/sft?"),
    ("run/quickstart", "; perhaps runs/quickstart/models/sft?"),
    ("./runs/elsewhere/models/sft", "; give one made by save_pretrained, a GGUF file, or a hub name"),
    ("", "; give one made by save_pretrained, a GGUF file, or a hub name"),
]


@pytest.mark.parametrize(("typed", "said"), NEAR)
def test_a_near_local_path_comes_before_the_hub(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "runs/quickstart/models/sft")
    (tmp_path / "runs/other").mkdir()
    monkeypatch.setattr(hub, "answers", lambda name, kind: pytest.fail("asked the hub"))
    with pytest.raises(UserError) as caught:
        load_tokenizer(typed)
    assert str(caught.value) == f"{typed}: no such model directory{said}"
    with pytest.raises(UserError, match=r"config\.json is missing; perhaps runs/quickstart/models/sft\?"):
        check_model("runs/quickstart")
    with pytest.raises(UserError, match=r"config\.json is missing; expected one made by save_pretrained"):
        check_model("runs/other")


def test_a_gguf_that_is_none_and_several_of_them(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"a page")
    pytest.importorskip("gguf")
    for path in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(UserError, match="can't be read as GGUF: it is cut or damaged"):
            check_model(path)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"holds 2 GGUF files; give one of them, such as .*model\.gguf"):
        check_model(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="is a file, and no GGUF"):
        check_model(tmp_path / "notes.txt")


def test_a_tokenizer_larger_than_the_embedding_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Tokens were added and the model was not resized; a padding token alone is never fed to it."""
    path = copy_of(tiny_model, tmp_path)
    tokenizer = load_tokenizer(path)
    rows = len(tokenizer)
    tokenizer.pad_token = "<|padding|>"
    tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
    tokenizer.save_pretrained(path)
    Local(device="cpu", threads=1).open(path)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(path)
    with pytest.raises(UserError, match=rf"the tokenizer has 2 tokens, '<think>' \({rows + 1}\) first, beyond") as said:
        Local(device="cpu", threads=1).open(path)
    assert "model.resize_token_embeddings(len(tokenizer))" in str(said.value)
    with pytest.raises(UserError, match="beyond the model's embedding"):
        Local(device="cpu", threads=1).open_scorer(path)


@pytest.mark.parametrize(
    ("stated", "tokens"),
    [
        ({"max_position_embeddings": 64, "n_positions": 9}, 64),
        ({"n_positions": 32}, 32),
        ({"seq_length": 16}, 16),
        ({"max_seq_len": 8}, 8),
        ({"context_length": 4}, 4),
        ({}, 100),
    ],
)
def test_the_context_by_any_of_its_names(stated: dict[str, int], tokens: int) -> None:
    class Config:
        def get_text_config(self) -> Config:
            return self

        def to_dict(self) -> dict[str, int]:
            return stated

    model = SimpleNamespace(config=Config())
    assert context_of(model, SimpleNamespace(model_max_length=100)) == tokens
    assert context_of(model, SimpleNamespace(model_max_length=10**30)) == (tokens if stated else UNLIMITED)


def test_a_device_that_is_not_there(tiny_model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match=r"device cuda: .*; expected device cpu or auto"):
        Local(device="cuda").open(tiny_model)
