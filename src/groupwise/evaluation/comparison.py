"""This module compares two evaluations of the same problems, paired problem by problem, and says in words what they
say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError
from groupwise.evaluation.statistics import Interval, paired_difference
from groupwise.output.counting import counted, signed

if TYPE_CHECKING:
    from groupwise.evaluation.evaluate import Evaluation
    from groupwise.evaluation.measure import Measure

NEARLY_ALL = 0.95
"""From here on a share of solved problems has little room left to rise."""


@dataclass(frozen=True)
class Comparison:
    """A comparison is after minus before, each the mean over problems with its 95 % ``statistics.paired_difference``
    interval.

    The intervals stand one by one; nothing is corrected for looking at several of them.
    """

    greedy: Interval
    pass_at_1: Interval
    pass_at: Mapping[int, Interval]
    maj_at: Mapping[int, Interval]
    sentence: str
    """Did training raise Maj@K, or also Pass@K? In plain words, from the intervals alone."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """Reads what ``to_json`` gave, also after a round through text."""
        pass_at, maj_at = (
            {int(k): Interval(**interval) for k, interval in values[name].items()} for name in ("pass_at", "maj_at")
        )
        greedy, pass_at_1 = Interval(**values["greedy"]), Interval(**values["pass_at_1"])
        return cls(greedy, pass_at_1, pass_at, maj_at, values["sentence"])

    def save(self, path: Path) -> None:
        """Writes the comparison to a file, as JSON."""
        path.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Reads the comparison that ``save`` wrote to this file."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def comparable(before: Evaluation, after: Evaluation) -> bool:
    """Says whether both are of the same problems, judged and sampled alike."""
    return _unlike(before, after) == ""


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Pairs two evaluations of the same problems. Raises UserError where the problems, the judge, samples or
    temperature differ."""
    unlike = _unlike(before, after)
    if unlike:
        raise UserError(unlike)
    pass_at = {k: _difference(measure, after.pass_at[k]) for k, measure in before.pass_at.items()}
    maj_at = {k: _difference(measure, after.maj_at[k]) for k, measure in before.maj_at.items() if k in after.maj_at}
    return Comparison(
        greedy=_difference(before.greedy, after.greedy),
        pass_at_1=_difference(before.pass_at_1, after.pass_at_1),
        pass_at=pass_at,
        maj_at=maj_at,
        sentence=_sentence(before, pass_at, maj_at),
    )


def _unlike(before: Evaluation, after: Evaluation) -> str:
    """Why two evaluations cannot be compared; empty where they can."""
    if before.ids != after.ids:
        return (
            f"cannot compare evaluations of different problems ({len(before.ids)} of {before.task!r} and "
            f"{len(after.ids)} of {after.task!r}): evaluate both models on the same task and number of problems"
        )
    for name in ("samples", "sampled_problems", "temperature", "correct_at"):
        one, other = asdict(before.settings)[name], asdict(after.settings)[name]
        if one != other:
            return f"cannot compare evaluations with {name} {one} and {other}: evaluate both models alike"
    if before.judge and after.judge and before.judge != after.judge:
        return f"cannot compare evaluations judged by {before.judge} and by {after.judge}: evaluate both models alike"
    return ""


def _difference(before: Measure, after: Measure) -> Interval:
    return paired_difference(before.by_problem, after.by_problem)


def verdict(difference: Interval) -> str:
    """Returns ``raised`` or ``lowered`` where the interval leaves out zero, ``no difference shown`` otherwise."""
    if difference.low > 0:
        return "raised"
    return "lowered" if difference.high < 0 else "no difference shown"


