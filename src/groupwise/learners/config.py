"""This module is the learner slot of a recipe: options that open a learner, no heavy import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Self

from groupwise.errors import UserError
from groupwise.learners.options import LearnerOptions, Lora

if TYPE_CHECKING:
    from groupwise.learners.local import LocalLearner
    from groupwise.learners.scorer import ScorerLearner
    from groupwise.learners.sharded import ShardedLearner

__all__ = ["FSDP", "Local", "Lora"]


@dataclass(frozen=True)
class Local(LearnerOptions):
    """One process, one device: every parameter in ``dtype``, or adapters beside them; AdamW."""

    @property
    def rounds_adapters(self) -> bool:
        """See ``trainable.LearnerConfig``."""
        return self.lora.rank > 0 and self.dtype == "bfloat16"

    def with_threads(self, threads: int) -> Self:
        """See ``trainable.LearnerConfig``."""
        return replace(self, threads=self.threads or threads)

    def open(self, directory: Path | str, note: Callable[[str], None] = lambda text: None) -> LocalLearner:
        """Opens a learner on the model in ``directory`` (or of a hub name). Raises UserError where there is none.
        ``note`` hears what a person should know."""
        from groupwise.learners.local import LocalLearner

        return LocalLearner(self, directory, note)

    def open_scorer(
        self, directory: Path | str, seed: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> ScorerLearner:
        """Opens a scorer on the scorer, or on the trunk of the causal LM, in ``directory`` (or of a hub name); ``seed``
        draws the head of a new one. Raises UserError where there is none, or transformers has no class to save it
        as."""
        from groupwise.learners.scorer import ScorerLearner

        return ScorerLearner(self, directory, seed, note)


@dataclass(frozen=True)
class FSDP(LearnerOptions):
    """Several processes on this machine's CPU, each with its part of every parameter and its share of the rows (FSDP2).
    The first is this one; it starts the others."""

    processes: Annotated[int, "[1, inf)"] = 2
    """How many, this one among them."""
    timeout_seconds: Annotated[float, "(0, inf)"] = 600.0
    """How long one process waits for another within a step before it gives up."""

    @property
    def rounds_adapters(self) -> bool:
        """See ``trainable.LearnerConfig``."""
        return False

    def with_threads(self, threads: int) -> Self:
        """See ``trainable.LearnerConfig``."""
        return replace(self, threads=self.threads or threads)

    def open(self, directory: Path | str, note: Callable[[str], None] = lambda text: None) -> ShardedLearner:
        """Opens a learner on the model in ``directory`` (or of a hub name). Raises UserError where there is none, and
        for what is not computed by several processes yet."""
        self._refuse()
        from groupwise.learners.sharded import ShardedLearner

        return ShardedLearner(self, self.processes, self.timeout_seconds, directory, note)

    def open_scorer(
        self, directory: Path | str, seed: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> NoReturn:
        """Raises UserError: a scorer is trained by one process."""
        raise UserError("learner FSDP: a scorer is not trained by several processes yet; expected learner Local")

    def _refuse(self) -> None:
        """Raises UserError for options that several processes do not have yet."""
        seen = {
            f"lora.rank {self.lora.rank}": self.lora.rank > 0,
            "dtype bfloat16": self.dtype == "bfloat16",
            "optimizer_bits 8": self.optimizer_bits == 8,
            "device cuda": self.device == "cuda",
        }
        for option, refused in seen.items():
            if refused:
                raise UserError(
                    f"learner FSDP: {option} is not computed by several processes yet; expected learner Local, or all "
                    "parameters in float32 or float64 with optimizer_bits 32 on device cpu"
                )
