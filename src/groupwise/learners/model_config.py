"""This module reads a model's config.json. What is wrong in it is one line that names the file, the entry, what stands
there and what was expected: transformers raises a dozen kinds of errors for it, most of them while it looks for the
tokenizer."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.safe_files import one_line

CONFIG = "config.json"
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
)
"""Numbers of things, by the names that most architectures have for them: none of them is 0."""
ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
EXPECTED_FILE = "expected the one that save_pretrained wrote"
SHOWN = 60
"""Letters of a value or a reason that stand in the line."""

_FIELD = re.compile(r"Field '(?P<name>\w+)' (?:expected (?P<kind>\w+)|with value)")
_KINDS = re.compile(r"expected (\w+), got")


def config_of(source: Path | str, name: str, how: Mapping[str, Any]) -> Any:
    """Returns transformers' configuration of ``source``, which transformers opens as ``name`` with the options ``how``.
    Raises UserError for a config.json that is none, and for an entry that makes no model."""
    local = Path(name) / CONFIG
    said = _read(f"{source}: {CONFIG}", local) if local.is_file() else {}
    from transformers import AutoConfig

    if not said:
        with one_line(f"{source}: the model can't be loaded", offline_hint()):
            return AutoConfig.from_pretrained(name, **how)
    where = f"{source}: {CONFIG}"
    _refuse_type(where, said)
    _refuse_dtype(where, said)
    _refuse_architectures(where, said)
    try:
        config = AutoConfig.from_pretrained(name, **how)
    except UserError:
        raise
    except Exception as error:  # of many kinds; which one says nothing to a person
        raise UserError(f"{where}: {_reason(error, said)}") from error
    for wrong in _wrong_entries(config.get_text_config()):
        raise UserError(f"{where}: {wrong}")
    return config


def offline_hint() -> str:
    """Says that the hub is not asked, where it is not."""
    return " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""


def _read(where: str, path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{where} is no JSON: {reason}; {EXPECTED_FILE}") from error
    if not isinstance(said, dict):
        raise UserError(f"{where} is {_shown(said)} and no JSON object; {EXPECTED_FILE}")
    if not said:
        raise UserError(f"{where} is empty; {EXPECTED_FILE}")
    return said


def _refuse_type(where: str, said: Mapping[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    kind = said.get("model_type")
    if not isinstance(kind, str):
        what = f"model_type is {_shown(kind)}" if "model_type" in said else "model_type is missing"
        raise UserError(f"{where}: {what}; expected the name of an architecture, such as llama or qwen3")
    if kind not in CONFIG_MAPPING and "auto_map" not in said:
        from transformers import __version__

        near = _near(kind, CONFIG_MAPPING.keys())
        raise UserError(
            f"{where}: model_type is {kind!r}, which transformers {__version__} does not know; "
            f"{near or 'expected an architecture of its own, such as llama or qwen3, or a newer transformers'}"
        )


def _refuse_dtype(where: str, said: Mapping[str, Any]) -> None:
    import torch

    for name in ("dtype", "torch_dtype"):
        stored = said.get(name)
        if isinstance(stored, str) and stored != "auto":
            kind = getattr(torch, stored.removeprefix("torch."), None)
            if not isinstance(kind, torch.dtype):
                raise UserError(f"{where}: {name} is {stored!r}; expected float32, bfloat16 or float16")


def _refuse_architectures(where: str, said: Mapping[str, Any]) -> None:
    names = said.get("architectures") or []
    if not isinstance(names, list | str) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: architectures is {_shown(names)}; expected a list of names of classes, or null")


def _wrong_entries(config: Any) -> Iterator[str]:
    """Yields what makes no model although its type is right, as ``entry is value; expected ...``."""
    from transformers.activations import ACT2FN

    sizes = {name: getattr(config, name, None) for name in SIZES}
    for name, size in sizes.items():
        if isinstance(size, int) and size < 1:
            yield f"{name} is {size}; expected 1 or more"
    heads, groups = sizes["num_attention_heads"], sizes["num_key_value_heads"]
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        yield f"num_key_value_heads is {groups}; expected a number that divides num_attention_heads, {heads}"
    for name in ACTIVATIONS:
        kind = getattr(config, name, None)
        if isinstance(kind, str) and kind not in ACT2FN:
            yield f"{name} is {kind!r}; {_near(kind, ACT2FN.keys()) or 'expected an activation, such as silu or gelu'}"
    rows, padding = sizes["vocab_size"], getattr(config, "pad_token_id", None)
    if isinstance(rows, int) and isinstance(padding, int) and padding >= rows:
        yield f"pad_token_id is {padding}; expected an id below vocab_size, {rows}, or null"
    yield from _wrong_ropes(getattr(config, "rope_parameters", None))


def _wrong_ropes(ropes: Any) -> Iterator[str]:
    """Yields the kinds of positions that are not known: of all layers, or of each kind of layers."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parts = [ropes, *ropes.values()] if isinstance(ropes, dict) else []
    known = ["default", *ROPE_INIT_FUNCTIONS]
    for kind in [part["rope_type"] for part in parts if isinstance(part, dict) and "rope_type" in part]:
        if kind not in known:
            yield f"rope_type is {_shown(kind)}; expected one of {', '.join(known)}"


def _reason(error: Exception, said: Mapping[str, Any]) -> str:
    """Says of an error of transformers' which entry it means, and what was expected there."""
    text = " ".join(str(error).split())
    if found := _FIELD.search(text):
        name, kinds = found["name"], dict.fromkeys(_KINDS.findall(text))
        expected = " or ".join("null" if kind == "NoneType" else kind for kind in kinds if kind != "a")
        return f"{name} is {_shown(_entry(said, name))}; expected {expected or 'another type'}"
    _, _, reason = text.rpartition("Error: ")
    return f"{reason.rstrip('.') or type(error).__name__}; {EXPECTED_FILE}"


def _entry(said: Mapping[str, Any], name: str) -> Any:
    """Returns an entry, also of a part such as ``text_config``."""
    parts = [said, *(part for part in said.values() if isinstance(part, dict))]
    return next((part[name] for part in parts if name in part), None)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"perhaps you meant {near[0]}" if near else ""
