"""This module opens a model directory or hub name to sample from; evaluate and chat share it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from groupwise.output.printable import visible
from groupwise.protocols import RolloutEngine
from groupwise.tokens.renderer import Renderer


def open_model(
    source: str,
    device: str = "auto",
    dtype: str = "float32",
    system: str | None = None,
    chat: Literal["auto", "always", "never"] = "auto",
    template_arguments: Mapping[str, Any] | None = None,
) -> tuple[RolloutEngine, Renderer]:
    """Does as ``opening.open_model``; what a person should know is printed beside the results."""
    from groupwise.engines import Native
    from groupwise.runs import opening

    def note(text: str) -> None:
        print(visible(text), file=sys.stderr)

    return opening.open_model(source, Native(), note, device, dtype, system, chat, template_arguments)


def labels(*sources: str) -> tuple[str, ...]:
    """The shortest endings of the paths that tell them apart: ``grpo`` and ``sft`` of runs/x/models/..."""
    parts = [Path(source).parts for source in sources]
    for length in range(1, max(map(len, parts)) + 1):
        short = tuple("/".join(part[-length:]) for part in parts)
        if len(set(short)) == len(set(sources)):
            return short
    return sources
