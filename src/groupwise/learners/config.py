"""This module is the learner slot of a recipe: options that open a learner, no heavy import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from groupwise.learners.options import LearnerOptions, Lora

if TYPE_CHECKING:
    from groupwise.learners.local import LocalLearner
    from groupwise.learners.scorer import ScorerLearner
    from groupwise.learners.sharded import ShardedLearner

__all__ = ["FSDP", "Local", "Lora"]


@dataclass(frozen=True)
class Local(LearnerOptions):
    """This learner is one process on one device: every parameter in ``dtype``, or adapters beside them; AdamW."""

    @property
    def rounds_adapters(self) -> bool:
        """Says whether ``dtype`` rounds what adapters add (``trainable.LearnerConfig``)."""
        return self.lora.rank > 0 and self.dtype == "bfloat16"

    def with_threads(self, threads: int) -> Self:
        """Returns these options with so many CPU threads, unless they name a number of their own."""
        return replace(self, threads=self.threads or threads)

    def over(self, processes: int) -> Self | FSDP:
        """Returns these options for so many processes: several of them are an ``FSDP``."""
        same: dict[str, Any] = {field.name: vars(self)[field.name] for field in fields(LearnerOptions)}
        return self if processes == 1 else FSDP(**same, processes=processes)

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
    """This learner is several processes, each with a part of every parameter, gradient and optimizer state
    (docs/scale.md)."""

    processes: Annotated[int, "[0, inf)"] = 0
    """This one among them, which starts the others; 0: as many as torchrun started, else one for each GPU, else 2."""
    context: Annotated[int, "[1, inf)"] = 1
    """So many processes compute each micro-batch together, each some of its tokens: for sequences too long for one."""
    timeout_seconds: Annotated[float, "(0, inf)"] = 600.0
    """A process that lets the others wait for longer ends the run."""

    @property
    def rounds_adapters(self) -> bool:
        """Says whether ``dtype`` rounds what adapters add (``trainable.LearnerConfig``)."""
        return self.lora.rank > 0 and self.dtype == "bfloat16"

    def with_threads(self, threads: int) -> Self:
        """Returns these options with so many CPU threads a process, unless they name a number of their own."""
        return replace(self, threads=self.threads or threads)

    def over(self, processes: int) -> Self:
        """Returns these options for so many processes; 0: as many as they name."""
        return replace(self, processes=processes or self.processes)

    def open(self, directory: Path | str, note: Callable[[str], None] = lambda text: None) -> ShardedLearner:
        """Opens a policy in all processes (``Local.open``). Raises UserError where there is no such model, and for
        options that several processes cannot keep."""
        return self._opened("policy", directory, note=note)

    def open_scorer(
        self, directory: Path | str, seed: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> ShardedLearner:
        """Opens a reward model in all processes (``Local.open_scorer``). Raises UserError as ``open`` does."""
        return self._opened("scorer", directory, seed, note=note)

    def _opened(self, kind: str, directory: Path | str, *others: Any, note: Callable[[str], None]) -> ShardedLearner:
        from groupwise.learners.sharded import open_sharded

        numbers = self.processes, self.context, self.timeout_seconds
        return open_sharded(self, *numbers, kind, directory, *others, note=note)
