"""The engine slot of a recipe: plain options, no heavy import."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groupwise.protocols import RolloutEngine


@dataclass(frozen=True)
class Native:
    """Samples inside the learner's process, from the learner's own weights."""

    max_rows: int = 512
    """Completions decoded side by side; more wait and enter as others finish."""
    threads: int = 0
    """CPU threads that sample side by side; 0: one a core. No number depends on it."""

    def open(self, model: Any, note: Callable[[str], None] = lambda text: None) -> RolloutEngine:
        """An engine on a transformers causal LM; ``note`` hears why where it has to be a slower one.

        Each of our own forward passes is compared with the model's on a probe: one that differs is not taken.
        """
        from groupwise.engines.compiled import CompiledEngine, decoder_for
        from groupwise.engines.general import GeneralEngine
        from groupwise.engines.native import NativeEngine
        from groupwise.engines.probe import gap
        from groupwise.networks import blueprint_of

        parts = blueprint_of(model)
        if isinstance(parts, str):
            note(f"engine: {parts}; sampling through transformers' own forward pass, slower")
            return GeneralEngine(model, self.max_rows)
        decoder = decoder_for(parts)
        if isinstance(decoder, str):
            if parts.embedding.weight.device.type == "cpu":
                note(f"engine: {decoder}; sampling in plain torch, slower")
        else:
            engine = CompiledEngine(model, parts, decoder, self.max_rows, self.threads or cores())
            wrong = gap(engine, model)
            if not wrong:
                return engine
            note(f"engine: compiled code {wrong}; sampling in plain torch, slower")
        plain = NativeEngine(model, parts, self.max_rows, note)
        wrong = gap(plain, model)
        if wrong:
            note(f"engine: the plain one {wrong}; sampling through transformers' own forward pass, slower")
            return GeneralEngine(model, self.max_rows)
        return plain


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
