"""This module holds what a step says of itself: how long its completions are, whose they are and how old, and where its
time went."""

from __future__ import annotations

from collections.abc import Sequence

from groupwise.algorithm import Signals
from groupwise.sources import RolloutBatch
from groupwise.training.stage import Stage
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Rollout


def length_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns completion lengths in tokens, and of sampled ones the share that was truncated."""
    lengths = [sum(rollout.mask) for rollout in rollouts]
    metrics = {
        "completions/mean_length": sum(lengths) / len(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
    }
    if any(rollout.version != DEMONSTRATED for rollout in rollouts):
        metrics["completions/clipped_ratio"] = sum(not rollout.finished for rollout in rollouts) / len(rollouts)
    return metrics


def policy_metrics(stage: Stage, version: int, rollouts: Sequence[Rollout], signals: Signals) -> dict[str, float]:
    """Returns metrics of completions that a policy sampled: whose they are and how old, how many repeat themselves, how
    much of them is left out of learning; of a scorer's nothing. ``version`` is that of the weights that will learn from
    them."""
    sampled = [rollout for rollout in rollouts if rollout.version != DEMONSTRATED]
    if stage.algorithm.trains_scorer or not sampled:
        return {}
    assert signals.learned is not None
    left_out = 1 - float(signals.learned.sum()) / max(float(signals.mask.sum()), 1.0)
    metrics = staleness(version, [rollout for rollout in sampled if rollout.version != ANOTHER_POLICY])
    foreign = sum(rollout.version != version for rollout in sampled) / len(sampled)
    if foreign:
        metrics["off_policy_ratio"] = foreign
    own = [[token for token, said in zip(r.tokens, r.mask, strict=True) if said] for r in sampled]
    metrics["completions/repetitive_ratio"] = sum(map(repeats, own)) / len(sampled)
    return metrics | {"masked_ratio": left_out}


def staleness(version: int, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Returns by how many updates tokens are behind the weights that learn from them: the oldest, and the mean of
    all; and which share of them stands in completions that several versions drew, where there are any."""
    if not rollouts:
        return {}
    behind = count = 0
    for rollout in rollouts:
        start = 0
        for drawn_by, end in rollout.spans:
            tokens = sum(rollout.mask[start:end])
            behind, count, start = behind + tokens * (version - drawn_by), count + tokens, end
    oldest = min(rollout.version for rollout in rollouts)
    several = sum(sum(rollout.mask) for rollout in rollouts if len({drawn_by for drawn_by, _ in rollout.spans}) > 1)
    metrics = {"staleness": float(version - oldest), "staleness/mean": behind / max(count, 1)}
    return metrics | ({"mixed_versions_ratio": several / count} if several else {})


def repeats(tokens: Sequence[int]) -> bool:
    """Says whether more than half of its 4-grams stood before in it; never of fewer than 16 tokens."""
    grams = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return len(tokens) >= 16 and 2 * len(set(grams)) < len(grams)


def time_metrics(draw: RolloutBatch, tokens: int, drawing: float, training: float, after: float) -> dict[str, float]:
    """Returns where a step's seconds went, and tokens a second."""
    sampling = draw.seconds.get("sample", 0.0)
    metrics = {f"seconds/{name}": seconds for name, seconds in draw.seconds.items()}
    metrics |= {f"seconds/{name}_waited": seconds for name, seconds in draw.waits.items()}
    inside = draw.waits["learner"] if draw.waits else sum(draw.seconds.values())
    metrics |= {
        "seconds/train": training,
        "seconds/other": drawing - inside + after,
        "step_time": drawing + training + after,
        "tokens_per_second/train": tokens / max(training, 1e-9),
    }
    if sampling:
        metrics["tokens_per_second/sample"] = draw.sampled_tokens / sampling
    return metrics
