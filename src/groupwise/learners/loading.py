"""This module loads models and tokenizers from a directory or a hub name, with errors a person can act on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.model_config import config_of, offline_hint
from groupwise.learners.safe_files import one_line, refuse_fetched, refuse_infinite
from groupwise.learners.source import fetched
from groupwise.learners.stored_dtype import computes_in, narrower_dtype, packed_weight
from groupwise.networks.context import UNLIMITED, stated_context
from groupwise.output.counting import counted

HEAD = "score.weight"
"""Of a sequence classifier, as transformers names it."""
UNPACKED = ("mxfp4", "fp8", "finegrained_fp8")
"""Ways of quantising that transformers undoes where it loads a model."""
TOLD: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Tensors of other sizes are told by name here; transformers would point to a table that it logs."""
LONGEST_CONTEXT = 1 << 25
"""In tokens; the longest that models are published with is 10 million."""


def quiet_transformers() -> None:
    """Keeps progress bars and advice of transformers out of what a run says."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_config(source: Path | str) -> Any:
    """Loads the configuration of a model directory or hub name."""
    name, how = fetched(source)
    return config_of(source, name, how)


def load_tokenizer(source: Path | str) -> Any:
    """Loads the tokenizer of a model directory or hub name."""
    quiet_transformers()
    from transformers import AutoTokenizer

    name, how = fetched(source)
    config_of(
        source, name, how
    )  # the tokenizer's class is looked up in it, so that its faults would be called the tokenizer's
    with one_line(f"{source}: its tokenizer can't be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(name, **how)
        own = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if not own:  # transformers makes one where files lack
        raise UserError(f"{source}: its tokenizer has no vocabulary; expected tokenizer.json beside the model")
    return tokenizer


def load_model(source: Path | str, dtype: str = "float32", device: str = "cpu", mapped: bool = False) -> Any:
    """A causal LM in evaluation mode (no dropout), its parameters in ``dtype``. ``mapped``: they stay in files
    until they are read, in the files' dtype where that one has fewer digits, whatever the device. Raises UserError for
    a scorer."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    kind = scorer_kind(source)
    if kind:
        raise UserError(
            f"{source}: holds a scorer ({kind}), which says nothing of next tokens; expected a causal language model"
        )
    config = load_config(source)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"{source}: config.json: model_type is {config.model_type!r}, which is no causal language model in "
            "transformers; expected one, such as llama or qwen3"
        )
    model, lost = _from_pretrained(AutoModelForCausalLM, source, dtype, mapped)
    _refuse_lost(source, lost, "a complete causal language model")
    return (model if mapped else _in_memory(source, model, device)).eval()


def load_policy(
    source: Path | str,
    dtype: str,
    device: str,
    tokenizer: Any,
    note: Callable[[str], None] = lambda text: None,
    mapped: bool = False,
) -> Any:
    """Loads a causal LM to go with ``tokenizer``; ``note`` is called with what of it is rounded. ``mapped``: as of
    ``load_model``.

    Raises UserError where there is none, and where the tokenizer has tokens that it does not know.
    """
    from groupwise.learners.lora_loss import rounding_loss

    model = load_model(source, dtype, device, mapped)
    refuse_lost_ids(source, model, tokenizer)
    if told := rounding_loss(source, dtype):
        note(f"{source}: {told}")
    return model


def load_scorer(
    source: Path | str, dtype: str = "float32", device: str = "cpu", mapped: bool = False
) -> tuple[Any, bool]:
    """A transformers sequence classifier with one score, and whether its head is new. ``mapped``: as of ``load_model``.

    ``source`` is such a classifier, or a causal LM, whose trunk it then is. Where transformers has no classifier of an
    architecture, it has one of ours. Raises UserError where the architecture has no trunk by itself.
    """
    from transformers import AutoModelForSequenceClassification

    from groupwise.learners.scorer_class import add_class

    add_class(load_config(source))
    new = not scorer_kind(source)
    model, lost = _from_pretrained(AutoModelForSequenceClassification, source, dtype, mapped, num_labels=1)
    _refuse_lost(source, [name for name in lost if not (new and name == HEAD)], "a causal language model or a scorer")
    return (model if mapped else _in_memory(source, model, device)).eval(), new


