"""This module keeps what of a model lies beside its text (a vision tower, say): it is not opened and not trained, and
it is not lost.

Where transformers' causal language model of a checkpoint leaves such parts out, their tensors and the config that names
them are put back beside the trained ones, so that the whole model loads as before. Where they can't be, the model is
refused before anything is spent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.safe_files import INDEX, one_line
from groupwise.learners.source import fetched

PARTS = ("vision_config", "audio_config", "speech_config", "video_config", "image_config")
SINGLE = "model.safetensors"
REST = "model-other-parts.safetensors"
PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


class OtherParts:
    """These are the parts of the checkpoint in ``directory`` that ``model``, loaded from there, does not hold. They are
    read where they lie in the files, which may go while a run goes on."""

    def __init__(self, directory: Path, model: Any) -> None:
        self._config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        held, named = model.config.to_dict(), [key for key in PARTS if self._config.get(key)]
        self.left_out = [key.removesuffix("_config") for key in named if not held.get(key)]
        self.kept = [key.removesuffix("_config") for key in named if held.get(key)]
        self._beside = {name: (directory / name).read_bytes() for name in PROCESSORS if (directory / name).is_file()}
        self._rest: dict[str, Any] = {}
        self._misnamed = ""
        if self.left_out:
            from transformers.core_model_loading import revert_weight_conversion

            own = set(revert_weight_conversion(model, dict(model.state_dict())))
            whole = _tensors(directory)
            self._rest = {name: tensor for name, tensor in whole.items() if name not in own}
            self._misnamed = min((name for name in own - whole.keys() if name != "lm_head.weight"), default="")

    def in_words(self) -> str:
        """Says it for a log; empty where the model is text alone."""
        if self.left_out:
            return (
                f"its {' and '.join(self.left_out)} part is left out: text alone is read and trained; what is saved "
                "has that part as it was"
            )
        return f"its {' and '.join(self.kept)} part stays as it is: text alone is read and trained" if self.kept else ""

    def refuse_lost(self, source: str) -> None:
        """Compares names. Raises UserError where what would be saved could not be put beside the parts that are left
        out."""
        if self._misnamed:
            raise UserError(
                f"{source}: holds a {' and '.join(self.left_out)} part, which would be lost: the text can't be put "
                f"back beside it ({self._misnamed} is named otherwise there); expected a checkpoint of text alone, as "
                "AutoModelForCausalLM.from_pretrained and save_pretrained make of it"
            )

    def put_back(self, directory: Path) -> None:
        """Writes the parts beside the text part that was saved in ``directory``."""
        if not self._rest:
            return
        from safetensors.torch import save_file

        save_file(self._rest, directory / REST, metadata={"format": "pt"})
        single, text = directory / SINGLE, directory / "model-text.safetensors"
        if single.exists():  # it would be read in the index's place
            index = dict.fromkeys(_tensors(directory), text.name)
            single.rename(text)
        else:
            index = json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"]
        written = {"metadata": {}, "weight_map": index | dict.fromkeys(self._rest, REST)}
        (directory / INDEX).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self._write_config(directory)
        for name, content in self._beside.items():
            (directory / name).write_bytes(content)

    def _write_config(self, directory: Path) -> None:
        """Writes the whole model's config, with what the trained part says of its dtype and its head."""
        path = directory / "config.json"
        text = json.loads(path.read_text(encoding="utf-8"))
        said = {key: text[key] for key in ("dtype", "tie_word_embeddings") if key in text}
        own = {**self._config.get("text_config", {}), **said}
        whole = {**self._config, **said, "text_config": own}
        path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def other_parts(source: Path | str, model: Any, note: Callable[[str], None]) -> OtherParts:
    """Finds what lies beside the text part ``model`` that was loaded from ``source``; ``note`` hears of it. Raises
    UserError where it would be lost."""
    name, how = fetched(source)
    with one_line(f"{source}: the model can't be loaded"):
        found = OtherParts(_directory_of(name, how), model)
    found.refuse_lost(str(source))
    if told := found.in_words():
        note(f"{source}: {told}")
    return found


def _directory_of(name: str, how: Mapping[str, Any]) -> Path:
    """Returns the directory, also of a model that the hub's cache holds."""
    if Path(name).exists():
        return Path(name)
    from transformers.utils import cached_file

    known = {key: value for key, value in how.items() if key != "trust_remote_code"}
    return Path(str(cached_file(name, "config.json", **known))).parent


def _tensors(directory: Path) -> dict[str, Any]:
    """Returns the tensors by their names, in the files' memory."""
    from safetensors import safe_open

    index, single = directory / INDEX, directory / SINGLE
    files = {single.name}
    if not single.is_file():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    found: dict[str, Any] = {}
    for file in sorted(files):
        with safe_open(directory / file, framework="pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no dictionary
    return found
