"""An adapter that peft saved, put into the model that it names: a model directory, made once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.model_config import config_of
from groupwise.learners.safe_files import one_line, refuse_fetched
from groupwise.output.printable import visible
from groupwise.storage.atomic import complete_directory

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
KEPT = "groupwise/adapters"
"""Below the user's folder of caches."""


def base_of(adapter: Path) -> str:
    """Returns the model that an adapter belongs to, as its file names it; empty: none."""
    try:
        named = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(named or "")


def merged_directory(adapter: Path, base: str, how: Mapping[str, Any]) -> Path:
    """Gives the model ``base`` with the adapter in its weights, in float32. ``how``: options of ``from_pretrained``.
    Raises UserError where they do not go together, or the weights are a pickle."""
    weights = adapter / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{adapter}: an adapter without {WEIGHTS}; expected it as peft saves it today")
    files = [adapter / CONFIG, weights, Path(base) / "config.json"]
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    key = hashlib.sha256(json.dumps([base, states]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / KEPT
    kept = cache / f"{adapter.resolve().name[:80]}-{key}"
    if not (kept / "config.json").is_file():
        print(visible(f"{adapter}: an adapter of {base}, made into a model directory once: {kept}"), file=sys.stderr)
        _write(adapter, base, how, kept)
    return kept


def _write(adapter: Path, base: str, how: Mapping[str, Any], kept: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(f"{adapter}: an adapter needs peft; pip install 'groupwise[lora]'") from error
    _refuse_kind(adapter)
    config_of(base, base, how)  # its faults are not the adapter's
    with one_line(f"{adapter}: the adapter can't be put into {base}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that is to go
        if not Path(base).exists():
            refuse_fetched(base, how)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True, **how)
        tied = not _trains_tokens(adapter) and _untied(model)
        with_adapter: Any = PeftModel.from_pretrained(model, str(adapter))
        _refuse_lost(adapter, base, with_adapter)
        own = (adapter / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(str(adapter) if own else base, **how)
        merged = with_adapter.merge_and_unload()
        if tied:
            _tie(merged)
    with complete_directory(kept) as partial:
        merged.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def _refuse_kind(adapter: Path) -> None:
    """Raises UserError for an adapter that adds no weights, and for one of a model that says nothing of next tokens."""
    from peft import PEFT_TYPE_TO_TUNER_MAPPING

    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    kind, task = config.get("peft_type"), config.get("task_type")
    known = {str(getattr(name, "value", name)): tuner for name, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    if not hasattr(known.get(str(kind)), "merge_and_unload"):
        raise UserError(f"{adapter}: an adapter of kind {kind}, which can't be put into weights; expected such as LORA")
    if task not in (None, "CAUSAL_LM"):
        raise UserError(f"{adapter}: an adapter of a model for {task}; expected one for CAUSAL_LM")


def _refuse_lost(adapter: Path, base: str, with_adapter: Any) -> None:
    """Compares the tensors of an adapter, of whatever kind, that are there with those that the model has. Raises
    UserError where they are others: peft leaves out what it has no place for, and gives what is missing no effect."""
    from peft.utils import get_peft_model_state_dict
    from safetensors import safe_open

    mark = f".{with_adapter.base_model.prefix}"
    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        given = set(file.keys())
    if any(mark in name for name in given):  # beside it may lie modules of the model's own
        given = {name for name in given if mark in name}
    else:
        mark = ""
    expected = {name for name in get_peft_model_state_dict(with_adapter) if mark in name}
    for names, words in ((given - expected, "has no place for"), (expected - given, "needs")):
        if names:
            raise UserError(
                f"{adapter}: {base} {words} {min(names)} and {len(names) - 1} others of its adapter's tensors; "
                "expected the model that it was trained on, with its own adapter_config.json"
            )


def _trains_tokens(adapter: Path) -> bool:
    """Says whether rows of the embedding are its own: peft puts them into a head that is the embedding, too."""
    return bool(json.loads((adapter / CONFIG).read_text(encoding="utf-8")).get("trainable_token_indices"))


def _untied(model: Any) -> bool:
    """Gives a head that is the embedding a matrix of its own, since an adapter is of one of them; whether it was."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return False
    head.weight = type(head.weight)(head.weight.detach().clone())
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    return True


def _tie(model: Any) -> None:
    """Makes a head that is still the same as the embedding one matrix with it."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight.equal(embedding.weight):
        head.weight = embedding.weight
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = True
