"""These are alarms on episodes: tools that nobody calls any more, turns that drift, and ends that are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.doctor.history import WINDOW, Row, first_mean, last_mean, rose, values

STOPS = ("truncated", "turns", "context", "timeout", "failed")
"""Ends that are not the environment's own, as metrics name them."""
KNOBS = {
    "truncated": "raise algorithm.source.max_completion_tokens or Turns.turn_tokens",
    "turns": "raise Turns.most",
    "context": "raise Turns.context_tokens, shorten what the environment says, or take a model with a longer context",
    "timeout": "raise Turns.reply_seconds, or make the environment faster",
    "failed": "mend the environment: its own words stand in the run's notes",
}


@dataclass(frozen=True)
class ToolsUnused:
    """The model has tools and no longer calls them."""

    name: str = "tool use fell to nothing"
    most: float = 0.05
    """Calls an episode, where at first there were more than twice as many."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how many calls there are and were."""
        calls, before = (mean(rows, "tools/calls", self.window) for mean in (last_mean, first_mean))
        if calls is None or before is None or calls > self.most or before <= 2 * self.most:
            return None
        return (
            f"the model calls a tool {calls:.2g} times an episode (at first {before:.2g}; less than {self.most:g} over "
            f"{self.window} steps): it earns no less without; look at the rewards of episodes with a call, or raise "
            "the KL's coefficient"
        )


@dataclass(frozen=True)
class TurnDrift:
    """Episodes become much longer or shorter, in turns or in what environments say, and earn no more for it."""

    metric: str
    most: float = 2.0
    """Times what it was at first, or so many times less."""
    window: int = WINDOW

    @property
    def name(self) -> str:
        """Names it by what drifts."""
        return f"drift of {self.metric}"

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says what it is and was."""
        now, before = (mean(rows, self.metric, self.window) for mean in (last_mean, first_mean))
        if not now or not before or 1 / self.most <= now / before <= self.most:
            return None
        if rose(values(rows[: self.window], "reward"), values(rows[-self.window :], "reward")):
            return None
        return (
            f"{self.metric} is {now:.3g}, at first {before:.3g} (more than {self.most:g} times apart over "
            f"{self.window} steps), and the reward has not risen: see whether turns are spent on nothing, and raise "
            "the KL's coefficient, or give turns a reward of their own (Says.reward)"
        )


@dataclass(frozen=True)
class UnfinishedEpisodes:
    """This alarm says that many episodes end otherwise than by their environment's own end."""

    name: str = "unfinished episodes"
    most: float = 0.25
    """Share of episodes, as of truncated completions."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which ends are the most frequent."""
        shares = {stop: last_mean(rows, f"stops/{stop}", self.window) or 0.0 for stop in STOPS}
        total, worst = sum(shares.values()), max(STOPS, key=lambda stop: shares[stop])
        if total <= self.most:
            return None
        return (
            f"{total:.0%} of the episodes did not end by themselves (more than {self.most:.0%} over {self.window} "
            f"steps), most of them {worst}: {KNOBS[worst]}"
        )
