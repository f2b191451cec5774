"""Our side: ``Algorithm.prepare`` and ``gradient_coefficient`` on the same draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from draws import Draw, Found

from groupwise.algorithm import Algorithm, Outputs, Signals, gradient_coefficient


def ours(
    algorithm: Algorithm, draw: Draw, updates: int = 1, edit: Callable[[Signals], Signals] = lambda prepared: prepared
) -> Found:
    """Loss -J and its gradient. A critic's share of the loss is told apart as the others tell it.

    ``edit`` is for what another system does otherwise: it changes the prepared signals.
    """
    prepared = edit(algorithm.prepare(_signals(draw)))
    assert prepared.advantages is not None
    rows = torch.arange(len(draw.mask))
    found = [_update(algorithm, prepared.rows(rows[part]), _outputs(draw, part)) for part in draw.parts(updates)]
    return Found(
        sum(one.loss for one in found),
        torch.cat([one.logprobs for one in found]),
        prepared.advantages,
        sum(one.value_loss for one in found),
        _together([one.values for one in found]),
        _together([one.entropy for one in found]),
    )


def _update(algorithm: Algorithm, signals: Signals, outputs: Outputs) -> Found:
    assert signals.counts is not None
    assert signals.advantages is not None
    count = float(signals.counts.sum())
    found = gradient_coefficient(algorithm, signals, outputs)
    value_loss = _value_loss(algorithm, signals, outputs) / count
    cotangent = found.cotangent
    return Found(
        -float(found.objective) / count - value_loss,
        -cotangent.logprobs / count,
        signals.advantages,
        value_loss,
        None if cotangent.values is None else -cotangent.values / count,
        None if cotangent.entropy is None else -cotangent.entropy / count,
    )


def _value_loss(algorithm: Algorithm, signals: Signals, outputs: Outputs) -> float:
    if not algorithm.critic.active:
        return 0.0
    assert outputs.values is not None
    assert signals.weights is not None
    assert signals.old_values is not None
    assert signals.returns is not None
    terms = algorithm.critic.objective(outputs.values, signals.old_values, signals.returns)
    return -float((signals.weights * terms).sum())


def _together(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _outputs(draw: Draw, part: slice) -> Outputs:
    return Outputs(draw.logprobs[part], entropy=draw.entropy[part], values=draw.values[part])


def _signals(draw: Draw) -> Signals:
    rows, last = torch.arange(len(draw.rewards)), torch.tensor(draw.lengths) - 1
    rewards, rewarded = torch.zeros_like(draw.old), torch.zeros_like(draw.mask)
    rewards[rows, last], rewarded[rows, last] = draw.rewards, True
    return Signals(
        mask=draw.mask,
        group=draw.group,
        rewards=rewards,
        rewarded=rewarded,
        finished=draw.finished,
        behavior_logprobs=draw.behavior,
        old_logprobs=draw.old,
        reference_logprobs=draw.reference,
        old_values=draw.old_values,
    )
