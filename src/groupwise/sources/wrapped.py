"""This module is what sources have in common that draw as another source does, at another time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

from groupwise.algorithm import Source
from groupwise.sources.draw import DrawContext
from groupwise.sources.selection import Selection
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Group, Prompt, Sampling


class WrappedSource(Source, Protocol):
    """A source whose answers are those of the source that it wraps, but for when it draws."""

    source: Source
    """What it wraps."""

    def wraps(self) -> Source | None:
        return self.source

    @property
    def temperature(self) -> float:
        return self.source.temperature

    @property
    def max_completion_tokens(self) -> int:
        return self.source.max_completion_tokens

    @property
    def samples_per_prompt(self) -> int:
        return self.source.samples_per_prompt

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        return self.source.sampled_by()

    def samples_by_itself(self) -> bool:
        return self.source.samples_by_itself()

    def samples_from(self) -> tuple[str, ...]:
        return self.source.samples_from()

    def completions_per_prompt(self) -> int:
        return self.source.completions_per_prompt()

    def sampling(self, renderer: Renderer) -> Sampling | None:
        return self.source.sampling(renderer)

    def gathers(self, rows: int) -> int:
        return self.source.gathers(rows)

    def on_trial(self, prompts: int) -> Source:
        return self.source.on_trial(prompts)

    def of_policy(self, models: tuple[str, ...], replay: float, replay_from: tuple[str, ...]) -> Source | None:
        return self.source.of_policy(models, replay, replay_from)

    def uses(self, example: Example) -> bool:
        return self.source.uses(example)

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        return self.source.prompt_of(context, example)  # type: ignore[no-any-return]

    def texts_of(self, example: Example) -> Sequence[Example]:
        return self.source.texts_of(example)

    def labels_steps(self) -> bool:
        return self.source.labels_steps()

    def asks_verdict(self) -> bool:
        return self.source.asks_verdict()

    def needs_reward(self, algorithm: Any) -> bool:
        return self.source.needs_reward(algorithm)

    def selection(self) -> Selection | None:
        return self.source.selection()  # type: ignore[no-any-return]

    def keeps(self, group: Group, signal: Callable[[Group], bool]) -> bool:
        return self.source.keeps(group, signal)

    def without_signal_words(self) -> str:
        return self.source.without_signal_words()

    def complaints(self, algorithm: Any) -> Iterator[str]:
        yield from wrapping_complaints(self)
        yield from self.source.complaints(algorithm)

    def task_complaints(self, algorithm: Any, task: Task) -> Iterator[str]:
        yield from self.source.task_complaints(algorithm, task)

    def remarks(self, algorithm: Any) -> Iterator[str]:
        yield from self.source.remarks(algorithm)


def wrapping_complaints(wrapper: WrappedSource) -> Iterator[str]:
    """A sentence where what is wrapped samples nothing from the policy that learns, or does so at another time
    already."""
    name, inner = type(wrapper).__name__, wrapper.source
    if inner.wraps():
        yield f"{name} wraps {type(inner).__name__}, which draws at another time already; expected one of them"
    elif inner.sampled_by() != "learner":
        yield (
            f"{name} draws beside learning what the policy that learns samples, and {type(inner).__name__} samples "
            "nothing of it; expected a source such as OnPolicy()"
        )
