"""This module is the engine slot of a recipe: plain options, no heavy import."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from groupwise.errors import UserError
from groupwise.protocols import EngineConfig, RolloutEngine

if TYPE_CHECKING:
    from groupwise.engines.stops import Spelling
    from groupwise.networks import Blueprint


@dataclass(frozen=True)
class Native(EngineConfig):
    """Samples inside the learner's process, from the learner's own weights."""

    max_rows: Annotated[int, "[1, inf)"] = 512
    """Completions decoded side by side; more wait and enter as others finish."""
    threads: Annotated[int, "[0, inf)"] = 0
    """CPU threads that sample side by side; 0: one a core. No number depends on it."""

    def open(
        self,
        directory: Path | str,
        live: Any | None,
        tokenizer: Any,
        note: Callable[[str], None] = lambda text: None,
        *,
        dtype: str = "float32",
        device: str = "auto",
    ) -> RolloutEngine:
        """Opens an engine on a transformers causal LM; ``note`` hears why where it has to be a slower one.

        Each of our own forward passes is compared with the model's on a probe: one that differs is not taken.
        """
        from groupwise.engines.stops import spelling_of
        from groupwise.networks import blueprint_of

        spelling = spelling_of(tokenizer)
        model = self._loaded(directory, tokenizer, dtype, device, note) if live is None else live
        parts = blueprint_of(model)
        if isinstance(parts, str):
            note(f"engine: {parts}; sampling through transformers' own forward pass, slower")
            return self._general(model, spelling, note)
        return (
            self._compiled(model, parts, spelling, note)
            or self._plain(model, parts, spelling, note)
            or self._general(model, spelling, note)
        )

    def _loaded(
        self, directory: Path | str, tokenizer: Any, dtype: str, device: str, note: Callable[[str], None]
    ) -> Any:
        from groupwise.learners.device import pick_device
        from groupwise.learners.loading import load_policy

        return load_policy(directory, dtype, pick_device(device), tokenizer, note).requires_grad_(False)

    def _compiled(
        self, model: Any, parts: Blueprint, spelling: Spelling, note: Callable[[str], None]
    ) -> RolloutEngine | None:
        from groupwise.engines.agreement import gap
        from groupwise.engines.cpp import CppEngine, decoder_for

        decoder = decoder_for(parts)
        if isinstance(decoder, str):
            if parts.embedding.weight.device.type == "cpu":
                note(f"engine: {decoder}; sampling in plain torch, slower")
            return None
        engine = CppEngine(model, parts, decoder, self.max_rows, self.threads or cores(), note, spelling)
        wrong = gap(engine, model)
        if wrong:
            note(f"engine: compiled code {wrong}; sampling in plain torch, slower")
        return None if wrong else engine

    def _plain(
        self, model: Any, parts: Blueprint, spelling: Spelling, note: Callable[[str], None]
    ) -> RolloutEngine | None:
        from groupwise.engines.agreement import gap
        from groupwise.engines.torch_engine import TorchEngine

        if any(layer.sinks is not None for layer in parts.layers):
            note("engine: attention with sinks is not in plain torch; sampling through transformers' own forward pass")
            return None
        engine = TorchEngine(model, parts, self.max_rows, note, spelling)
        wrong = gap(engine, model)
        if wrong:
            note(f"engine: plain torch {wrong}; sampling through transformers' own forward pass, slower")
        return None if wrong else engine

    def _general(self, model: Any, spelling: Spelling, note: Callable[[str], None]) -> RolloutEngine:
        """Opens the engine that none is slower than: what differs is said, and the run's own alarm watches it."""
        from groupwise.engines.agreement import largest_gap, too_far
        from groupwise.engines.transformers_engine import TransformersEngine

        engine = TransformersEngine(model, self.max_rows, spelling)
        try:
            most = largest_gap(engine, model)
        except UserError as error:
            note(f"engine: {error}")
            return engine
        except (IndexError, RuntimeError, TypeError, ValueError) as error:  # transformers' own: settings at odds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError(
                f"{type(model).__name__} can't be sampled from with its config.json: {reason}; expected settings that "
                "transformers' generate takes"
            ) from error
        if wrong := too_far(most, model):
            note(f"engine: transformers' decoding with a cache {wrong}: what is sampled is not what is learned")
        elif most is not None:
            note(f"engine: decoding with a cache and one forward pass agree to {most:.1g} nats on a probe")
        return engine


def cores() -> int:
    """Counts the processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
