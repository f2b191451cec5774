"""This module is what sources have in common that sample from policies which no longer change, once, before their first
draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Protocol, cast

from groupwise.algorithm import Source
from groupwise.tokens.renderer import Renderer
from groupwise.types import Sampling


class OfflineSource(Source, Protocol):
    """A source whose samples are gathered at the first draw and kept. Its answers follow from its options."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names whom it samples from; empty: the policy as the stage finds it."""
        ...

    @property
    def prompts(self) -> int:
        """Says how many of the training rows it asks; 0: all."""
        ...

    @property
    def sampling_temperature(self) -> float:
        """Is the temperature of the samples."""
        ...

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        """Says who draws its completions: ``learner``, ``another`` policy, or ``nobody``."""
        return "another"

    def samples_from(self) -> tuple[str, ...]:
        """Names the models that it samples from; an empty name is the policy as the stage finds it."""
        return self.models or ("",)

    def sampling(self, renderer: Renderer) -> Sampling | None:
        """Says how its completions are drawn: temperature, length and what the choice is narrowed to."""
        return renderer.sampling(self.max_completion_tokens, self.sampling_temperature)

    def gathers(self, rows: int) -> int:
        """Says for how many of so many rows it samples once, before its first draw."""
        return min(self.prompts or rows, rows)

    def on_trial(self, prompts: int) -> Source:
        """Returns the same source for a trial on so many prompts."""
        return cast(Source, replace(cast(Any, self), prompts=prompts, replay=0.0, replay_from=()))

    def of_policy(self, models: tuple[str, ...], replay: float, replay_from: tuple[str, ...]) -> Source | None:
        """Returns the same source with samples of these models, a share of what earlier stages kept among them."""
        return cast(Source, replace(cast(Any, self), models=models, replay=replay, replay_from=replay_from))
