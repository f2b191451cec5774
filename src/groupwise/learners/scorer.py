"""A scorer is a learner whose network gives scores: a network with one number at each token, as its learner. Reward
models and process reward models are these.

Its scores stand where a policy's log-probabilities stand, and their cotangent goes back through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithm import Algorithm, Outputs
from groupwise.errors import MicroBatchTooLarge, UserError
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.backward import CoefficientFunction, accumulate, send_back
from groupwise.learners.device import pick_device
from groupwise.learners.dry_step import LocalMemory
from groupwise.learners.hidden_states import backbone_of
from groupwise.learners.loading import context_of, load_scorer, load_tokenizer, refuse_lost_ids, save_model
from groupwise.learners.memory import MicroBatchBudget
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.optimizer import Optimizer
from groupwise.learners.options import LearnerOptions
from groupwise.learners.placement import ONE_PROCESS, Placement, rows_or_shortest, whole_weights
from groupwise.learners.source import fetched
from groupwise.learners.thread_trial import choose_threads, pool_threads, remarks, trial_rollouts
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Network
from groupwise.storage.tensors import load_state, save_state
from groupwise.types import Rollout

NO_POLICY = "a scorer has no policy: no reference and no critic"


class ScorerLearner:
    """A ``trainable.Trainable`` whose ``logprobs`` are scores, read after each token: of its own hidden state.

    The model is transformers' sequence classifier with one label, so what ``save`` writes is what
    ``AutoModelForSequenceClassification`` loads. A new head's weights are drawn from N(0, 1/√(d + 1)).
    """

    threads = pool_threads
    policy = None

    def __init__(
        self,
        config: LearnerOptions,
        directory: Path | str,
        seed: int = 0,
        note: Callable[[str], None] = lambda text: None,
        placement: Placement = ONE_PROCESS,
    ) -> None:
        self.placement = placement
        if config.lora.rank:
            raise UserError("lora.rank: a scorer is trained whole; expected 0 in a stage that trains one")
        self.config, self.half_precision = config, config.dtype == "bfloat16"
        self.budget = MicroBatchBudget(config.tokens_per_micro_batch, self.discard, note, placement)
        self.device = pick_device(config.device)
        self.model, new = load_scorer(directory, config.dtype, self.device, mapped=placement.count > 1)
        self.tokenizer = load_tokenizer(directory)
        self._generation = _generation_config(directory)
        self.stop_tokens = _stops(self._generation)
        self.tokenizer.pad_token = pad = pad_token(self.tokenizer, self.stop_tokens, str(directory))
        self.model.config.get_text_config().pad_token_id = self.tokenizer.convert_tokens_to_ids(pad)
        check_head(self.model, str(directory))
        if new:
            draw_head(self.model.score.to(getattr(torch, config.dtype)), seed)
        refuse_lost_ids(directory, self.model, self.tokenizer)
        self.context_tokens = context_of(self.model, self.tokenizer)
        self.version = 0
        self.pool = TileThreads(config.threads or 1)
        placement.place(self.model, config.dtype)
        self._backbone = backbone_of(self.model, config.checkpointing, self.pool, placement)
        placement.check(self._backbone)
        self.threads = choose_threads(config.threads, self.device, self.model, self._trial, note)
        self._optimizer = self._new_optimizer()

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """Makes a fresh optimizer. Raises RuntimeError where a reference or a critic is asked for."""
        if reference is not None or critic != "none":
            raise RuntimeError(NO_POLICY)
        self._optimizer.close()
        self._optimizer = self._new_optimizer()

    def score(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Returns ``[B, T]`` the score of each sampled token, without gradient; 0 where the mask is 0. Any real
        number."""
        shape = len(rollouts), max((len(rollout.tokens) for rollout in rollouts), default=0)
        result = torch.zeros(shape, dtype=torch.float64 if self.config.dtype == "float64" else torch.float32)

        @torch.no_grad()
        def read(rows: list[int]) -> None:
            part = self._scores(rows_or_shortest(rollouts, rows))
            if rows:
                result[torch.tensor(rows), : part.shape[1]] = part.to(result)

        while True:
            try:
                self.budget.each(rollouts, read, bool(self.slower))
                return self.placement.total(result)
            except MicroBatchTooLarge:
                continue

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> Tensor:
        """Returns ``[B, T]`` the score of each sampled token, any real number; 0 where the mask is 0."""
        return self.score(rollouts)

    def accumulate(
        self, batch: TrainBatch, algorithm: Algorithm, *, on_rows: Callable[[int], None] = lambda rows: None
    ) -> Tally:
        """Adds a batch's gradient (``trainable.Trainable``) of scores. Raises ValueError where more is asked for."""
        return accumulate(self.backward, batch, algorithm, on_rows)

    def backward(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
        count: float = 0.0,
        idle: frozenset[int] = frozenset(),
    ) -> None:
        """Adds a gradient of scores (``backward.Backward``). Raises ValueError where more is asked for."""
        if outputs:
            raise ValueError(f"a scorer says nothing of {', '.join(sorted(outputs))}")

        def learn(rows: list[int]) -> None:
            said = Outputs(self._scores(rows_or_shortest(rollouts, rows)))
            plain = said.map(lambda tensor: tensor.detach().cpu())
            cotangent = self.placement.agreed(lambda: coefficients(rows, plain), plain, empty=not rows)
            with self.pool.inside(self._backbone.tiled):
                send_back(said, cotangent)

        self.budget.each(rollouts, learn, bool(self.slower), together)

    @property
    def memory(self) -> LocalMemory:
        """Returns what answers questions about memory."""
        return LocalMemory(self)

    def remarks(self) -> list[str]:
        """Returns what a person should know once a run."""
        return remarks(self.threads, chosen=not self.config.threads and self.device == "cpu", slower=self.slower)

    @property
    def slower(self) -> str:
        """Says why padding is computed, and every prompt as often as it occurs; empty: neither is."""
        return self._backbone.fallback_reason

    def _scores(self, rollouts: Sequence[Rollout]) -> Tensor:
        micro_batch = self.placement.micro_batch(rollouts, self.device, after=True)
        with self.pool.inside(self._backbone.tiled):
            return self.placement.run(
                self.model,
                lambda: micro_batch.spread(scores_of(self._backbone(micro_batch), self.model.score.weight)),
            )

    def _trial(self, threads: int) -> None:
        """A small train step that leaves nothing behind."""
        pool, size = TileThreads(threads), (self.model.config.get_text_config().vocab_size, self.context_tokens)
        backbone = self._backbone.shallow(pool)
        micro_batch = MicroBatch.of(trial_rollouts(backbone.parameters, *size), self.device, after=True)
        with pool.inside(backbone.tiled):
            scores_of(backbone(micro_batch), self.model.score.weight).sum().backward()
        for parameter in self.model.parameters():
            parameter.grad = None

    def _new_optimizer(self) -> Optimizer:
        return Optimizer([list(self.model.parameters())], self.config)

    def discard(self) -> None:
        """Forgets the gradient that was accumulated."""
        self._optimizer.discard()

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """Makes one update (``trainable.Trainable``). One whose gradient is not finite is left out and counted."""
        with self.pool.inside(tiled=self._optimizer.small):
            (norm,), finite = self._optimizer.step(count, (learning_rate,))
        self.version += finite
        return {"grad_norm": norm, "learning_rate": learning_rate, "skipped_updates": float(not finite)}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the parameters of the reward model by its names for them."""
        return whole_weights(self.placement, self.model)

    def save(self, directory: Path) -> None:
        """Writes what ``AutoModelForSequenceClassification`` and ``AutoTokenizer`` load: the same weights to the
        bit, and a pad token that ends no text."""
        model = self.placement.whole_model(self.model)
        if self.placement.rank:
            return
        save_model(model, directory)
        self.tokenizer.save_pretrained(directory)
        if self._generation is not None:
            self._generation.save_pretrained(directory)

    def write(self, directory: Path) -> None:
        """Writes everything beside the saved model that the next step depends on."""
        state = self.placement.whole(self.state())
        if not self.placement.rank:
            save_state(directory, state)

    def read(self, directory: Path) -> None:
        """Takes up what ``write`` wrote: the next step is the same to the bit."""
        self.load_state(load_state(directory))

    def close(self) -> None:
        """Ends what computes for it. It may be called twice."""
        self.discard()
        self._optimizer.close()

    def state(self) -> dict[str, Any]:
        """Returns everything that ``write`` writes: tensors and plain values."""
        kept = {"threads": self.threads, **self.budget.state(), "version": self.version}
        return {"optimizer": self._optimizer.state_dict(), **kept}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, on the weights it was taken with."""
        self._optimizer.load_state_dict(state["optimizer"], self.placement.part)
        self.version = state["version"]
        self.threads = self.config.threads or state["threads"]
        self.budget.load_state(state)


