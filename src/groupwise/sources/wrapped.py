"""This module is what sources have in common that draw as another source does, at another time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from groupwise.algorithm import Algorithm, Source
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
        """Returns the source whose draws it makes."""
        return self.source

    @property
    def temperature(self) -> float:
        """Is the temperature of every log-probability of the algorithm."""
        return self.source.temperature

    @property
    def max_completion_tokens(self) -> int:
        """Bounds each completion that it samples."""
        return self.source.max_completion_tokens

    @property
    def samples_per_prompt(self) -> int:
        """Is the number of completions that it samples of a prompt."""
        return self.source.samples_per_prompt

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        """Says who draws its completions: ``learner``, ``another`` policy, or ``nobody``."""
        return self.source.sampled_by()

    def samples_by_itself(self) -> bool:
        """Says whether how a completion comes about is its own affair."""
        return self.source.samples_by_itself()

    def samples_from(self) -> tuple[str, ...]:
        """Names the models that it samples from; an empty name is the policy as the stage finds it."""
        return self.source.samples_from()

    def completions_per_prompt(self) -> int:
        """Says how many completions of a prompt a step learns from."""
        return self.source.completions_per_prompt()

    def sampling(self, renderer: Renderer) -> Sampling | None:
        """Says how its completions are drawn: temperature, length and what the choice is narrowed to."""
        return self.source.sampling(renderer)

    def gathers(self, rows: int) -> int:
        """Says for how many of so many rows it samples once, before its first draw."""
        return self.source.gathers(rows)

    def on_trial(self, prompts: int) -> Source:
        """Returns the same source for a trial on so many prompts."""
        return self.source.on_trial(prompts)

    def of_policy(self, models: tuple[str, ...], replay: float, replay_from: tuple[str, ...]) -> Source | None:
        """Returns the same source with samples of these models, a share of what earlier stages kept among them."""
        return self.source.of_policy(models, replay, replay_from)

    def uses(self, example: Example) -> bool:
        """Says whether it learns from such a row at all."""
        return self.source.uses(example)

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return self.source.prompt_of(context, example)  # type: ignore[no-any-return]

    def texts_of(self, example: Example) -> Sequence[Example]:
        """Returns the row once for each text of it that is learned as it stands there."""
        return self.source.texts_of(example)

    def labels_steps(self) -> bool:
        """Says whether its rewards are labels of steps."""
        return self.source.labels_steps()

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return self.source.asks_verdict()

    def needs_reward(self, algorithm: Algorithm) -> bool:
        """Says whether what it samples must be scored in such an algorithm."""
        return self.source.needs_reward(algorithm)

    def selection(self) -> Selection | None:
        """Says what of a group is trained on; None: all of it."""
        return self.source.selection()  # type: ignore[no-any-return]

    def keeps(self, group: Group, signal: Callable[[Group], bool]) -> bool:
        """Says whether a scored group is trained on."""
        return self.source.keeps(group, signal)

    def without_signal_words(self) -> str:
        """Says what it does with a group without signal, in words that go on from "the source"."""
        return self.source.without_signal_words()

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        yield from wrapping_complaints(self)
        yield from self.source.complaints(algorithm)

    def task_complaints(self, algorithm: Algorithm, task: Task) -> Iterator[str]:
        """Yields a sentence for each thing that it lacks in a task."""
        yield from self.source.task_complaints(algorithm, task)

    def remarks(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that works but may not be meant."""
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
