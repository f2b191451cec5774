"""What the parts promise each other. Implementations live in engines/, learners/, rewards/ and sinks/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from groupwise.types import Completion, Example, Request, Rollout, Sampling, Score, TrainerState

if TYPE_CHECKING:
    from torch import Tensor, nn

    from groupwise.algorithm import Outputs
    from groupwise.sample_completions import SampleCompletion


class RolloutEngine(Protocol):
    """Token ids in, token ids and log-probabilities out."""

    version: int
    context_tokens: int
    """Prompt and completion together are at most this long."""

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """Yields ``(request index, completion index, completion)`` as each finishes, in no promised order.

        ``on_token(request index, completion index, token)`` hears every token as it is drawn.
        """
        ...

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Sample from these weights from now on; names are those of the model's parameters, which are those of the
        Hugging Face checkpoint unless adapters stand beside them."""
        ...


class EngineConfig(Protocol):
    """The engine slot of a recipe: its options, and how an engine is opened with them."""

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


Network = Literal["none", "head", "own"]
"""Where a critic's values come from: nowhere, a scalar head on the policy's last hidden states, or its own network."""

CoefficientFunction = Callable[[Sequence[int], "Outputs"], "Outputs"]
"""``(rows, outputs) -> cotangents``: row numbers of the micro-batch, what the network said of them (``[b, T]``),
and the gradient coefficient ∂J/∂outputs in the same shape."""


class Learner(Protocol):
    """Holds the network that is trained. The only code that touches one."""

    version: int
    """Counts optimiser updates."""
    tokenizer: Any
    stop_tokens: tuple[int, ...]
    """Ids that end a completion by the model's generation config."""

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """A fresh optimizer; a frozen reference policy (``""``: the present policy, else a model directory or hub name;
        None: none); and a critic whose values begin at 0."""
        ...

    def live_module(self) -> nn.Module | None:
        """Returns the model in this process that an engine may sample from; None where there is none."""
        ...

    def refresh_reference(self) -> None:
        """The present policy becomes the reference."""
        ...

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """``[B, T]`` log-probabilities of every token after the prompt, without gradient; 0 where the mask is 0.

        Renormalised over ``Rollout.support`` where a rollout has one.
        """
        ...

    def values(self, rollouts: Sequence[Rollout]) -> Tensor:
        """``[B, T]`` the critic's value of the state before each token, without gradient; 0 where the mask is 0."""
        ...

    def accumulate(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
    ) -> None:
        """Forward and backward, a micro-batch at a time: adds ``-coefficient · ∂outputs/∂θ`` to the gradient.

        The minus sign of the whole project is here. The sum is not divided; ``step`` does that. ``outputs`` names what
        must carry a gradient beside ``logprobs``: ``entropy``, ``values``, ``exact_kl``. Rows with one number in
        ``together`` go through the network in one micro-batch. Raises MicroBatchTooLarge where memory runs out: no
        gradient is left, and the same can be asked again.
        """
        ...

    def is_tight(self, tokens: int) -> bool:
        """Whether a step with micro-batches of so many tokens might not fit the memory."""
        ...

    def rehearse(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> str:
        """Tries a step on rollouts as long as they can be and forgets it, so that memory fails now or never; smaller
        micro-batches from then on where it does. What was tried, in words. Raises UserError where not even one
        completion fits."""
        ...

    def discard(self) -> None:
        """Forgets the gradient that was accumulated."""
        ...

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """One optimiser update with the accumulated gradient divided by ``count``. Returns its metrics."""
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """The parameters of the model that engines are opened on, by its names for them, shared and not copied: the
        checkpoint's names, or, where adapters stand beside weights in half precision, peft's."""
        ...

    def save(self, directory: Path) -> None:
        """Writes model, tokenizer and generation config as transformers loads them."""
        ...

    def saved_bytes(self) -> int:
        """What the weights take on the disk that ``save`` writes."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything beside the saved model that the next step depends on: tensors and plain values."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, on the model it was taken with."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Scores rollouts. Users write plain functions; ``groupwise.rewards.as_reward`` makes one of these of any.

    It may also state ``correct_at: float``, the smallest of its scores that a right answer has, before weighting; where
    it states none that is 1 (``verdicts.correct_at``). And it may be :class:`Votes` and :class:`ReadsGold`.
    """

    @property
    def name(self) -> str:
        """Names it in metrics, in the ledger and in error messages."""
        ...

    @property
    def weight(self) -> float:
        """Of its scores in the rollout's reward."""
        ...

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score a rollout, in order."""
        ...


@runtime_checkable
class StepScoring(Protocol):
    """A reward that says whether it scores the steps of a completion (``Score.steps``); without a word it does not."""

    @property
    def scores_steps(self) -> bool: ...


@runtime_checkable
class FollowsTraining(Protocol):
    """A reward that may depend on where training stands."""

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """As ``Reward.score``, of completions drawn at that state."""
        ...


@runtime_checkable
class Votes(Protocol):
    """A reward that knows which answers are the same, so that they can be counted (maj@k)."""

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """For each of the rollouts of one prompt a number: equal numbers are the same answer under this reward's own
        equality; None: it has no answer."""
        ...


@runtime_checkable
class ReadsGold(Protocol):
    """A reward that can say beforehand whether it will be able to read the reference answers."""

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """For each example "" where its reference answer can be read, else the reason in a few words."""
        ...


class Sink(Protocol):
    """Receives what a run has to say: the terminal, files, dashboards. A class that inherits it writes the methods that
    it has a use for; the others do nothing."""

    def stage(self, name: str, steps: int, start: int) -> None:
        """A stage begins (at ``start`` > 0 when it is resumed)."""
        return

    def phase(self, name: str, done: int, total: int) -> None:
        """Progress inside a step: ``sample``, ``reward``, ``train``, ``evaluate`` ..."""
        return

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one finished step (1-based), under the names of docs/metrics.md."""
        return

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        """The ``best``, the ``worst`` and a ``random`` greedy completion of an evaluation; ``name`` says of what."""
        return

    def note(self, text: str) -> None:
        """One line a person should see."""
        return

    def close(self, summary: Mapping[str, Any]) -> None:
        """The run is over, or stops here."""
        return
