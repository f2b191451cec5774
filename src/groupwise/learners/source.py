"""This module finds what a person named as a model (a directory, a name on the hub, a GGUF file, an adapter) as the
directory or hub name that transformers opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.gguf_files.directory import directory_of, file_in
from groupwise.learners.merged_adapter import CONFIG, base_of, merged_directory
from groupwise.learners.safe_files import NO_CODE, refuse_directory
from groupwise.storage import hub
from groupwise.storage.nearest import nearest_model


def check_model(source: Path | str) -> str:
    """Gives ``source`` as transformers wants it: of a GGUF file and of an adapter the model directory that is made of
    it once. Raises UserError where it is a path that holds no safe model, and where it is nearly the path of one."""
    text = str(source)
    path = Path(text).expanduser()
    if text and path.exists():
        packed = file_in(path)
        if packed is not None:
            return str(directory_of(packed))
        if _is_adapter(path):
            return str(_merged(text, path))
        _refuse_foreign(text, path)
        return str(path)
    near = nearest_model(text) if text else ""
    if near or text.count("/") > 1 or text.startswith((".", "/", "~")) or not text:
        expected = near or "; give one made by save_pretrained, a GGUF file, or a hub name"
        raise UserError(f"{text}: no such model directory{expected}")
    return text


def fetched(source: Path | str) -> tuple[str, dict[str, Any]]:
    """Gives ``source`` as transformers wants it, and how it is to be opened. The hub is asked once, and only where
    there is no such directory. Raises UserError as ``check_model`` and ``hub.answers`` do."""
    name = check_model(source)
    if Path(name).exists():
        return name, NO_CODE
    return name, NO_CODE | {"local_files_only": not hub.answers(name, "models")}


def _refuse_foreign(text: str, path: Path) -> None:
    """Looks at a path. Raises UserError for what is there and no directory of a model."""
    if not path.is_dir():
        raise UserError(
            f"{text}: is a file, and no GGUF; expected the directory that holds config.json and the weights"
        )
    if not (path / "config.json").exists():
        model = nearest_model(text)
        expected = model.removeprefix("; ") if model else "expected one made by save_pretrained"
        raise UserError(f"{text}: not a model directory, config.json is missing; {expected}")
    refuse_directory(text, path)
    if not list(path.glob("*.safetensors")):
        pickled = list(path.glob("*.bin")) + list(path.glob("*.pt"))
        why = f"only {pickled[0].name}, a pickle, which can run code; convert it to safetensors" if pickled else "none"
        raise UserError(f"{text}: no model.safetensors among the weights ({why})")


def _is_adapter(path: Path) -> bool:
    return path.is_dir() and (path / CONFIG).exists() and not (path / "config.json").exists()


def _merged(text: str, path: Path) -> Path:
    base = base_of(path)
    if not base or _is_adapter(Path(base).expanduser()):
        named = f"the adapter {base}" if base else "no model"
        raise UserError(f"{text}: an adapter of {named}; expected {CONFIG} to name a model (base_model_name_or_path)")
    try:
        name, how = fetched(base)
    except UserError as error:
        raise UserError(f"{text}: an adapter of {base}, which can't be opened: {error}") from error
    return merged_directory(path, name, how)
