"""This module finds methods that are one method on the options at hand: with one update a draw a ratio is 1, and what
clips it idle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from groupwise.algorithm import KL, Algorithm
from groupwise.errors import UserError
from groupwise.explain.case import Case, Response
from groupwise.explain.numbers import compute
from groupwise.explain.worked import alone, worked_case

REWARDS = ((1.0, 0.0, 0.0, 1.0, 0.0), (0.9, 0.1, 0.4, 0.3, 0.2))
CERTAIN, LESS_SO = [-0.05], [-0.16]
"""Log-probabilities of a token when it was drawn, and now: near, as the difference of two probabilities; far, as KL."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Coincidence:
    """This is another method with the same gradient."""

    name: str
    without_kl: bool = False
    """It is the other one without its KL penalty."""
    but_truncated: bool = False
    """It is the other one but for what becomes of truncated completions."""


def coincidences(algorithm: Algorithm, updates: int, others: Mapping[str, Algorithm]) -> list[Coincidence]:
    """Those of ``others`` that have every coefficient of ``algorithm`` in the first ``updates`` of a draw, 1 or more,
    on two prompts with five completions each; of the method itself, and of sources that do not sample now, none."""
    first = _coefficients(algorithm, False)
    later = _coefficients(algorithm, True) if updates > 1 else None
    if first is None:
        return []
    found: list[Coincidence] = []
    for name, other in others.items():
        if other.source.sampled_by() != "learner" or alone(other) != alone(algorithm) or itself(other, algorithm):
            continue
        for variant, there in _variants(name, other, algorithm):
            same = _alike(first, _coefficients(there, False))
            if same and (updates == 1 or _alike(later, _coefficients(there, True))):
                found.append(variant)
                break
    return found


def itself(other: Algorithm, algorithm: Algorithm) -> bool:
    """Says whether they are the same but for how they sample and how much of a penalty they have."""
    return replace(other, source=algorithm.source, kl=algorithm.kl) == algorithm


def _variants(name: str, other: Algorithm, algorithm: Algorithm) -> Iterator[tuple[Coincidence, Algorithm]]:
    """The other one, and what is left of it with one thing or two taken away; the nearest first."""
    for but_truncated in (False, True) if other.truncated != algorithm.truncated else (False,):
        for without_kl in (False, True) if other.kl.coefficient else (False,):
            truncated = algorithm.truncated if but_truncated else other.truncated
            kl = KL(0.0) if without_kl else other.kl
            yield Coincidence(name, without_kl, but_truncated), replace(other, kl=kl, truncated=truncated)


def _coefficients(algorithm: Algorithm, later: bool) -> Sequence[float] | None:
    """Returns those of an update with the policy as it was when it drew, or of a ``later`` one; None where it does not
    apply. Those of the methods that ship are asked for again with every recipe, and kept."""
    try:
        hash(algorithm)
    except TypeError:  # a part of somebody's own
        return _computed(algorithm, later)
    return _kept(algorithm, later)


@lru_cache(maxsize=1024)
def _kept(algorithm: Algorithm, later: bool) -> Sequence[float] | None:
    return _computed(algorithm, later)


def _computed(algorithm: Algorithm, later: bool) -> Sequence[float] | None:
    if algorithm.source.sampled_by() != "learner" or algorithm.objective.joins_group() or algorithm.trains_scorer:
        return None
    try:
        found = compute(algorithm, _case(alone(algorithm), later)).responses()
    except UserError:
        return None
    others = [value for tokens in found for values in tokens.others.values() for value in values]
    return [value for tokens in found for value in tokens.coefficients] + others


def _case(single: bool, later: bool) -> Case:
    """The worked example and a completion that was nearly certain, twice, with other rewards; the second time the
    policy has moved less far, so that each of two clips that differ holds some token."""
    (drawn,) = worked_case().groups
    lists = dict(drawn[-1].lists) | {"old_logprobs": CERTAIN, "behavior_logprobs": CERTAIN}
    drawn = [*drawn, replace(drawn[-1], logprobs=LESS_SO, lists=lists)]
    rows = [
        [_answer(response, reward, moved * later) for response, reward in zip(drawn, own, strict=True)]
        for own, moved in zip(REWARDS, (1.0, 0.75), strict=True)
    ]
    rows[1][1] = replace(rows[1][1], truncated=True)
    groups = [[response] for row in rows for response in row] if single else rows
    return Case(groups, [0.5] * len(groups), name="a small example")


def _answer(response: Response, reward: float, moved: float) -> Response:
    """With that reward, and so much of the way between the policy and what it was when it drew; 0: it has not moved,
    and the sampler is as it is."""
    steps = {place: score * (0.5 + reward) for place, score in (response.step_rewards or {}).items()}
    lists = dict(response.lists)
    for name in ("old_logprobs", "behavior_logprobs"):
        lists[name] = [now + moved * (old - now) for now, old in zip(response.logprobs, lists[name], strict=True)]
    return replace(response, reward=reward, step_rewards=steps, lists=lists)


def _alike(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> bool:
    return (
        ours is not None
        and theirs is not None
        and len(ours) == len(theirs)
        and all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(ours, theirs, strict=True))
    )
