"""This module is a learned reward: what a scorer, trained as any other stage, says of a completion or of each of its
steps."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.scale import Scale, Standardised, Unscaled, sigmoid
from groupwise.rewards.verdicts import NEVER, unwrap
from groupwise.types import DEMONSTRATED, Rollout, Score

if TYPE_CHECKING:
    from groupwise.learning.trainable import LearnerConfig, Trainable

Kind = Literal["outcome", "process"]
Aggregate = Literal["min", "last", "mean", "product"]

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "last": lambda scores: scores[-1],
    "mean": lambda scores: math.fsum(scores) / len(scores),
    "product": math.prod,
}

Scorers = weakref.WeakValueDictionary[tuple[Any, ...], "Trainable"]
"""Scorers that are open, by their files and options, for as long as some reward uses them."""


def solution_score(steps: Sequence[float], aggregate: Aggregate = "min") -> float:
    """Returns one score of a whole solution from those of its steps. Math-Shepherd (arXiv 2312.08935, section 3.4)
    takes the minimum. Raises ValueError where there are no steps."""
    if not steps:
        raise ValueError("a solution without steps has no score")
    return AGGREGATES[aggregate](steps)


@dataclass(frozen=True)
class ModelReward:
    """The score of a reward model (``outcome``) or of a process reward model (``process``).

    * outcome: the score after the last sampled token: any number, of which only differences between completions of
      one prompt mean something. ``scale`` says what becomes of it; unless that is Unscaled, the mean of the scores
      themselves is the metric ``rewards/NAME/unscaled``.
    * process: at the end of each step (``Rollout.steps``, made where ``Task.steps`` says what a step is) the
      probability σ(score) that it is right; the value is their :func:`solution_score`. A completion in which no step
      was found gets 0, what the worst step would get, and is counted as ``unparseable``.

    A completion that, with its prompt, is longer than the scorer's context has no value and the status ``failed``; so
    has one whose score is not finite.

    The scorer is opened at the first score, once for all rewards of a task that name it, on the learner's device, and
    scores all completions of a call in batches. Raises UserError where there is no such scorer, and where it speaks
    other tokens than the policy whose tokens it is given.
    """

    model: str | Path
    """A scorer's directory, or the name of an earlier stage of the run."""
    kind: Kind = "outcome"
    aggregate: Aggregate = "min"
    """process: the solution's score."""
    each_step: bool = True
    """process: every step's score is a reward at its end. False: only the solution's score, at the last token."""
    scale: Scale = field(default_factory=Unscaled)
    """outcome: the score as it is, standardised, squashed or clipped (:mod:`groupwise.rewards.scale`)."""
    name: str = "model"
    weight: float = 1.0
    learner: LearnerConfig | None = None
    """How it is opened: device, precision, tokens at once. None: as a learner with default options is."""
    tokenizer: Any = field(default=None, repr=False, compare=False)
    """Of the policy, where it is known: every id is compared."""
    scorers: Scorers = field(default_factory=Scorers, repr=False, compare=False)
    """Those that are open, shared with the rewards that this one was made together with."""

    @property
    def scores_steps(self) -> bool:
        """Says whether every step gets a score of its own (``protocols.StepScoring``)."""
        return self.kind == "process" and self.each_step

    def __post_init__(self) -> None:
        for option, value, known in (("kind", self.kind, Kind), ("aggregate", self.aggregate, Aggregate)):
            if value not in get_args(known):
                raise UserError(
                    f"reward '{self.name}': {option} is {value!r}; expected one of {', '.join(get_args(known))}"
                )
        if self.kind == "process" and self.scale != Unscaled():
            raise UserError(
                f"reward '{self.name}': scale is {self.scale.formula()}; a process reward is a probability already; "
                "expected Unscaled(), or kind outcome"
            )

    def resolved(
        self, directory: str | Path, learner: LearnerConfig | None = None, tokenizer: Any = None
    ) -> ModelReward:
        """The same reward with the scorer in ``directory``, opened as ``learner`` says, for this tokenizer's policy."""
        return replace(self, model=directory, learner=learner or self.learner, tokenizer=tokenizer or self.tokenizer)

    @property
    def correct_at(self) -> float:
        """Is the smallest score of a solution whose every step is likelier right than not; scores of an outcome model
        only compare."""
        return 0.5 if self.kind == "process" else NEVER

    def open(self) -> Trainable:
        """Opens the scorer now, so that what is wrong with it is said before hours of sampling. Raises UserError."""
        return self._scorer

    def close(self) -> None:
        """Closes the scorers that it shares with other rewards, for all of them: no score is asked any more."""
        self.__dict__.pop("_scorer", None)
        for key in list(self.scorers):
            if (scorer := self.scorers.pop(key, None)) is not None:
                scorer.close()

    def identity(self) -> dict[str, Any]:
        """Returns what decides a score (``cache.Identified``): the files of the reward model, and what is read of its
        scores."""
        return {
            "is": "ModelReward",
            "kind": self.kind,
            "aggregate": self.aggregate,
            "each_step": self.each_step,
            "scorer": _content(Path(self.model)),
            "dtype": self.learner.dtype if self.learner else "",
        } | ({} if self.scale == Unscaled() else {"scale": repr(self.scale)})

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns the reward model's score of each rollout; of a process model, that of the whole solution and, with
        ``each_step``, those of its steps. Raises UserError where the scale has not been measured yet."""
        if not rollouts:
            return []
        if not self.scale.is_known():
            raise UserError(
                f"reward '{self.name}': is standardised, and nothing has measured its mean and spread; a run does that "
                "before a stage's first step; elsewhere take the scores themselves (outcome:DIR) or state both: "
                "Standardised(mean=..., spread=...)"
            )
        self._check_text(rollouts)
        fits = [self._fits(rollout) for rollout in rollouts]
        given = [rollout for rollout, fit in zip(rollouts, fits, strict=True) if fit]
        rows = iter(self._scorer.logprobs(given, 1.0).tolist() if given else [])
        return [
            self._score(rollout, next(rows)) if fit else Score(None, "failed")
            for rollout, fit in zip(rollouts, fits, strict=True)
        ]

    def _score(self, rollout: Rollout, logits: Sequence[float]) -> Score:
        """Returns the score of one rollout from ``logits``, which has one for every token after the prompt."""
        read = [rollout.last] if self.kind == "outcome" else rollout.steps
        if not all(math.isfinite(logits[index]) for index in read):
            return Score(None, "failed")
        if self.kind == "outcome":
            score = logits[rollout.last]
            plain = self.scale == Unscaled()
            return Score(score) if plain else Score(self.scale.of(score), logged={"unscaled": score})
        steps = {end: sigmoid(logits[end]) for end in rollout.steps}
        if not steps:
            return Score(0.0, "unparseable")
        return Score(solution_score(list(steps.values()), self.aggregate), steps=steps if self.each_step else {})

    def _fits(self, rollout: Rollout) -> bool:
        return any(rollout.mask) and rollout.length <= self._scorer.context_tokens

    def _check_text(self, rollouts: Sequence[Rollout]) -> None:
        """Checks, where the policy's tokenizer is not known, that what the reward model reads in sampled ids is the
        completion's text."""
        sampled = next((rollout for rollout in rollouts if rollout.version != DEMONSTRATED and rollout.text), None)
        if self.tokenizer is not None or sampled is None:
            return
        ids = [token for token, own in zip(sampled.tokens, sampled.mask, strict=True) if own]
        read = self._scorer.tokenizer.decode(ids, skip_special_tokens=True)
        if read != sampled.text:
            raise UserError(
                f"reward '{self.name}': the scorer {self.model} has another tokenizer: it reads {read[:40]!r} where "
                f"the completion is {sampled.text[:40]!r}; expected a scorer trained from a model with the policy's"
            )

    @cached_property
    def _scorer(self) -> Trainable:
        from groupwise.learners import Local
        from groupwise.learners.loading import scorer_kind
        from groupwise.learners.reference import check_same_ids

        if not scorer_kind(self.model):
            raise UserError(
                f"reward '{self.name}': {self.model} holds a language model, which has no score; expected what a "
                "reward model's stage left"
            )
        key = (str(self.model), self.learner, _changed(Path(self.model)))
        scorer = self.scorers.get(key)
        if scorer is None:
            scorer = self.scorers[key] = (self.learner or Local()).open_scorer(self.model)
        if self.tokenizer is not None:
            theirs, ours = scorer.tokenizer.get_vocab(), self.tokenizer.get_vocab()
            check_same_ids(f"reward '{self.name}', {self.model}", theirs, ours)
        return scorer


