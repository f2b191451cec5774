"""The numbers of an evaluation and how sure they are. Plain Python, exact where it can be; METHODS: DeepSeekMath
(arXiv 2402.03300) figure 7 for Maj@K and Pass@K, Chen et al. (arXiv 2107.03374) equation 1 for unbiased pass@k.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import fmean

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Returns the chance that at least one of k samples is correct, from n samples of which c are: ``1 - C(n-c, k) /
    C(n, k)``.

    The mean over all k-subsets, hence unbiased (arXiv 2107.03374, equation 1). Raises ValueError unless
    ``0 <= c <= n`` and ``1 <= k <= n``.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)


def maj_at_k(answers: Sequence[Hashable | None], correct: Sequence[bool], k: int) -> float:
    """Returns the chance that the most frequent answer of k samples is correct: the exact mean over all k-subsets of
    the n samples.

    Answers must be canonical: equal answers are one vote. ``correct[i]`` says whether sample i was right; an answer is
    right where any of its samples was. None (no answer found) is one class of votes that is never right. A tie of m
    answers gives each 1/m. Raises ValueError unless ``1 <= k <= n`` and both sequences have n entries.
    """
    if len(answers) != len(correct) or not 1 <= k <= len(answers):
        raise ValueError(f"maj@k needs 1 <= k <= n: got {len(answers)} answers, {len(correct)} verdicts, k={k}")
    votes = Counter(answers)
    right = {answer for answer, ok in zip(answers, correct, strict=True) if ok and answer is not None}
    wins = 0.0
    for answer in right:
        others = [count for other, count in votes.items() if other != answer]
        for own in range(1, min(votes[answer], k) + 1):
            for ties, ways in enumerate(_ways_by_ties(others, own, k - own)):
                wins += comb(votes[answer], own) * ways / (ties + 1)
    return min(1.0, wins / comb(len(answers), k))


def _ways_by_ties(counts: Sequence[int], most: int, total: int) -> list[int]:
    """``[ties]``: ways to draw ``total`` samples from classes, none above ``most`` votes and ``ties`` of them at it.

    Dynamic programming over the classes; the state is (votes given so far, classes that stand at ``most``).
    """
    states = {(0, 0): 1}
    for count in counts:
        following: Counter[tuple[int, int]] = Counter()
        for (given, ties), ways in states.items():
            for votes in range(min(count, most, total - given) + 1):
                following[given + votes, ties + (votes == most)] += ways * comb(count, votes)
        states = following
    return [states.get((total, ties), 0) for ties in range(total // most + 1)]


def wilson_interval(successes: float, n: float) -> Interval:
    """Computes Wilson's 95 % score interval of a proportion; never of zero width. Effective numbers need not be whole.

    Raises ValueError unless ``0 <= successes <= n`` and ``n >= 1``.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    share, square = successes / n, Z_95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of per-problem values in [0, 1] with its 95 % interval over problems.

    Wilson's where every value is 0 or 1. Otherwise the normal one after adding two problems at 0 and two at 1 (Agresti
    and Coull 1998 do so for proportions). Unlike a percentile bootstrap it holds its level near 0 and 1, where trained
    models are, and is never of zero width. Raises ValueError where there are no values.
    """
    if all(value in (0, 1) for value in values):
        return wilson_interval(int(sum(values)), len(values))
    low, high = _normal_interval(values, added=(0.0, 0.0, 1.0, 1.0))
    value = fmean(values)
    return Interval(value, min(value, max(0.0, low)), max(value, min(1.0, high)))


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Computes the mean of ``after - before`` over the same problems in the same order, with its 95 % interval over
    problems.

    Pairing removes what makes a problem hard for both, so the interval is narrower than that of two separate means. It
    is the normal one after adding two pairs that spread evenly over win, tie, tie and loss (Agresti and Min 2005), so
    that a handful of changed problems is not yet a difference. Raises ValueError where the lengths differ or are 0.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"a paired difference needs the same problems, got {len(before)} and {len(after)} values")
    differences = [b - a for a, b in zip(before, after, strict=True)]
    low, high = _normal_interval(differences, added=(1.0, 0.0, 0.0, -1.0), weight=0.5)
    value = fmean(differences)
    return Interval(value, min(value, max(-1.0, low)), max(value, min(1.0, high)))


def _normal_interval(values: Sequence[float], added: Sequence[float], weight: float = 1.0) -> tuple[float, float]:
    """Mean ± z standard errors of the values with ``added`` ones of that weight among them."""
    n = len(values) + weight * len(added)
    centre = (sum(values) + weight * sum(added)) / n
    square = (sum(value**2 for value in values) + weight * sum(value**2 for value in added)) / n
    half = Z_95 * sqrt(max(0.0, square - centre**2) / n)
    return centre - half, centre + half


def clustered_share(clusters: Sequence[Sequence[float]]) -> Interval:
    """The share of hits (1, else 0) among all members, whose clusters, such as the steps of a solution, hang together.

    Wilson's interval with the effective number of members: as many independent ones as would have the variance of the
    ratio of the clusters' sums. Raises ValueError where there are none.
    """
    sums = [(sum(cluster), len(cluster)) for cluster in clusters if cluster]
    total = sum(size for _, size in sums)
    if not total:
        raise ValueError("a share needs at least one member")
    share = sum(hits for hits, _ in sums) / total
    square = sum((hits - share * size) ** 2 for hits, size in sums) / total**2
    return _effective(share, square * len(sums) / max(1, len(sums) - 1), len(sums))


def clustered_auc(clusters: Sequence[Sequence[tuple[float, bool]]]) -> Interval:
    """The chance that a member of the positive class has the larger score than one of the negative class, ties half.

    Members are ``(score, positive)``. The variance is that of placement values summed over clusters (Obuchowski,
    Biometrics 1997); the interval is Wilson's with as many independent members as would have it. Raises ValueError
    where a class has no member.
    """
    scores = {
        kind: sorted(s for cluster in clusters for s, positive in cluster if positive == kind) for kind in (True, False)
    }
    m, n = len(scores[True]), len(scores[False])
    if not m or not n:
        raise ValueError(f"an AUC needs both classes, got {m} positive and {n} negative")

    def below(score: float, kind: bool) -> float:
        """Share of the class with a smaller score, ties half."""
        return (bisect_left(scores[kind], score) + bisect_right(scores[kind], score)) / (2 * len(scores[kind]))

    area = mean([below(score, False) for score in scores[True]])
    square = 0.0
    for cluster in clusters:
        gain = sum(below(s, False) - area for s, positive in cluster if positive) / m
        loss = sum(1 - below(s, True) - area for s, positive in cluster if not positive) / n
        square += (gain + loss) ** 2
    own = [sum(any(positive == kind for _, positive in cluster) for cluster in clusters) for kind in (True, False)]
    return _effective(area, square * len(clusters) / max(1, len(clusters) - 1), min(own))


def _effective(share: float, variance: float, otherwise: int) -> Interval:
    """Wilson's with share · (1 - share) / variance trials; as many as ``otherwise`` where there is no variance."""
    n = max(1.0, share * (1 - share) / variance if variance > 0 and 0 < share < 1 else otherwise)
    return wilson_interval(share * n, n)


def mean(values: Sequence[float]) -> float:
    """Returns the mean; 0 of nothing."""
    return fmean(values) if values else 0.0


def doubling(largest: int) -> list[int]:
    """Returns 1, 2, 4 ... and ``largest`` itself."""
    return sorted({2**power for power in range(largest.bit_length()) if 2**power <= largest} | {largest})
