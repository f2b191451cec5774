"""An adapter that peft saved, put into the model that it names: a model directory, made once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
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
    with one_line(f"{adapter}: the adapter can't be put into {base}"):
        if not Path(base).exists():
            refuse_fetched(base, how)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True, **how)
        with_adapter: Any = PeftModel.from_pretrained(model, str(adapter))
        own = (adapter / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(str(adapter) if own else base, **how)
        merged = with_adapter.merge_and_unload()
    with complete_directory(kept) as partial:
        merged.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
