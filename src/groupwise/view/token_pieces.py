"""This module writes tokens as text without torch: each token its own piece, by the tokenizer's own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any


class TokenPieces:
    """This object gives the text of each token, by the tokenizer of a run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def of(self, tokens: Sequence[int], record: Mapping[str, Any]) -> list[str] | None:
        """Returns a piece a token: a character that several tokens make up stands at the last of them. None where no
        tokenizer is at hand."""
        tokenizer = self._tokenizer(record)
        if tokenizer is None:
            return None
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=False)
        try:
            return [stream.step(tokenizer, token) or "" for token in tokens]
        except (OverflowError, TypeError, ValueError):  # an id that is none
            return None

    def special(self, record: Mapping[str, Any]) -> set[int]:
        """Returns the ids that end a text or part its turns."""
        tokenizer = self._tokenizer(record)
        added = tokenizer.get_added_tokens_decoder() if tokenizer else {}
        return {number for number, token in added.items() if token.special}

    def _tokenizer(self, record: Mapping[str, Any]) -> Any:
        places = [*sorted(self.directory.glob("models/*/tokenizer.json"))]
        places += sorted(self.directory.glob("checkpoints/*/tokenizer.json"))
        model = record.get("recipe", {}).get("model")
        if isinstance(model, str):
            places += [Path(model) / "tokenizer.json", *_downloaded(model)]
        opened = (_opened(str(place), place.stat().st_mtime_ns) for place in places if place.is_file())
        return next((tokenizer for tokenizer in opened if tokenizer is not None), None)


@lru_cache(maxsize=4)
def _opened(path: str, _stamp: int) -> Any:
    """Opens a tokenizer, once for all runs that share its file; None where the file is damaged."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(path)
    except Exception:  # the library has no other kind
        return None


def _downloaded(name: str) -> list[Path]:
    """Returns where a model of the hub lies on this disk; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "tokenizer.json")
    except ValueError:
        return []  # the name of a directory that is gone
    return [Path(found)] if isinstance(found, str) else []