def scores_of(hidden: Tensor, weight: Tensor) -> Tensor:
    """Returns the scores ``[...]`` of hidden states ``[..., d]``, at least float32. In half precision the head alone is
    not: three digits are too few to tell two good answers apart."""
    if weight.dtype not in (torch.float32, torch.float64):
        hidden, weight = hidden.float(), weight.float()
    return nn.functional.linear(hidden, weight).squeeze(-1)


def draw_head(head: nn.Linear, seed: int) -> None:
    """Draws a head from N(0, 1/√(d + 1)), the same for the same seed on every device (OpenAI's first reward models;
    arXiv 2009.01325)."""
    spread = (head.in_features + 1) ** -0.5
    drawn = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread
    with torch.no_grad():
        head.weight.copy_(drawn)


@torch.no_grad()
def check_head(model: Any, name: str) -> None:
    """Raises UserError where the classifier's score is not its ``score`` matrix on the last real token's hidden state.

    The model's pad token is set.
    """
    head = dict(model.named_children()).get("score")
    if isinstance(head, nn.Linear) and head.bias is None and head.out_features == 1:
        text = model.config.get_text_config()
        probe = (torch.arange(8, device=head.weight.device)[None] + text.pad_token_id + 1) % text.vocab_size
        asked = model(input_ids=probe, use_cache=False).logits.squeeze(-1).float()
        hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
        if torch.allclose(scores_of(hidden, head.weight)[:, -1].float(), asked, rtol=1e-2, atol=1e-2):
            return
    raise UserError(
        f"{name}: a {model.config.model_type} classifier does not score by one matrix on the hidden state of the last "
        "token; expected an architecture such as llama, qwen2, qwen3 or mistral"
    )


