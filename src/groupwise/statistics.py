"""The numbers of an evaluation and how sure they are. Plain Python, exact where it can be; METHODS: DeepSeekMath
(arXiv 2402.03300) figure 7 for Maj@K and Pass@K, Chen et al. (arXiv 2107.03374) equation 1 for unbiased pass@k.
"""

from __future__ import annotations

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
    """Chance that at least one of k samples is correct, from n samples of which c are: ``1 - C(n-c, k) / C(n, k)``.

    The mean over all k-subsets, hence unbiased (arXiv 2107.03374, equation 1). Raises ValueError unless
    ``0 <= c <= n`` and ``1 <= k <= n``.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1 - comb(n - c, k) / comb(n, k)


def maj_at_k(answers: Sequence[Hashable | None], correct: Sequence[bool], k: int) -> float:
    """Chance that the most frequent answer of k samples is correct: the exact mean over all k-subsets of the n samples.

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
    """``[ties]``: ways to draw ``total`` samples from these classes, none above ``most`` votes and ``ties`` of them at it.

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


def wilson_interval(successes: int, n: int) -> Interval:
    """Wilson's 95 % score interval of a proportion; never of zero width.

    Raises ValueError unless ``0 <= successes <= n`` and ``n >= 1``.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    share, square = successes / n, Z_95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def bootstrap_interval(values: Sequence[float], seed: int = 0, resamples: int = 10_000) -> Interval:
    """The mean over problems with its 95 % percentile bootstrap interval: problems are redrawn, not samples.

    Equal values give an interval of zero width. Raises ValueError where there are no values.
    """
    import numpy as np

    if not len(values):
        raise ValueError("a bootstrap interval needs at least one value")
    data = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    block = max(1, 2**20 // len(data))  # keeps the index matrix near 8 MiB whatever the number of problems
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    means = np.concatenate([data[random.integers(0, len(data), (size, len(data)))].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(data.mean()), float(low), float(high))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of per-problem values in [0, 1]: Wilson's interval where each is 0 or 1, the bootstrap's otherwise."""
    if all(value in (0, 1) for value in values):
        return wilson_interval(int(sum(values)), len(values))
    return bootstrap_interval(values)


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Interval:
    """Mean of ``after - before`` over the same problems in the same order, with its 95 % bootstrap interval.

    Pairing removes what makes a problem hard for both, so the interval is narrower than that of two separate means.
    Raises ValueError where the lengths differ.
    """
    if len(before) != len(after):
        raise ValueError(f"a paired difference needs the same problems, got {len(before)} and {len(after)} values")
    return bootstrap_interval([b - a for a, b in zip(before, after, strict=True)], seed)


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return fmean(values) if values else 0.0
