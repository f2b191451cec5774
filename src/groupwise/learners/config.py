"""The learner slot of a recipe: plain options, no heavy import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from groupwise.learners.local import LocalLearner
    from groupwise.learners.scorer import ScorerLearner


@dataclass(frozen=True)
class Local:
    """One process, one device: every parameter in ``dtype``, AdamW."""

    tokens_per_micro_batch: int = 8_192
    """Prompt and completion tokens (padding counted) that go through the network at once. Memory only: the gradient
    does not depend on it."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm, a critic's own by itself; 0: never."""
    weight_decay: float = 0.0
    """AdamW's."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else cpu."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Of parameters and optimizer state."""
    threads: int = 0
    """CPU threads; 0: torch's own choice. Different counts round differently."""

    def open(self, directory: Path | str) -> LocalLearner:
        """A learner on the model in ``directory`` (or of a hub name). Raises UserError where there is none."""
        from groupwise.learners.local import LocalLearner

        return LocalLearner(self, directory)

    def open_scorer(self, directory: Path | str, seed: int = 0) -> ScorerLearner:
        """A scorer on the scorer, or on the trunk of the causal LM, in ``directory`` (or of a hub name); ``seed`` draws
        the head of a new one. Raises UserError where there is none, or transformers has no class to save it as."""
        from groupwise.learners.scorer import ScorerLearner

        return ScorerLearner(self, directory, seed)