def scorer_kind(source: Path | str) -> str:
    """The architecture that a directory or hub name holds where it is a sequence classifier's, else empty."""
    quiet_transformers()
    architectures = load_config(source).architectures or []
    return next((str(kind) for kind in architectures if str(kind).endswith("ForSequenceClassification")), "")


def _from_pretrained(kind: Any, source: Path | str, dtype: str, mapped: bool, **options: Any) -> tuple[Any, list[str]]:
    """The model, and the names of the parameters that have no weights. ``mapped``: as of ``load_model``."""
    quiet_transformers()
    import torch

    from groupwise.kernels.tile_threads import keep_to_available_threads
    from groupwise.learners.scipy_later import import_scipy_later

    keep_to_available_threads()
    import_scipy_later()
    name, how = fetched(source)
    config = config_of(source, name, how)
    with one_line(f"{source}: the model can't be loaded", offline_hint()):
        if not Path(name).exists():
            refuse_fetched(name, how)
        _refuse_generation(source, Path(name) / "generation_config.json")
        _refuse_quantised(source, Path(name), config)
        if dtype == "float64":
            options |= {"experts_implementation": "eager"}  # transformers' other ways with experts take no doubles
        stored = narrower_dtype(Path(name), dtype) if mapped else ""
        for each in filter(None, (stored, dtype)):
            model, report = kind.from_pretrained(
                name,
                dtype=getattr(torch, each),
                use_safetensors=True,
                **TOLD,
                **how,
                **options,
            )
            if each == dtype or not computes_in(model, getattr(torch, stored)):
                break
    _refuse_context(source, model.config.get_text_config())
    _refuse_bidirectional(source, model.config.get_text_config())
    others = sorted(f"{key} {tuple(stored)} for {tuple(told)}" for key, stored, told in report["mismatched_keys"])
    return model, sorted(report["missing_keys"]) + others


def _refuse_generation(source: Path | str, path: Path) -> None:
    """Raises UserError where it can't be read which tokens end a completion: transformers goes on without it."""
    try:
        ends = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{source}: its generation_config.json is no JSON object; expected one, or none") from error
    if not all(type(each) is int for each in (ends if isinstance(ends, list) else [ends] if ends is not None else [])):
        raise UserError(f"{source}: eos_token_id of its generation_config.json is {ends!r}; expected an id, or several")


def _refuse_quantised(source: Path | str, path: Path, config: Any) -> None:
    """Raises UserError for weights that stay quantised: they take no gradient, and no engine here samples from them."""
    kind = (config.to_dict().get("quantization_config") or {}).get("quant_method")
    if not kind and (packed := packed_weight(path)):
        raise UserError(
            f"{source}: its weights are quantised, {packed} among them, and config.json has no quantization_config; "
            "expected a checkpoint in float32, bfloat16 or float16"
        )
    if kind and kind not in UNPACKED:
        raise UserError(
            f"{source}: its weights are quantised ({kind}), and are not trained here, beside adapters (QLoRA) neither; "
            "expected a checkpoint in float32, bfloat16 or float16, or a GGUF file, which is unpacked"
        )


def _refuse_context(source: Path | str, config: Any) -> None:
    """Tables are made of all positions that a model says it has."""
    said = getattr(config, "max_position_embeddings", None)  # architectures without positions have none
    if isinstance(said, int) and not 0 < said <= LONGEST_CONTEXT:
        raise UserError(
            f"{source}: config.json says a context of {said:,} tokens (max_position_embeddings); expected 1 to "
            f"{LONGEST_CONTEXT:,}"
        )


