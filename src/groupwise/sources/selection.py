"""A selection says what of a group is trained on. A selection is its options; it is applied to scored groups, one at a
time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

from groupwise.protocols import Selection, SelectionResult
from groupwise.sources.distance import levenshtein
from groupwise.sources.equations import calculations, calculations_hold
from groupwise.types import Group, Rollout
from groupwise.values.tolerance import TOLERANCE, same


def select_from(groups: Sequence[Group], selection: Selection) -> tuple[list[Group], dict[str, float]]:
    """Returns what the groups become, in order, and the counts of all together as metrics."""
    found = [selection.select(group) for group in groups]
    counts: Counter[str] = Counter()
    for selected in found:
        counts.update(selected.counts)
    return [group for selected in found for group in selected.groups], {name: float(n) for name, n in counts.items()}


@dataclass(frozen=True)
class AllRollouts(Selection):
    """The group as it is."""

    def select(self, group: Group) -> SelectionResult:
        """Returns what of a group is trained on, and counts of what is left out."""
        return SelectionResult([group], {})

    def chooses(self) -> bool:
        """Says whether it leaves anything out."""
        return False


@dataclass(frozen=True)
class BestAndWorst(Selection):
    """A preference pair of a policy's own answers: the highest reward, then the lowest; the first of equals."""

    margin: Annotated[float, "[0, inf)"] = 0.0
    """Their rewards must differ by more, and by more than rounding does; otherwise there is no pair, ``pairs/none``."""

    def select(self, group: Group) -> SelectionResult:
        """Returns what of a group is trained on, and counts of what is left out."""
        scored = [(rollout.reward, rollout) for rollout in group.rollouts if rollout.reward is not None]
        if scored:
            high, low = max(reward for reward, _ in scored), min(reward for reward, _ in scored)
            if high - low > self.margin + TOLERANCE * max(abs(high), abs(low)):
                best, worst = (_first(scored, reward) for reward in (high, low))
                return SelectionResult([Group(group.prompt, (best, worst))], {"pairs/kept": 1, "pairs/none": 0})
        return SelectionResult([], {"pairs/kept": 0, "pairs/none": 1})


def _first(scored: Sequence[tuple[float, Rollout]], reward: float) -> Rollout:
    """Returns the first with that reward, but for rounding."""
    return next(rollout for own, rollout in scored if same(own, reward))


@dataclass(frozen=True)
class DistinctPaths(Selection):
    """This selection keeps right answers by different reasoning, each a group of its own (RFT, arXiv 2308.01825).

    Dropped, each counted for the first of these reasons: truncated (``paths/truncated``), not called right by the judge
    (``paths/wrong``), an inline calculation ``<<lhs=rhs>>`` that does not hold (``paths/false_calculation``), the
    reasoning of another one (``paths/duplicate``).
    """

    calculations: bool = True
    """Check inline calculations."""
    duplicates: Literal["keep", "equations", "text"] = "equations"
    """What one of is kept: nothing, the same list of inline calculations (all answers without any are one), or the
    same text. Of two with the same list that stays which has the larger sum of Levenshtein distances to the others
    kept so far."""

    def select(self, group: Group) -> SelectionResult:
        """Returns what of a group is trained on, and counts of what is left out."""
        kept: dict[Hashable, Rollout] = {}
        counts = dict.fromkeys(("truncated", "wrong", "false_calculation", "duplicate"), 0)
        distance = cache(levenshtein)

        def apart(text: str, key: Hashable) -> int:
            return sum(distance(text, other.text) for name, other in kept.items() if name != key)

        for place, rollout in enumerate(group.rollouts):
            fault = self._fault(rollout)
            if fault:
                counts[fault] += 1
                continue
            key = self._key(place, rollout)
            if key in kept:
                counts["duplicate"] += 1
            if key not in kept or apart(rollout.text, key) > apart(kept[key].text, key):
                kept[key] = rollout
        counted = {f"paths/{name}": count for name, count in counts.items()} | {"paths/kept": len(kept)}
        return SelectionResult([Group(group.prompt, (rollout,)) for rollout in kept.values()], counted)

    def asks_verdict(self) -> bool:
        """Says whether it chooses by which completions are right."""
        return True

    def _fault(self, rollout: Rollout) -> str:
        """Says what is wrong with a path; empty where nothing is."""
        if not rollout.finished:
            return "truncated"
        if not rollout.correct:
            return "wrong"
        return "false_calculation" if self.calculations and not calculations_hold(rollout.text) else ""

    def _key(self, place: int, rollout: Rollout) -> Hashable:
        keys: dict[str, Hashable] = {"keep": place, "text": rollout.text, "equations": calculations(rollout.text)}
        return keys[self.duplicates]
