"""This module says what a learner promises: a network is trained with data that goes in and sums that come out. See
learners/.

Nothing here must be held whole by one process, and no function is sent anywhere, so that the same words serve one
process and many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from groupwise.types import Rollout

if TYPE_CHECKING:
    from torch import Tensor, nn

    from groupwise.algorithm import Algorithm
    from groupwise.learning.tally import Tally
    from groupwise.learning.train_batch import TrainBatch

Network = Literal["none", "head", "own"]
"""Where a critic's values come from: nowhere, a scalar head on the policy's last hidden states, or its own network."""


class Memory(Protocol):
    """This protocol answers questions about a learner's memory, before a step and before a write."""

    @property
    def tokens_per_micro_batch(self) -> int:
        """Says how many tokens go through the network at once: as many as asked for, and fewer once memory has run
        out."""
        ...

    def is_tight(self, tokens: int) -> bool:
        """Returns whether a step with micro-batches of so many tokens might not fit."""
        ...

    def rehearse(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> str:
        """Tries a step on rollouts as long as they can be, and says in words what was tried. See ``try_step``."""
        ...

    def try_step(
        self, rollouts: Sequence[Rollout], outputs: frozenset[str], together: Sequence[int] | None = None
    ) -> None:
        """Takes a step on these rollouts and forgets it, so that memory fails now or never; smaller micro-batches from
        then on where it does. ``outputs`` and ``together`` are as in ``Algorithm.outputs`` and ``TrainBatch``. Raises
        UserError where not even one completion fits."""
        ...

    def largest_micro_batch(self, rollouts: Sequence[Rollout], together: Sequence[int] | None = None) -> int:
        """Returns the tokens of the largest micro-batch that these rollouts make."""
        ...

    def step_bytes(self, tokens: int) -> float:
        """Estimates what a step on a micro-batch of so many tokens needs beside the weights."""
        ...

    def free_bytes(self) -> float:
        """Returns what can be had where the learner computes; infinity where nobody says."""
        ...

    def weight_bytes(self) -> int:
        """Returns what the weights take there."""
        ...

    def saved_bytes(self) -> int:
        """Returns what the weights take on the disk that ``Trainable.save`` writes."""
        ...

    def written_bytes(self) -> int:
        """Returns how many bytes ``Trainable.write`` puts on the disk."""
        ...


class Trainable(Protocol):
    """Holds a network that is trained: a policy, or a scorer whose scores stand where log-probabilities stand.

    The only code that touches a network. What it is given and what it gives back are plain values, one tensor at a
    time where there are many, so that it may lie in another process, or in several that each hold a part.
    """

    @property
    def version(self) -> int:
        """Returns how many updates the optimiser has made."""
        ...

    tokenizer: Any
    stop_tokens: tuple[int, ...]
    """Ids that end a completion by the model's generation config."""
    context_tokens: int
    """Prompt and completion together are at most this long."""

    @property
    def threads(self) -> int:
        """Is the number of CPU threads that it computes with; a resumed run is given the number that it began with."""
        ...

    @property
    def policy(self) -> Policy | None:
        """Returns itself, where it is a policy; None for a scorer, which nothing can be sampled from."""
        ...

    @property
    def memory(self) -> Memory:
        """Returns what answers questions about memory."""
        ...

    @property
    def half_precision(self) -> bool:
        """Says whether weights have 16 bits, so that engine and learner round differently."""
        ...

    def remarks(self) -> list[str]:
        """Returns what a person should know once a run, a sentence each."""
        ...

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """Makes a fresh optimizer; a frozen reference policy (``""``: the present policy, else a model directory or hub
        name; None: none); and a critic whose values begin at 0. Raises RuntimeError for a reference or critic that
        there can be none of."""
        ...

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> Tensor:
        """Returns ``[B, T]`` log-probabilities (or scores) of every token after the prompt, without gradient; 0 where
        the mask is 0.

        Renormalised over ``Rollout.support`` where a rollout has one.
        """
        ...

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        """Adds to the gradient the ``-coefficient · ∂outputs/∂θ`` of a batch, a micro-batch at a time. The coefficients
        are those of ``algorithm``, which is asked where log-probabilities are.

        The minus sign of the whole project is here. The sum is not divided; ``step`` does that, by the ``count`` of
        the tally or of several added up: however a batch is split, gradient and tally are the same but for rounding.
        Where a number is not finite the tally says which (``bad``), and the gradient is to be discarded. ``on_rows`` is
        called between micro-batches, in the caller's process, with how many rows are done; what it raises is passed on.
        Raises MicroBatchTooLarge where memory runs out: no gradient is left, and the same can be asked again.
        """
        ...

    def discard(self) -> None:
        """Forgets the gradient that was accumulated."""
        ...

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """Makes one optimiser update with the accumulated gradient divided by ``count``. Returns its metrics, among
        them ``grad_norm`` and ``skipped_updates``: 1 where the gradient was not finite, and nothing has changed."""
        ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the parameters of the model that engines sample from, by its names for them, not copied where they lie
        in this process: the checkpoint's names, or, where adapters stand beside weights in half precision, peft's. A
        matrix that two layers share (a tied head) comes by both names. To be read to its end, before the next call."""
        ...

    def save(self, directory: Path) -> None:
        """Writes model, tokenizer and generation config as transformers loads them."""
        ...

    def write(self, directory: Path) -> None:
        """Writes everything beside the saved model that the next step depends on, in files of its own."""
        ...

    def read(self, directory: Path) -> None:
        """Takes up what ``write`` wrote, on the model that ``save`` saved beside it, in a stage that was started
        alike: the next step is the same to the bit."""
        ...

    def close(self) -> None:
        """Ends what computes for it: other processes, hooks on the network. May be called twice."""
        ...


class LearnerConfig(Protocol):
    """This is the learner slot of a recipe: a frozen dataclass of options, and how a learner is opened with them."""

    @property
    def tokens_per_micro_batch(self) -> int:
        """Says how many tokens go through the network at once, at most."""
        ...

    @property
    def device(self) -> str:
        """Says where it computes: ``auto``, ``cpu`` or ``cuda``."""
        ...

    @property
    def dtype(self) -> str:
        """Names the precision of its parameters, by torch's name."""
        ...

    @property
    def rounds_adapters(self) -> bool:
        """Says whether the policy is more than the weights of its saved model, since ``dtype`` rounds what adapters
        add."""
        ...

    def with_threads(self, threads: int) -> Self:
        """Returns these options with so many CPU threads, unless they name a number of their own."""
        ...

    def over(self, processes: int) -> LearnerConfig:
        """Returns these options for so many processes; 0: as many as were started. Raises UserError for a learner of
        one process alone."""
        ...

    def open(self, directory: Path | str, note: Callable[[str], None] = lambda text: None) -> Policy:
        """Opens a policy on the model in ``directory`` (or of a hub name). ``note`` is called with what a person should
        know. Raises UserError where there is no such model."""
        ...

    def open_scorer(
        self, directory: Path | str, seed: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> Trainable:
        """Opens a scorer on the scorer, or on the trunk of the causal LM, in ``directory`` (or of a hub name); ``seed``
        draws the head of a new one. Raises UserError where there is no such model."""
        ...


class Policy(Trainable, Protocol):
    """A learner that completions can be sampled from."""

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """Returns what ``Trainable.logprobs`` returns; with ``reference``, of the reference policy, which reads
        ``Prompt.reference_tokens`` where there are any, here and in an exact KL."""
        ...

    def values(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Returns ``[B, T]`` the critic's value of the state before each token, without gradient; 0 where the mask is
        0."""
        ...

    def refresh_reference(self) -> None:
        """Makes the present policy the reference."""
        ...

    def live_module(self) -> nn.Module | None:
        """Returns the model in this process that an engine may sample from; None where there is none."""
        ...

    def load_left(self, directory: Path) -> None:
        """Brings back what ``save`` left there beside the model: adapters, on the weights they were trained beside."""
        ...

    def merge_loss(self) -> str:
        """Says what a saved model lacks of the adapters, in a few words; nothing without adapters."""
        ...
