"""This module says what the parts promise each other. Implementations live in engines/, rewards/ and sinks/; learners:
trainable.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from groupwise.types import (
    Completion,
    CompletionEvent,
    Event,
    Example,
    Group,
    Request,
    Rollout,
    Sampling,
    Score,
    TrainerState,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from groupwise.output.sample_completions import SampleCompletion


Json = bool | int | float | str | None | Sequence["Json"] | Mapping[str, "Json"]
Position = Mapping[str, Json]
"""Where a source stands, as a checkpoint keeps it: plain values by name; an empty one is the beginning. ``prompts``
counts those that were taken from the stream of prompts; what else is there is the source's own."""


@dataclass(frozen=True)
class RolloutBatch:
    """The groups of one step, and where the source stands after it."""

    groups: list[Group]
    position: Position
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled_tokens: int = 0
    """By the engine, dropped groups included."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """Of a draw that was made beside learning: seconds that the ``learner`` waited for it, and the ``engine`` before
    it."""


class SelectionResult(NamedTuple):
    """The groups that a group became, and how many of its rollouts (or pairs) went which way, by metric name."""

    groups: list[Group]
    counts: dict[str, int]


@runtime_checkable
class Selection(Protocol):
    """Makes groups of a scored group."""

    def select(self, group: Group) -> SelectionResult:
        """Returns any number of groups on the same prompt; the same for the same group."""
        ...

    def chooses(self) -> bool:
        """Says whether it leaves anything out."""
        return True

    def asks_verdict(self) -> bool:
        """Says whether it chooses by ``Rollout.correct``."""
        return False


class Stream(Protocol):
    """A stream is completions under way in an engine, all drawn from the same weights in the same way. Requests may
    come, and be cancelled, while events are read.

    A completion depends on its request's prompt, its forced tokens and its seed alone, never on what is beside it.
    """

    def submit(self, request: Request) -> int:
        """Takes a request and numbers it: 0, 1, 2 ... Raises ValueError for one that does not fit."""
        ...

    def events(self) -> Iterator[Event]:
        """Yields what happens, in no promised order but that of a completion's own tokens, until nothing is under way;
        after a further ``submit`` it can be read again. Of one thread."""
        ...

    def has_next(self) -> bool:
        """Says whether ``events`` has its next event at hand and need not wait for it; False where nobody knows."""
        return False

    def cancel(self, number: int) -> None:
        """Ends what is under way of a request and gives back what the engine holds or keeps of it. No event of it
        comes any more. Nothing for a request that is over."""
        ...

    def close(self) -> None:
        """Ends everything; called again, nothing."""
        ...


class RolloutEngine(Protocol):
    """An engine takes token ids and gives token ids and log-probabilities. An engine writes ``stream`` and ``load``."""

    version: int
    context_tokens: int
    """Prompt and completion together are at most this long."""

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of completions that are drawn by ``sampling`` from the weights that are loaded; it is to be
        closed before others are. With ``every_token`` its events hold every token, else completions alone."""
        ...

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Samples from these weights from now on; names are those of the model's parameters, which are those of the
        Hugging Face checkpoint unless adapters stand beside them. A matrix that two layers share comes by both names.
        An engine reads them to their end, or not at all."""
        ...

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """Yields ``(request index, completion index, completion)`` as each finishes, in no promised order.

        ``on_token(request index, completion index, token)`` hears every token as it is drawn. This is the same for all
        engines.
        """
        stream = self.stream(sampling, on_token is not None)
        try:
            places = {stream.submit(request): place for place, request in enumerate(requests)}
            for event in stream.events():
                if isinstance(event, CompletionEvent):
                    yield places[event.request], event.index, event.completion
                elif on_token:
                    on_token(places[event.request], event.index, event.token)
        finally:
            stream.close()


class EngineConfig(Protocol):
    """This is the engine slot of a recipe: its options, and how an engine is opened with them."""

    def open(
        self,
        directory: Path | str,
        live: nn.Module | None,
        tokenizer: Any,
        note: Callable[[str], None] = lambda text: None,
        *,
        dtype: str = "float32",
        device: str = "auto",
    ) -> RolloutEngine:
        """Opens an engine on the model in ``directory`` (or of a hub name), whose tokenizer is ``tokenizer``.

        ``live`` is that model in this process where a learner holds one: an engine may sample from the same memory, and
        what ``directory`` holds then need not be read. Where it is None the engine loads the model itself, in ``dtype``
        and on ``device``. ``note`` is called with what a person should know. Raises UserError where there is no such
        model.
        """
        ...


@runtime_checkable
class Reward(Protocol):
    """A reward scores rollouts. Users write plain functions; ``groupwise.rewards.as_reward`` makes one of these of any.

    It may also state ``correct_at: float``, the smallest of its scores that a right answer has, before weighting; where
    it states none that is 1 (``verdicts.correct_at``). And it may be :class:`Votes` and :class:`ReadsGold`.
    """

    @property
    def name(self) -> str:
        """Names it in metrics, in the ledger and in error messages."""
        ...

    @property
    def weight(self) -> float:
        """Is the factor of its scores in the rollout's reward."""
        ...

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns one score a rollout, in order."""
        ...


@runtime_checkable
class StepScoring(Protocol):
    """A reward that says whether it scores the steps of a completion (``Score.steps``); without a word it does not."""

    @property
    def scores_steps(self) -> bool:
        """Says whether every step gets a score of its own."""


@runtime_checkable
class FollowsTraining(Protocol):
    """A reward that may depend on where training stands."""

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """Does as ``Reward.score``, of completions drawn at that state."""
        ...


@runtime_checkable
class Votes(Protocol):
    """A reward that knows which answers are the same, so that they can be counted (maj@k)."""

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Returns for each of the rollouts of one prompt a number: equal numbers are the same answer under this
        reward's own equality; None: it has no answer."""
        ...


@runtime_checkable
class ReadsGold(Protocol):
    """A reward that can say beforehand whether it will be able to read the reference answers."""

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns for each example "" where its reference answer can be read, else the reason in a few words."""
        ...


class Sink(Protocol):
    """A sink receives what a run has to say: the terminal, files, dashboards. A class that inherits it writes the
    methods that it has a use for; the others do nothing."""

    def stage(self, name: str, steps: int, start: int) -> None:
        """Hears that a stage begins (at ``start`` > 0 when it is resumed)."""
        return

    def phase(self, name: str, done: int, total: int) -> None:
        """Is told of progress inside a step: ``sample``, ``reward``, ``train``, ``evaluate`` ..."""
        return

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Is given the numbers of one finished step (1-based), under the names of docs/metrics.md."""
        return

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        """Is given the ``best``, the ``worst`` and a ``random`` greedy completion of an evaluation; ``name`` says of
        what."""
        return

    def note(self, text: str) -> None:
        """Is given one line a person should see."""
        return

    def close(self, summary: Mapping[str, Any]) -> None:
        """Hears that the run is over, or stops here."""
        return
