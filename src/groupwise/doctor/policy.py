"""These are alarms on what the policy writes: entropy, length, truncation, repetition, and groups that teach
nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from groupwise.doctor.history import WINDOW, Row, first_mean, last_mean, rose, values

SOLVED = 0.9
"""A mean reward from here on, where right is 1: there is little left to explore for."""


@dataclass(frozen=True)
class EntropyCollapse:
    """The policy has become certain while it still gets a good part wrong: groups of alike answers teach nothing.

    Certainty where the reward is near 1, or still rises, is how learning ends well, and no alarm.
    """

    name: str = "entropy collapse"
    share: float = 0.1
    """Of the entropy at first. A policy that learns well loses some: the quickstart keeps a quarter."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how far entropy fell, where it is too far; None where it is not."""
        first, last = first_mean(rows, "entropy", self.window), last_mean(rows, "entropy", self.window)
        reward = last_mean(rows, "reward", self.window)
        if first is None or last is None or reward is None or last >= self.share * first or reward >= SOLVED:
            return None
        if rose(values(rows[-2 * self.window : -self.window], "reward"), values(rows[-self.window :], "reward")):
            return None
        return (
            f"entropy fell from {first:.3g} to {last:.3g} nats a token (below {self.share:.0%} of what it was) at a "
            f"reward of {reward:.3g} that no longer rises: the policy hardly tries anything else any more; raise "
            "algorithm.entropy.coefficient, algorithm.objective.high or algorithm.kl.coefficient, or lower the "
            "learning rate"
        )


@dataclass(frozen=True)
class LengthDrift:
    """Completions become much longer or shorter and nothing is gained by it. Longer reasoning that pays is no alarm."""

    name: str = "length drift"
    factor: float = 2.0
    """Up or down. Between neighbouring runs of one recipe lengths differ by far less."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how completions grew or shrank, where it is much; None where it is not."""
        length = "completions/mean_length"
        first, last = first_mean(rows, length, self.window), last_mean(rows, length, self.window)
        if first is None or last is None or last_mean(rows, "reward", self.window) is None:
            return None
        if first / self.factor <= last <= first * self.factor:
            return None
        if rose(values(rows[: self.window], "reward"), values(rows[-self.window :], "reward")):
            return None
        return (
            f"completions went from {first:.0f} to {last:.0f} tokens (more than {self.factor:g} times) and the reward "
            "did not rise: look at what they say; a length reward, another algorithm.aggregation (a mean over each "
            "sequence favours long wrong answers) or a larger algorithm.kl.coefficient answers it"
        )


@dataclass(frozen=True)
class Truncation:
    """This alarm says that many completions are cut off: they are judged by an answer that they did not come to."""

    name: str = "truncated completions"
    most: float = 0.25
    """Share of completions: of a group of eight, two."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which share is cut off, where it is large; None where it is not."""
        share = last_mean(rows, "completions/clipped_ratio", self.window)
        if share is None or share <= self.most:
            return None
        return (
            f"{share:.0%} of the completions were cut off at the token limit (more than {self.most:.0%} over "
            f"{self.window} steps) and are scored without their end; raise algorithm.source.max_completion_tokens"
        )


@dataclass(frozen=True)
class NoSignal:
    """This alarm says that most groups have equal rewards, so most of what is sampled is not learned from.

    A run that has risen to a reward near 1 is learned out, which is how it should end, and no alarm; prompts that were
    this easy at the beginning are one.
    """

    name: str = "groups without signal"
    most: float = 0.75
    """Share of groups: from here on more than three quarters of the sampling buy nothing. The quickstart ends at a
    half."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which share has no signal, where it is large; None where it is not."""
        share, reward = (last_mean(rows, name, self.window) for name in ("frac_reward_zero_std", "reward"))
        if share is None or share <= self.most or reward is None:
            return None
        if fmean(values(rows, "reward")[: self.window // 2]) < SOLVED <= reward:
            return None
        return (
            f"{share:.0%} of the groups had equal rewards (more than {self.most:.0%} over {self.window} steps), at a "
            f"mean reward of {reward:.3g}: nothing is learned from them; take harder prompts where the reward is high "
            "and easier ones where it is low, a larger algorithm.source.group_size, or without_signal redraw"
        )


@dataclass(frozen=True)
class Repetition:
    """This alarm is raised where completions say the same again and again."""

    name: str = "repetition"
    most: float = 0.2
    """Share of completions of which more than half of the 4-grams stood before: one answer in five."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which share repeats itself, where it is large; None where it is not."""
        share = last_mean(rows, "completions/repetitive_ratio", self.window)
        if share is None or share <= self.most:
            return None
        return (
            f"{share:.0%} of the completions repeat themselves: more than half of their 4-grams stood before (more "
            f"than {self.most:.0%} over {self.window} steps); look at them, raise algorithm.kl.coefficient, lower the "
            "learning rate, or take the reward from answers that repeat"
        )
