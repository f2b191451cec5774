"""The engine slot of a recipe: plain options, no heavy import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groupwise.protocols import RolloutEngine


@dataclass(frozen=True)
class Native:
    """Samples inside the learner's process, from the learner's own weights."""

    max_rows: int = 512
    """Completions decoded side by side; more wait and enter as others finish."""

    def open(self, model: Any, note: Callable[[str], None] = lambda text: None) -> RolloutEngine:
        """An engine on a transformers causal LM; ``note`` hears why where it has to be the slower, general one."""
        from groupwise.engines.decoder import unsupported

        reason = unsupported(model)
        if reason:
            from groupwise.engines.general import GeneralEngine

            note(f"engine: {reason}; sampling through transformers' own forward pass, slower")
            return GeneralEngine(model, max_rows=self.max_rows)
        from groupwise.engines.native import NativeEngine

        return NativeEngine(model, max_rows=self.max_rows)
