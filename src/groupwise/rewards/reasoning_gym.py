"""The verifiers of reasoning-gym, isolated: several would run the model's answer as a program, some hang on it."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.pool import Outcome, WorkerPool, require_guards, shared_pool
from groupwise.isolation.trials import walls
from groupwise.rewards import expressions
from groupwise.rewards.answers import TEXT_CHARACTERS, final_answer
from groupwise.types import Rollout, Score

_TAG = re.compile(r"<answer>|</answer>")


@dataclass(frozen=True)
class ReasoningGym:
    """This reward is a family's own ``score_answer``, from 0 to 1, on :func:`submitted_answer` of the completion.

    ``eval`` on the answer is how some families score (binary_matrix, countdown, puzzle24 and others). Here it reads
    literals and formulas and runs nothing (:mod:`groupwise.rewards.expressions`), so that no answer can write its own
    score. Beyond that each answer is scored in a process of its own that is shut in and killed after it
    (:mod:`groupwise.isolation.pool`): it has no secrets, no network, nothing to read but installed packages, nothing it
    can write to, and no way to start a program or outlast its limits.

    An answer that takes longer than ``time_limit_seconds`` has no value and the status ``timeout``; one on which the
    scorer raises, dies or returns no number from 0 to 1 has none and ``failed``. Raises UserError where nothing on this
    machine guards such a process, unless ``unguarded``. Made by :func:`groupwise.tasks.reasoning_gym`, whose examples
    say by their columns which question they are.
    """

    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = "reasoning_gym"
    weight: float = 1.0
    time_limit_seconds: float = 10.0
    unguarded: bool = False
    """Score where no guards are: answers may then read and write what you may, and send it away."""

    def prepare(self) -> None:
        """Checks that there are guards for its verifier (``scoring.NeedsPreparation``). Raises UserError where there
        are none."""
        require_guards(self.name, self.unguarded)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns what the family's own verifier says of each submitted answer, from 0 to 1."""
        items = [self._item(rollout) for rollout in rollouts]
        outcomes = worker_pool(self.family, self.config, self.unguarded).run(items, self.time_limit_seconds)
        return [_score(outcome) for outcome in outcomes]

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Returns which rollouts gave the same answer (``protocols.Votes``): submitted answers of one text are the
        same; an empty one is none."""
        answers = [submitted_answer(rollout.text) for rollout in rollouts]
        return [answers.index(answer) if answer else None for answer in answers]

    def _item(self, rollout: Rollout) -> dict[str, Any]:
        example = rollout.prompt.example
        source = example.columns.get("reasoning_gym")
        if source is None:
            raise UserError(
                f"{example.id}: reward '{self.name}' scores questions of reasoning-gym, and the row has no column "
                "'reasoning_gym'; make the task with groupwise.tasks.reasoning_gym(family)"
            )
        return {**source, "answer": submitted_answer(rollout.text)}


def submitted_answer(text: str) -> str:
    """Returns the text between the last ``<answer>`` and ``</answer>``, or else the final answer, or else all of it."""
    text = text[-TEXT_CHARACTERS:]
    tags = list(_TAG.finditer(text))
    for opened, closed in reversed(list(itertools.pairwise(tags))):
        if opened.group() == "<answer>" and closed.group() == "</answer>":
            return text[opened.end() : closed.start()].strip()
    return final_answer(text) or text.strip()


def worker_pool(family: str, config: Mapping[str, Any], unguarded: bool = False) -> WorkerPool:
    """Returns workers that have the family loaded."""
    warm_up = [{"family": family, "config": dict(config), "seed": 0, "size": 1, "warm_up": True}]
    return shared_pool("groupwise.rewards.reasoning_gym:respond", json.dumps(warm_up), unguarded)


def are_there_guards() -> bool:
    """Says whether this machine has any guards for a worker."""
    try:
        walls()
    except UserError:
        return False
    return True


def respond(item: dict[str, Any]) -> Any:
    """Answers a request in a worker. With ``answer`` it returns the score at ``index``; without, ``[question, answer]``
    of a range.

    ``warm_up``: all that an answer needs is loaded, by scoring the first question's own.
    """
    dataset = _dataset(item["family"], json.dumps(item["config"]), item["seed"], item["size"])
    if "warm_up" in item:
        entry = dataset[0]
        expressions.guard("reasoning_gym")
        with suppress(Exception), expressions.scoring(entry):  # some families have no answer to show
            dataset.score_answer(entry["answer"], entry)
        expressions.guard("reasoning_gym")  # what that loaded
        return None
    if "answer" in item:
        entry = dataset[item["index"]]
        expressions.guard("reasoning_gym")
        with expressions.scoring(entry):
            return float(dataset.score_answer(item["answer"], entry))
    entries = [dataset[index] for index in range(item["start"], item["stop"])]
    return [[entry["question"], entry["answer"] if isinstance(entry["answer"], str) else None] for entry in entries]


@functools.cache
def _dataset(family: str, config: str, seed: int, size: int) -> Any:
    from reasoning_gym import create_dataset

    return create_dataset(family, seed=seed, size=size, **json.loads(config))


def _score(outcome: Outcome) -> Score:
    if outcome.status == "timeout":
        return Score(None, "timeout", reason=outcome.reason)
    value = outcome.value
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return Score(value)
    if outcome.status == "done" and isinstance(value, float):
        return Score(None, "failed", reason=f"its score is {value:g}; expected 0 to 1")
    return Score(None, "failed", reason=outcome.reason or "its score is no number")