def with_scorers(
    rewards: Sequence[Reward],
    directory_of: Callable[[str], str | Path],
    learner: LearnerConfig | None = None,
    tokenizer: Any = None,
    scorers: Scorers | None = None,
) -> tuple[Reward, ...]:
    """The same rewards, each :class:`ModelReward` (also one that is cached) with the directory that ``directory_of``
    gives for its name, opened as ``learner`` says, once for all that share ``scorers``."""
    shared = Scorers() if scorers is None else scorers

    def resolved(reward: ModelReward) -> ModelReward:
        return replace(reward.resolved(directory_of(str(reward.model)), learner, tokenizer), scorers=shared)

    return _rewritten(rewards, resolved)


def close_scorers(rewards: Sequence[Reward]) -> None:
    """Closes the scorers that reward models among these have opened, also inside a cache."""
    for reward in model_rewards(rewards):
        reward.close()


def with_scales(rewards: Sequence[Reward], scales: Mapping[str, Scale]) -> tuple[Reward, ...]:
    """The same rewards, those learned ones that ``scales`` names, also in a cache, with that scale."""
    return _rewritten(rewards, lambda reward: replace(reward, scale=scales.get(reward.name, reward.scale)))


def model_rewards(rewards: Sequence[Reward]) -> list[ModelReward]:
    """Returns those that are reward models; also those that are cached."""
    return [reward for each in rewards if isinstance(reward := unwrap(each), ModelReward)]


def scale_metrics(rewards: Sequence[Reward]) -> dict[str, float]:
    """The numbers of each learned reward that is standardised, the same at every step of a stage."""
    found = {(reward.name, reward.scale) for reward in model_rewards(rewards)}
    pairs = [(name, scale) for name, scale in found if isinstance(scale, Standardised)]
    metrics = {f"rewards/{name}/scale_mean": scale.mean for name, scale in pairs}
    metrics |= {f"rewards/{name}/scale_spread": scale.spread for name, scale in pairs}
    return {name: value for name, value in sorted(metrics.items()) if value is not None}


def _rewritten(rewards: Sequence[Reward], change: Callable[[ModelReward], ModelReward]) -> tuple[Reward, ...]:
    from groupwise.rewards.cache import Cached

    def known(reward: Reward) -> Reward:
        if isinstance(reward, Cached):
            return replace(reward, reward=known(reward.reward))
        return change(reward) if isinstance(reward, ModelReward) else reward

    return tuple(known(reward) for reward in rewards)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else []


def _changed(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Returns names, times and sizes of the files, so that a reward model that was trained anew is opened anew."""
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in _files(directory))


def _content(directory: Path) -> str:
    """A hash of the weights and the configuration; of a hub name the name."""
    digest = hashlib.sha256()
    files = [path for path in _files(directory) if path.suffix == ".safetensors" or path.name == "config.json"]
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if files else str(directory)
