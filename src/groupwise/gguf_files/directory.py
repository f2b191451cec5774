"""A GGUF file as a directory that ``from_pretrained`` loads: config, safetensors, tokenizer, generation config."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.gguf_files.families import ROPE_FACTORS, Family, config_of, family_of, place_of, undone
from groupwise.gguf_files.reading import GgufFile, is_gguf
from groupwise.gguf_files.vocabulary import tokenizer_of, turn_ends
from groupwise.output.printable import visible
from groupwise.storage.atomic import complete_directory, require_space

SHARD_BYTES = 2 << 30
KEPT = "groupwise/gguf"
"""Below the user's folder of caches."""


def directory_of(path: Path) -> Path:
    """Gives the model directory of a GGUF file: it is made when it is first asked for, beside the user's other caches,
    and found there from then on while the file is what it was. Raises UserError where no model can be made of it."""
    found = path.resolve()
    state = found.stat()
    key = hashlib.sha256(f"{found}\0{state.st_size}\0{state.st_mtime_ns}".encode()).hexdigest()[:12]
    kept = cache() / f"{found.stem[:80]}-{key}"
    if not (kept / "config.json").is_file():
        print(visible(f"{path}: GGUF, made into a model directory once: {kept}"), file=sys.stderr)
        convert(path, kept)
    return kept


def cache() -> Path:
    """Says where model directories that were made of GGUF files lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / KEPT


def file_in(path: Path) -> Path | None:
    """Finds the GGUF file that a path means: itself, or the only one in a folder without another model. Raises
    UserError where a folder has several."""
    if path.is_file():
        return path if is_gguf(path) or path.suffix == ".gguf" else None
    files = sorted(path.glob("*.gguf"))
    if not files or (path / "config.json").exists() or list(path.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise UserError(f"{path}: holds {len(files)} GGUF files; give one of them, such as {files[0]}")
    return files[0]


def convert(path: Path, directory: Path) -> None:
    """Writes the model of a GGUF file to ``directory``. Raises UserError, with nothing written, where it is none that
    can be trained here."""
    file = GgufFile(path)
    family = family_of(file)
    try:
        config, tokenizer = config_of(file), tokenizer_of(file)
        expected = _expected(family, config)
    except UserError:
        raise
    except Exception as error:  # transformers' and tokenizers', of any kind: the numbers are a stranger's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path}: no {family.model} can be made of its numbers and its tokenizer ({reason})") from error
    _refuse_others(file, family, expected)
    require_space(directory.parent, sum(4 * _size(shape) for shape in expected.values()), str(path))
    with complete_directory(directory) as partial:
        config.dtype = _write(partial, _named(file, family, config, expected), sum(map(_size, expected.values())) * 4)
        config.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _generation(file, config).save_pretrained(partial)


def _expected(family: Family, config: Any) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of all weights that the model has, a tied head left out."""
    import torch
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, family.model)(config)
    found = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    if config.tie_word_embeddings:
        found.pop("lm_head.weight", None)
    return found


def _refuse_others(file: GgufFile, family: Family, expected: dict[str, tuple[int, ...]]) -> None:
    """Compares names and shapes. Raises UserError where the file's tensors are not those of the model."""
    there = {name: place_of(family, name) for name in file.shapes if name != ROPE_FACTORS}
    odd = next((name for name, place in there.items() if place not in expected), None)
    if odd is not None:
        raise UserError(f"{file.path}: its tensor {odd!r} has no place in a {family.model}, so it is another model")
    wrong = next((name for name, place in there.items() if file.shapes[name] != expected[str(place)]), None)
    if wrong is not None:
        raise UserError(
            f"{file.path}: its tensor {wrong} is {file.shapes[wrong]}; expected {expected[str(there[wrong])]} by its "
            "own numbers"
        )
    lost = sorted(name for name in expected.keys() - set(there.values()) if not name.endswith("o_proj.bias"))
    if lost:
        raise UserError(f"{file.path}: {lost[0]} has no tensor, so the file is cut or another model; fetch it again")


def _named(
    file: GgufFile, family: Family, config: Any, expected: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, Any]]:
    import torch

    given = set()
    for name, tensor in file.tensors():
        if name != ROPE_FACTORS:
            place = str(place_of(family, name))
            given.add(place)
            yield place, undone(family, name, tensor, config)
    # Llama's config has one word for biases of queries and of outputs; files with the first alone mean zeros.
    yield from ((name, torch.zeros(expected[name])) for name in sorted(expected.keys() - given))


def _write(directory: Path, tensors: Iterator[tuple[str, Any]], most: int) -> str:
    """Writes safetensors in one file or several and returns the dtype that says all of them."""
    from safetensors.torch import save_file

    index: dict[str, str] = {}
    shard: dict[str, Any] = {}
    count, number, held, dtypes = -(-most // SHARD_BYTES), 0, 0, set()

    def close() -> None:
        nonlocal number, held
        number += 1
        name = f"model-{number:05}.safetensors" if count > 1 else "model.safetensors"
        save_file(shard, directory / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(shard, name))
        shard.clear()
        held = 0

    for name, tensor in tensors:
        if shard and count > 1 and held + tensor.nbytes > SHARD_BYTES:
            close()
        shard[name] = tensor.contiguous()
        held += tensor.nbytes
        if tensor.dim() > 1:
            dtypes.add(str(tensor.dtype).removeprefix("torch."))
    close()
    if count > 1:
        written = {"metadata": {}, "weight_map": index}
        (directory / "model.safetensors.index.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    return dtypes.pop() if len(dtypes) == 1 else "float32"


def _generation(file: GgufFile, config: Any) -> Any:
    from transformers import GenerationConfig

    ends: list[Any] = turn_ends(file)
    return GenerationConfig(
        eos_token_id=ends if len(ends) > 1 else next(iter(ends), None),
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