CONCLUSIONS = {
    "raised raised": "So training raised Maj@{k} and also Pass@{k}: correct answers became more frequent, and more "
    "problems are solved at least once in {k} samples.",
    "raised no difference shown": "So training raised Maj@{k}, and no difference in Pass@{k} is shown: correct answers "
    "that {k} samples already reached became more frequent, as DeepSeekMath reports of its own RL.",
    "raised lowered": "So training raised Maj@{k} and lowered Pass@{k}: correct answers became more frequent, but "
    "fewer problems are solved at least once in {k} samples.",
    "no difference shown raised": "So training raised Pass@{k}, and no difference in Maj@{k} is shown: more problems "
    "are solved at least once in {k} samples, without the correct answer winning the vote more often.",
    "lowered lowered": "So training lowered Maj@{k} and also Pass@{k}: right answers became rarer, and fewer problems "
    "are solved at least once in {k} samples.",
    "lowered no difference shown": "So training lowered Maj@{k}, and no difference in Pass@{k} is shown: right answers "
    "became rarer, though {k} samples still reach them.",
    "lowered raised": "So training lowered Maj@{k} and raised Pass@{k}: more problems are solved at least once in {k} "
    "samples, but the correct answer wins the vote less often.",
    "no difference shown lowered": "So training lowered Pass@{k}, and no difference in Maj@{k} is shown: fewer "
    "problems are solved at least once in {k} samples.",
    "no difference shown no difference shown": "So neither a difference in Maj@{k} nor one in Pass@{k} is shown.",
}
"""By the verdicts on Maj@K and Pass@K at the largest K."""


def _sentence(before: Evaluation, pass_at: Mapping[int, Interval], maj_at: Mapping[int, Interval]) -> str:
    if not pass_at:
        return "No problem was sampled more than once, so nothing can be said of Maj@K and Pass@K."
    first, k = min(pass_at), max(pass_at)
    parts = [_told(f"pass@{first}, which is maj@{first}" if maj_at else f"pass@{first}", pass_at[first])]
    if k > first:
        parts += [_told(f"maj@{k}", maj_at[k])] if maj_at else []
        parts.append(_told(f"pass@{k}", pass_at[k]))
    parts.sort(key=lambda part: ": no difference shown" in part)  # what was found, before what was not
    settings = before.settings
    on = f"On {counted(settings.sampled_problems, 'problem')} with {counted(settings.samples, 'sample')} each"
    facts = f"{on}: {'; '.join(parts)}."
    if k == first:
        return facts
    if not maj_at:
        return f"{facts} Maj@K is left out: {no_votes(before)}."
    facts += f" Maj@K {_where(maj_at)}, Pass@K {_where(pass_at)}."
    maj, passed = verdict(maj_at[k]), verdict(pass_at[k])
    conclusion = CONCLUSIONS[f"{maj} {passed}"].format(k=k)
    for name, family, said in (("Maj", before.maj_at, maj), ("Pass", before.pass_at, passed)):
        if said == "no difference shown" and family[k].value >= NEARLY_ALL:
            conclusion += f" {name}@{k} was {family[k].value:.2f} before, so it had little room to rise."
    return f"{facts} {conclusion}"


def no_votes(evaluation: Evaluation) -> str:
    """Says why there is no maj@k, in words."""
    judge = f"reward '{evaluation.judge}'" if evaluation.judge else "the judge"
    return f"{judge} does not say which answers are the same, so no vote can be counted"


def _where(differences: Mapping[int, Interval]) -> str:
    """``rose at K = 1, 2 and fell at K = 8``: where the interval leaves out zero."""
    found: dict[str, list[str]] = {}
    for k, difference in sorted(differences.items()):
        found.setdefault(verdict(difference), []).append(str(k))
    moved = [
        f"{verb} at K = {', '.join(found[said])}"
        for said, verb in (("raised", "rose"), ("lowered", "fell"))
        if said in found
    ]
    return " and ".join(moved) or "rose nowhere"


def _told(name: str, difference: Interval) -> str:
    numbers = f"{signed(difference.value)} (95 % interval {signed(difference.low)} to {signed(difference.high)})"
    return f"{name}: {verdict(difference)}, {numbers}".replace("-", "−")
