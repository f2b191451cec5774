"""The alarm on a reward that rises while the rule on held-out problems falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from groupwise.doctor.alarms import HackingWatch, observations
from groupwise.doctor.history import Row


@dataclass(frozen=True)
class RewardHacking:
    """This alarm is ``alarms.HackingWatch`` on a stage's rows."""

    reward: str
    problems: int
    """Held-out, of each quick evaluation."""
    watch: HackingWatch = field(default_factory=HackingWatch)

    @property
    def name(self) -> str:
        """Returns the name of the alarm, with the reward that it watches."""
        return f"reward hacking ({self.reward})"

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says what the rewards did, where they rise and the held-out result does not; None otherwise."""
        evaluated = [place for place, row in enumerate(rows) if row.get("eval/accuracy") is not None]
        beyond = evaluated[: -self.watch.window]  # what the window does not reach
        start = beyond[-1] + 1 if beyond else 0
        return self.watch.sentence(self.reward, observations(rows[start:], self.reward, self.problems))