def pad_token(tokenizer: Any, stops: Sequence[int], name: str) -> str:
    """A token that ends no text, so that whoever looks for the last real token finds it.

    The tokenizer's own, unless that ends a turn or a text; else a special token that is likely to be meant for it.
    Raises UserError where there is none.
    """
    special = [added.content for added in tokenizer.added_tokens_decoder.values() if added.special]
    meant = [token for word in ("pad", "reserved", "unused") for token in special if word in token.lower()]
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id, *stops}
    for token in (tokenizer.pad_token, *meant, tokenizer.unk_token, *special):
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in ends:
            return str(token)
    raise UserError(
        f"{name}: its tokenizer has no special token but those that begin and end texts, so that padding could not be "
        "told from them; expected a pad_token of its own in tokenizer_config.json"
    )


def _generation_config(directory: Path | str) -> Any:
    """Returns the generation config that stands beside the model; None where there is none."""
    from transformers import GenerationConfig

    name, how = fetched(directory)
    known = {key: value for key, value in how.items() if key != "trust_remote_code"}
    try:
        return GenerationConfig.from_pretrained(name, **known)
    except OSError:
        return None


def _stops(generation: Any) -> tuple[int, ...]:
    ends = None if generation is None else generation.eos_token_id
    return tuple(ends) if isinstance(ends, list) else () if ends is None else (int(ends),)
