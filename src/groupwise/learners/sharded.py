"""The learner of several processes, as its run sees it: rank 0, which has all others do what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.learners.backward import CoefficientFunction
from groupwise.learners.device import pick_device
from groupwise.learners.dry_step import LocalMemory
from groupwise.learners.loading import context_of, generation_stops, load_policy, load_tokenizer, save_model
from groupwise.learners.memory import MicroBatchBudget
from groupwise.learners.options import LearnerOptions
from groupwise.learners.other_parts import other_parts
from groupwise.learners.ranks import ranks_of
from groupwise.learners.shard import Shard
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Network
from groupwise.storage.tensors import save_state
from groupwise.types import Rollout

_numbers = count()


class ShardedLearner:
    """This learner is a ``trainable.Policy`` whose parameters lie in several processes. ``model`` is a plain copy of
    the whole, which engines sample from."""

    half_precision = False
    slower = ""

    def __init__(
        self,
        config: LearnerOptions,
        processes: int,
        seconds: float,
        directory: Path | str,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.config = config
        self.device, self.tokenizer = "cpu", load_tokenizer(directory)
        if pick_device(config.device) != "cpu":
            raise UserError("learner FSDP: several processes compute on the CPU alone yet; expected learner.device cpu")
        self.model = load_policy(directory, config.dtype, "cpu", self.tokenizer, note).requires_grad_(False)
        self._other_parts = other_parts(directory, self.model, note)
        self.context_tokens = context_of(self.model, self.tokenizer)
        self.stop_tokens = generation_stops(self.model)
        self.threads = config.threads or 1
        self.budget = MicroBatchBudget(config.tokens_per_micro_batch, self.discard, note)
        self._number, self._open = next(_numbers), True
        self._ranks = ranks_of(processes, seconds)
        with self._ranks.watched():
            self._ranks.tell(self._number, "open", config, str(directory))
            self._shard = Shard(config, str(directory))
        self._ranks.learners += 1

    def _ask(self, name: str, *arguments: Any, **here: Any) -> Any:
        """Has the method called in every process; ``here``: with what is for this one alone."""
        with self._ranks.watched():
            self._ranks.tell(self._number, name, *arguments)
            return getattr(self._shard, name)(*arguments, **here)

    @property
    def version(self) -> int:
        """See ``trainable.Trainable``."""
        return self._shard.version

    @property
    def policy(self) -> ShardedLearner:
        """See ``trainable.Trainable``."""
        return self

    @property
    def memory(self) -> LocalMemory:
        """See ``trainable.Trainable``."""
        return LocalMemory(self)

    def remarks(self) -> list[str]:
        """See ``trainable.Trainable``."""
        return [f"learner: {self._ranks.count} processes, each with its part of every parameter"]

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """See ``trainable.Policy``. Raises UserError for a critic."""
        if critic != "none":
            raise UserError(
                f"learner FSDP: a critic ({critic}) is not computed by several processes yet; expected learner Local, "
                "or a recipe without a critic"
            )
        self._ask("start_stage", reference)

    def refresh_reference(self) -> None:
        """See ``trainable.Policy``."""
        self._ask("refresh_reference")

    def live_module(self) -> nn.Module:
        """See ``trainable.Policy``."""
        return self.model  # type: ignore[no-any-return]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """See ``trainable.Policy``. Raises RuntimeError for a reference that the stage did not start."""
        if reference and self._shard.reference is None:
            raise RuntimeError('this stage has no reference policy: start_stage(reference="") makes one')
        width, exact = max((len(rollout.tokens) for rollout in rollouts), default=0), self.config.dtype == "float64"
        result = torch.zeros(len(rollouts), width, dtype=torch.float64 if exact else torch.float32)
        for rows, part in self._ask("read_rows", rollouts, temperature, reference):
            result[torch.tensor(rows), : part.shape[1]] = part.to(result)
        return result

    def values(self, rollouts: Sequence[Rollout]) -> NoReturn:
        """See ``trainable.Policy``. Raises RuntimeError: there is no critic."""
        raise RuntimeError("this stage has no critic")

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        """See ``trainable.Trainable``. Raises UserError for outputs that several processes do not compute yet."""
        self._refuse(algorithm.outputs)
        tally, raised = self._ask("accumulate", batch, algorithm, on_rows=on_rows)
        if raised is not None:
            raise raised
        return tally  # type: ignore[no-any-return]

    def backward(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
    ) -> None:
        """Tries how much memory a step takes, in every process: whatever the coefficients are, they count as 0."""
        self._refuse(outputs)
        self._ask("rehearse", rollouts, outputs, together)

    def _refuse(self, outputs: frozenset[str]) -> None:
        for name in sorted(outputs & {"exact_kl", "values"}):
            raise UserError(
                f"learner FSDP: {name.replace('_', ' ')} is not computed by several processes yet; expected learner "
                "Local"
            )

    def discard(self) -> None:
        """See ``trainable.Trainable``."""
        if self._ranks.alive:
            self._ask("discard")

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """See ``trainable.Trainable``."""
        norms, finite = self._ask("step", count, learning_rate)
        self._take_weights()
        return {"grad_norm": norms[0], "learning_rate": learning_rate, "skipped_updates": float(not finite)}

    @torch.no_grad()
    def _take_weights(self) -> None:
        weights = self._ask("weights")
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """See ``trainable.Trainable``."""
        return ((name, weight.detach()) for name, weight in self.model.named_parameters(remove_duplicate=False))

    def save(self, directory: Path) -> None:
        """Writes what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load."""
        save_model(self.model, directory)
        self._other_parts.put_back(directory)
        self.tokenizer.save_pretrained(directory)

    def merge_loss(self) -> str:
        """See ``trainable.Policy``: there are no adapters."""
        return ""

    def load_left(self, directory: Path) -> None:
        """See ``trainable.Policy``: nothing is left there."""

    def state(self) -> dict[str, Any]:
        """Returns what ``write`` writes, in whole tensors: ``Local`` reads it too."""
        return self._ask("state")  # type: ignore[no-any-return]

    def write(self, directory: Path) -> None:
        """See ``trainable.Trainable``."""
        save_state(directory, self.state())

    def read(self, directory: Path) -> None:
        """See ``trainable.Trainable``."""
        self._ask("read", str(directory))

    def close(self) -> None:
        """Lets the parts go; the processes stay for the next learner and end with this one."""
        if self._open:
            self._open = False
            self._ranks.learners -= 1
            if self._ranks.alive:
                with self._ranks.watched():
                    self._ranks.tell(self._number, "close")
