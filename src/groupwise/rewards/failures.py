"""This module counts rewards that could not say anything: counted, told once, and too many of them stop the run with
the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from groupwise.errors import UserError
from groupwise.types import Rollout, ScoreStatus

UNSCORED: tuple[ScoreStatus, ...] = ("timeout", "failed")
SHOWN = 3


@dataclass
class Failures:
    """These are the failures among the completions of one step. ``most``: the share of ``expected`` that may go without
    a reward."""

    stage: str
    most: float
    told: set[str]
    """Reward and status of what was told in this stage already."""
    on_note: Callable[[str], None]
    expected: int = 0
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, rollouts: Sequence[Rollout]) -> None:
        """Raises UserError, with rows and reasons, as soon as it is certain that the step has too many."""
        for rollout in rollouts:
            self.count += unscored(rollout)
            for said in evidence(rollout):
                if len(self.shown) < SHOWN and said not in self.shown:
                    self.shown.append(said)
                kind = said.removeprefix(f"{rollout.prompt.example.id}: ").partition(": ")[0]
                if kind not in self.told:
                    self.told.add(kind)
                    self.on_note(f"{self.stage}: {said}; the completion gets no reward, and further ones are counted")
        if self.count > self.most * self.expected:
            raise UserError(
                f"{self.stage}: {self.count} of a step's {self.expected} completions have no reward, more than the "
                f"{self.most:.0%} that most_unscored allows: {'; '.join(self.shown)}; mend the reward, or raise "
                "most_unscored"
            )


def unscored(rollout: Rollout) -> bool:
    """Says whether a reward timed out or failed on the rollout, which then has no reward at all."""
    return any(score.status in UNSCORED for score in rollout.scores.values())


def evidence(rollout: Rollout) -> Iterator[str]:
    """Yields for each reward that could not score it: row, reward, status and reason, in one line."""
    for name, score in rollout.scores.items():
        if score.status in UNSCORED:
            yield f"{rollout.prompt.example.id}: reward '{name}' {score.status}: {score.reason or 'no reason given'}"


def reasons(rollouts: Iterable[Rollout]) -> tuple[str, ...]:
    """Returns the first reasons why rollouts have no score, each once, with the row that had it."""
    found: dict[str, str] = {}
    for rollout in rollouts:
        for said in evidence(rollout):
            found.setdefault(said.removeprefix(rollout.prompt.example.id), said)
            if len(found) == SHOWN:
                return tuple(found.values())
    return tuple(found.values())