def _refuse_bidirectional(source: Path | str, config: Any) -> None:
    """Where a token sees those after it, what is said of it is no probability of the next token."""
    if config.to_dict().get("use_bidirectional_attention") is True:
        raise UserError(
            f"{source}: its tokens see those after them (use_bidirectional_attention), so it says nothing of next "
            "tokens; expected a causal language model"
        )


def _in_memory(source: Path | str, model: Any, device: str) -> Any:
    """Moves the model to ``device``, and out of the file, which safetensors maps: all of it would stay mapped, beside
    what was learned and what was laid out anew, for as long as one weight lies there. Refuses what is no number."""
    if device == "cpu":
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
    refuse_infinite(str(source), model)
    return model.to(device)


def _refuse_lost(source: Path | str, lost: Sequence[str], expected: str) -> None:
    if lost:
        raise UserError(
            f"{source}: config.json and the weights do not match: {counted(len(lost), 'parameter')} without weights of "
            f"its size, {lost[0]} first; expected {expected}"
        )


def save_model(model: Any, directory: Path, merged: Mapping[str, Any] | None = None) -> None:
    """Writes a model as ``save_pretrained`` does, with the truth about its head: one that is the embedding is stored
    once, by the embedding's name, and one that no longer is (an adapter was put into it) is not said to be.

    Layers whose weights lie side by side in one block of memory are written each by itself. ``merged``: other weights
    in the place of those of these names; where they have more digits, all are written with as many.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    others = merged or {}
    names = {id(module): name for name, module in model.named_modules()}
    apart = head is not None and (head.weight is not embedding.weight or f"{names.get(id(head))}.weight" in others)
    if apart:
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    alone: dict[tuple[int, Any], Any] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        key = tensor.data_ptr(), tensor.shape
        if key not in alone:
            alone[key] = _as_wide(tensor, others).clone()
        state[name] = alone[key]
    model.save_pretrained(directory, state_dict={**state, **others})
    if others:
        _state_dtype(directory / "config.json", state)


def _as_wide(tensor: Any, others: Mapping[str, Any]) -> Any:
    """Returns the tensor in the dtype of ``others``, where that has more digits."""
    dtype = next((other.dtype for other in others.values()), tensor.dtype)
    return tensor.cpu().to(dtype) if tensor.is_floating_point() and dtype.itemsize > tensor.itemsize else tensor


def _state_dtype(path: Path, state: Mapping[str, Any]) -> None:
    """The dtype of the weights that were written, which transformers takes from the model in memory."""
    config = json.loads(path.read_text(encoding="utf-8"))
    written = next(str(tensor.dtype).removeprefix("torch.") for tensor in state.values() if tensor.is_floating_point())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part.get("dtype", written) != written:
            part["dtype"] = written
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def generation_stops(model: Any) -> tuple[int, ...]:
    """Returns ``eos_token_id`` of the generation config, one or several."""
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    return tuple(ends) if isinstance(ends, list) else () if ends is None else (int(ends),)


def context_of(model: Any, tokenizer: Any) -> int:
    """Counts the tokens of prompt and completion together: what the config states, else the tokenizer, else without
    limit."""
    stated, length = stated_context(model), tokenizer.model_max_length
    return length if stated == UNLIMITED and isinstance(length, int) and 0 < length < UNLIMITED else stated


def refuse_lost_ids(source: Path | str, model: Any, tokenizer: Any) -> None:
    """Raises UserError where the tokenizer has tokens that the embedding has no row for. Padding is never fed to it."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    beyond.pop(tokenizer.pad_token, None)
    if beyond:
        first = min(beyond, key=lambda token: beyond[token])
        raise UserError(
            f"{source}: the tokenizer has {len(beyond)} tokens, {first!r} ({beyond[first]}) first, beyond the model's "
            f"embedding of {rows:,} rows; save the model again after model.resize_token_embeddings(len(tokenizer))"
        )
