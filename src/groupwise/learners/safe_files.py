"""A model's files come from strangers: weights are safetensors in the model's own directory, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from groupwise.errors import UserError

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Said, so that transformers does not ask on the terminal whether to run what lies beside a model."""
INDEX = "model.safetensors.index.json"


def refuse_directory(text: str, path: Path) -> None:
    """Raises UserError where an index of ``path`` leads to anything but safetensors beside it, and where an adapter
    lies beside the model: transformers would open the base that it names, and put it in."""
    for index in sorted(path.glob("*.index.json")):
        refuse_index(index)
    if (path / "config.json").exists() and (path / "adapter_config.json").exists():
        raise UserError(
            f"{text}: holds a model and an adapter_config.json, which names another model to open; remove the "
            "adapter's files, or merge the adapter first and give the merged model"
        )


def refuse_index(index: Path) -> None:
    """Raises UserError for an index of weights that are no safetensors, or lie elsewhere."""
    for name in _names(index):
        plain = isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\\0")
        if not plain:
            raise UserError(
                f"{index}: leads to {str(name)[:200]!r}; expected names of .safetensors files in the same directory; "
                "save the model again with save_pretrained"
            )


def _names(index: Path) -> Iterable[Any]:
    try:
        weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{index}: can't be read as an index of weights; save the model again") from error
    if not isinstance(weights, Mapping):
        raise UserError(f"{index}: weight_map is no object; save the model again with save_pretrained")
    return weights.values()


def refuse_fetched(name: str, how: Mapping[str, Any]) -> None:
    """Does as ``refuse_directory`` for a model on the hub: its index is looked at before any weights are."""
    from transformers import AutoConfig
    from transformers.utils import cached_file

    chosen = AutoConfig.from_pretrained(name, **how).to_dict().get("transformers_weights")
    for file in {INDEX, chosen or INDEX}:
        if not str(file).endswith(".index.json"):
            continue
        known = {key: value for key, value in how.items() if key != "trust_remote_code"}
        index = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **known)
        if index is not None:
            refuse_index(Path(index))


def refuse_infinite(text: str, model: Any) -> None:
    """Raises UserError for a weight that is nan or infinite: one forward pass hides it and another does not."""
    for name, weight in model.named_parameters():
        ends = weight.detach().aminmax() if weight.numel() else ()
        if not all(map(isfinite, map(float, ends))):
            raise UserError(
                f"{text}: {name} holds numbers that are nan or infinite; expected the model as it was before whatever "
                "wrote it went wrong"
            )


@contextmanager
def one_line(what: str, hint: str = "") -> Iterator[None]:
    """Turns whatever a file makes its readers raise (a config with a number for a name, a tokenizer of half a line)
    into one line: ``what`` and the reason."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tokenizers and huggingface_hub raise kinds of their own, down to plain Exception
        first, *others = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"{first} {others[0].strip()}" if first.endswith(":") and others else first
        if isinstance(error, (LookupError, TypeError, ArithmeticError, AttributeError)):  # words of a program's
            reason = f"{type(error).__name__}: {reason}"
        raise UserError(f"{what}: {reason}{hint}") from error
