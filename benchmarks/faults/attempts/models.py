"""Directories that call themselves models."""

from __future__ import annotations

import json
import os
import pickle
import struct
from functools import partial
from pathlib import Path
from typing import Any

from attempts.commands import Attempt, Place, changed, chat, evaluate, train


class _Executes:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def _pickled(place: Place, *names: str) -> Path:
    model = place.model()
    for name in names:
        (model / name).write_bytes(pickle.dumps({"x": _Executes(place.mark)}))
    return model


def _program(place: Place, model: Path, name: str) -> None:
    text = f"import pathlib\npathlib.Path({str(place.mark)!r}).touch()\nclass Model: pass\nclass Config: pass\n"
    (model / name).write_text(text)


def _auto_map(place: Place, file: str, field: str) -> list[str]:
    model = place.model()
    _program(place, model, "evil.py")
    names = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.Model", None]}
    changed(model / file, {field: names, "model_type": "evil"} if file == "config.json" else {field: names})
    return chat(model)


def _by_index(place: Place, name: str, **other: str) -> list[str]:
    model = _pickled(place, "w.bin", "w.pt", "pytorch_model.bin")
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    save_file(weights, model / "a.safetensors", metadata={"format": "pt"})
    names = dict.fromkeys(weights, "a.safetensors")
    names[next(iter(names))] = name
    (model / other.get("index", "model.safetensors.index.json")).write_text(json.dumps({"weight_map": names}))
    return chat(model)


def _only_pickles(place: Place) -> list[str]:
    model = _pickled(place, "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    return chat(model)


def _beside(place: Place, **files: str) -> list[str]:
    model = _pickled(place, "adapter_model.bin", "training_args.bin", "optimizer.pt")
    for name, content in files.items():
        (model / name.replace("__", ".")).write_text(content)
    _program(place, model, "modeling_evil.py")
    return chat(model)


def _template(place: Place, template: str) -> list[str]:
    model = place.model()
    (model / "chat_template.jinja").write_text(template.replace("MARK", str(place.mark)))
    return chat(model)


def _file(place: Place, name: str, content: str | bytes | dict[str, Any], command: Any = chat) -> list[str]:
    model = place.model()
    if isinstance(content, dict):
        changed(model / name, content)
    else:
        (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return command(model)


def _linked(place: Place, name: str, to: str) -> list[str]:
    model = place.model()
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(to.replace("HOME", str(place.home)))
    return chat(model)


def _pipe(place: Place, name: str) -> list[str]:
    model = place.model()
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    return chat(model)


def _trained(place: Place, name: str, content: dict[str, Any]) -> list[str]:
    return train(place, model=_changed(place, name, content))


def _changed(place: Place, name: str, content: dict[str, Any]) -> Path:
    model = place.model()
    changed(model / name, content)
    return model


def _header(size: int, body: bytes = b"") -> bytes:
    return struct.pack("<Q", size) + body


def _offsets(start: int, end: int) -> bytes:
    body = json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [start, end]}}).encode()
    return _header(len(body), body)


