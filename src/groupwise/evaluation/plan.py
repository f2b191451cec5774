"""A plan says how held-out problems are sampled in an evaluation: the options of a recipe and of ``groupwise
evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated


@dataclass(frozen=True)
class HeldOut:
    """This says how each stage's model is evaluated on its task's held-out problems."""

    problems: Annotated[int, "[0, inf)"] = 500
    """Of each held-out set, with one greedy and one sampled completion each."""
    sampled_problems: Annotated[int, "[0, inf)"] = 100
    """The first of them, with ``samples`` completions each, for pass@k and maj@k. 0: none."""
    samples: Annotated[int, "[1, inf)"] = 32
    """Completions for each sampled problem; k goes 1, 2, 4 ... up to it."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the sampled completions."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 256
    """Of every completion here."""
    during: Annotated[int, "[1, inf)"] = 100
    """Problems of the quick evaluations inside a stage (``Stage.evaluate_every``), of each held-out set."""
    during_samples: Annotated[int, "[1, inf)"] = 1
    """Completions for each of those beside the greedy one; with more than one also pass@k and maj@k for k up to it."""
    top_k: Annotated[int, "[0, inf)"] = 0
    """The sampled completions are drawn among so many of the likeliest tokens; 0: all."""
    top_p: Annotated[float, "(0, 1]"] = 1.0
    """Among the likeliest tokens that together have this probability."""
    min_p: Annotated[float, "[0, 1]"] = 0.0
    """Among tokens at least this share as likely as the likeliest."""

    @property
    def quick(self) -> HeldOut:
        """The plan of the quick evaluations inside a stage."""
        several = self.during if self.during_samples > 1 else 0
        return replace(self, problems=self.during, samples=self.during_samples, sampled_problems=several)

    @property
    def narrowed(self) -> tuple[int, float, float]:
        """Returns top-k, top-p and min-p."""
        return self.top_k, self.top_p, self.min_p
