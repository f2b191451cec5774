"""A model directory or hub name, opened to sample from: what evaluate and chat share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from groupwise.protocols import RolloutEngine
from groupwise.render import Renderer
from groupwise.rendering import recalled
from groupwise.visible import visible


def open_model(
    source: str,
    device: str = "auto",
    dtype: str = "float32",
    system: str | None = None,
    chat: Literal["auto", "always", "never"] = "auto",
    template_arguments: Mapping[str, Any] | None = None,
) -> tuple[RolloutEngine, Renderer]:
    """An engine on the model and its renderer. Raises UserError where there is no such model.

    A model that a run has left is prompted with the template arguments and the date that it was trained with;
    ``template_arguments`` go before those, argument by argument.
    """
    from groupwise.engines import Native
    from groupwise.learners.devices import pick_device
    from groupwise.learners.loading import generation_stops, load_policy, load_tokenizer

    tokenizer = load_tokenizer(source)
    model = load_policy(source, dtype, pick_device(device), tokenizer).requires_grad_(False)
    engine = Native().open(source, model, tokenizer, lambda text: print(visible(text), file=sys.stderr))
    remembered, today = recalled(source)
    return engine, Renderer(
        tokenizer,
        system,
        chat,
        name=source,
        eos_tokens=generation_stops(model),
        template_arguments={**remembered, **(template_arguments or {})},
        today=today,
    )


def labels(*sources: str) -> tuple[str, ...]:
    """The shortest endings of the paths that tell them apart: ``grpo`` and ``sft`` of runs/x/models/..."""
    parts = [Path(source).parts for source in sources]
    for length in range(1, max(map(len, parts)) + 1):
        short = tuple("/".join(part[-length:]) for part in parts)
        if len(set(short)) == len(set(sources)):
            return short
    return sources