_LOOPS = "{% for a in range(99999) %}" * 3 + "x" + "{% endfor %}" * 3
_LIBRARY = "{{ cycler.__init__.__globals__.os.system('touch MARK') }}"
KINDS: dict[str, Attempt] = {
    "code by config": partial(_auto_map, file="config.json", field="auto_map"),
    "code by tokenizer": partial(_auto_map, file="tokenizer_config.json", field="auto_map"),
    "code by generation": partial(_auto_map, file="generation_config.json", field="custom_generate"),
    "a pickle by the index": partial(_by_index, name="w.bin"),
    "a pickle by another ending": partial(_by_index, name="w.pt"),
    "a pickle by an index of pickles": partial(_by_index, name="w.bin", index="pytorch_model.bin.index.json"),
    "weights of the folder above": partial(_by_index, name="../a.safetensors"),
    "weights by a whole path": partial(_by_index, name="/etc/passwd"),
    "pickles alone": _only_pickles,
    "pickles beside": _beside,
    "an adapter beside": partial(
        _beside, adapter_config__json='{"base_model_name_or_path": "x/y", "peft_type": "LORA"}'
    ),
    "an adapter with a class of its own": partial(
        _beside, adapter_config__json='{"auto_mapping": {"base_model_class": "x", "parent_library": "evil"}}'
    ),
    "a program beside that Python would import": partial(
        _beside, torch__py="raise SystemExit", os__py="raise SystemExit"
    ),
    "a template with loops": partial(_template, template=_LOOPS),
    "a template with a long text": partial(_template, template="{{ 'x' * 400000000 }}"),
    "a template with a long list": partial(_template, template="{{ ([0] * 30000000) | join }}"),
    "a template with a long format": partial(_template, template="{{ '%300000000d' % 1 }}"),
    "a template with a long number": partial(_template, template="{{ 10 ** 10 ** 8 }}"),
    "a template with attributes": partial(_template, template="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a template with a library": partial(_template, template=_LIBRARY),
    "a template that reads the environment": partial(_template, template="{{ self.__init__.__globals__ }}"),
    "a template that includes a file": partial(_template, template="{% include '/etc/passwd' %}"),
    "a template that calls itself": partial(_template, template="{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    "a template with control characters": partial(
        _template, template="\x1b[2J\u202e{{ raise_exception('\x1b]0;x\x07') }}"
    ),
    "a template nested deeply": partial(_template, template="{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}"),
    "a template that is no template": partial(_template, template="{% if %}"),
    "a tokenizer that never ends": partial(_linked, name="tokenizer.json", to="/dev/zero"),
    "a config that never ends": partial(_linked, name="config.json", to="/dev/zero"),
    "a template that never ends": partial(_linked, name="chat_template.jinja", to="/dev/zero"),
    "a link to a file of the user's": partial(_linked, name="chat_template.jinja", to="HOME/.cache/token"),
    "a link to itself": partial(_linked, name="config.json", to="config.json"),
    "a pipe for a config": partial(_pipe, name="config.json"),
    "a pipe for a tokenizer": partial(_pipe, name="tokenizer.json"),
    "a pipe for weights": partial(_pipe, name="model.safetensors"),
    "a pipe for a template": partial(_pipe, name="chat_template.jinja"),
    "a pipe for a card": partial(_pipe, name="groupwise.json"),
    "a header of a terabyte": partial(_file, name="model.safetensors", content=_header(1 << 40)),
    "a header below nothing": partial(_file, name="model.safetensors", content=_header(2**64 - 1)),
    "a header that is no JSON": partial(_file, name="model.safetensors", content=_header(3, b"{{{")),
    "a header nested deeply": partial(_file, name="model.safetensors", content=_header(200_000, b"[" * 200_000)),
    "a tensor of terabytes": partial(_file, name="model.safetensors", content=_offsets(0, 1 << 42)),
    "a tensor that ends before it begins": partial(_file, name="model.safetensors", content=_offsets(8, 0)),
    "no weights": partial(_file, name="model.safetensors", content=b""),
    "a vocabulary of billions": partial(_file, name="config.json", content={"vocab_size": 1 << 33}),
    "a width of billions": partial(_file, name="config.json", content={"hidden_size": 1 << 33}),
    "a million layers": partial(_file, name="config.json", content={"num_hidden_layers": 1_000_000}),
    "no heads": partial(_file, name="config.json", content={"num_attention_heads": 0}),
    "heads below nothing": partial(_file, name="config.json", content={"num_attention_heads": -2}),
    "a width in letters": partial(_file, name="config.json", content={"hidden_size": "wide"}),
    "a width that is nan": partial(_file, name="config.json", content={"hidden_size": float("nan")}),
    "a kind that is a list": partial(_file, name="config.json", content={"model_type": ["qwen3"]}),
    "a kind that is a path": partial(_file, name="config.json", content={"model_type": "../../etc"}),
    "a kind with control characters": partial(_file, name="config.json", content={"model_type": "\x1b]0;x\x07\u202e"}),
    "architectures that are numbers": partial(_file, name="config.json", content={"architectures": [3]}),
    "scaling that is a text": partial(_file, name="config.json", content={"rope_scaling": "x"}),
    "quantised by something": partial(
        _file, name="config.json", content={"quantization_config": {"quant_method": "evil"}}
    ),
    "an attention from the hub": partial(_file, name="config.json", content={"_attn_implementation": "someone/kernel"}),
    "a context of billions": partial(_file, name="config.json", content={"max_position_embeddings": 1 << 40}),
    "a type of numbers that is a function": partial(_file, name="config.json", content={"dtype": "load"}),
    "a config nested deeply": partial(_file, name="config.json", content="[" * 100_000),
    "a config of control characters": partial(_file, name="config.json", content="\x1b[2J\x00"),
    "a config of bytes": partial(_file, name="config.json", content=b"\xff\xfe{}"),
    "a tokenizer that is a list": partial(_file, name="tokenizer.json", content="[]"),
    "a tokenizer of nothing": partial(_file, name="tokenizer.json", content="{}"),
    "a tokenizer's class by name": partial(
        _file, name="tokenizer_config.json", content={"tokenizer_class": "os.system"}
    ),
    "a thousand ends": partial(_file, name="generation_config.json", content={"eos_token_id": list(range(100_000))}),
    "an end that is no token": partial(_file, name="generation_config.json", content={"eos_token_id": 1 << 40}),
    "an end below nothing": partial(_file, name="generation_config.json", content={"eos_token_id": -5}),
    "a model to evaluate with a wide vocabulary": partial(
        _file, name="config.json", content={"vocab_size": 1 << 33}, command=evaluate
    ),
    "a model to train with a kind that is a list": partial(_trained, name="config.json", content={"model_type": ["x"]}),
    "a model to train with no heads": partial(_trained, name="config.json", content={"num_attention_heads": 0}),
}
