"""A method's gradient coefficient as numbers to look at: found by ``gradient_coefficient`` itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from method_svg import DOWN, NEAR_ZERO, UP, Curve, Panel
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs, RegularisedRatio, Signals, gradient_coefficient

GRID = 300  # points of a curve
COEFFICIENT = "coefficient ∂J/∂log π of a token"


def coefficients(algorithm: Algorithm, moved: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
    """Of one-token completions ``[N]`` that have ``moved`` (log π_θ/π_old) and have these advantages: ∂J/∂log π before
    weights and counts, and where a clip holds. Sampler, reference and critic are as the policy was at the draw."""
    old = torch.full((len(moved), 1), -4.0, dtype=torch.float64)
    blank, here = torch.zeros_like(old), torch.ones_like(old, dtype=torch.bool)
    signals = Signals(
        mask=here,
        group=torch.arange(len(moved)),
        rewards=blank,
        rewarded=here,
        finished=here[:, 0],
        greedy_rewards=blank[:, 0],
        behavior_logprobs=old,
        old_logprobs=old,
        reference_logprobs=old,
        old_values=blank,
        learned=here,
        advantages=advantages[:, None].double(),
        returns=blank,
        weights=blank + 1,
        counts=blank[:, 0] + 1,
    )
    found = gradient_coefficient(algorithm, signals, Outputs(old + moved[:, None], blank, blank, blank))
    return found.cotangent.logprobs[:, 0], found.clipped[:, 0]


def panels(algorithm: Algorithm) -> list[Panel]:
    """What is worth looking at: the coefficient, and where completions are compared, the advantage."""
    if algorithm.objective.joins_group():
        return [_by_margin(algorithm)]
    if not algorithm.objective.needs() and not algorithm.advantage.compares() and _given(algorithm):
        return [_by_probability(algorithm)]
    if isinstance(algorithm.objective, RegularisedRatio) and algorithm.objective.coefficient < 0.1:
        strong = replace(algorithm, objective=replace(algorithm.objective, coefficient=1.0))  # so that it can be seen
        return [_by_ratio(algorithm), replace(_by_ratio(strong), title="the same with β = 1")]
    return [_by_ratio(algorithm), *_by_share(algorithm)]


def _given(algorithm: Algorithm) -> list[float]:
    """The advantages there can be, where they are few: those of a right and of a wrong one-token answer."""
    needs = algorithm.advantage.needs()
    if algorithm.whitening.unit != "none" or needs - {"rewards", "correct"}:
        return []
    prepared = algorithm.prepare(_draw(torch.tensor([1.0, 0.0])))
    assert prepared.advantages is not None
    return sorted({round(value, 9) for value in prepared.advantages[:, 0].tolist()}, reverse=True)


def _by_ratio(algorithm: Algorithm) -> Panel:
    found = sorted({edge for advantage in (1.0, -1.0) for edge in _edges(algorithm, advantage)})
    near = max((abs(edge - 1) for edge in found if abs(edge - 1) > 1e-6), default=1.0)
    if near < 0.01:  # a sequence's ratio moves less than a token's
        low, high = 1 - 3 * near, 1 + 3 * near
    else:
        low, high = NEAR_ZERO, max([3.0, *(edge + 0.6 for edge in found if edge < 5)])
    curves = [_curve(algorithm, advantage, low, high) for advantage in (1.0, 0.5, -0.5, -1.0)]
    ratio = "ratio of the completion: (π_θ/π_old)^(1/|o|)" if near < 0.01 else "ratio r = π_θ/π_old"
    return Panel(
        COEFFICIENT,
        ratio,
        curves,
        bounds=[edge for edge in found if low < edge < high],
        beyond=[edge for edge in found if not low < edge < high],
    )


def _curve(algorithm: Algorithm, advantage: float, low: float, high: float) -> Curve:
    edges = [edge for edge in _edges(algorithm, advantage) if low < edge < high]
    steps = [low + (high - low) * i / (GRID - 1) for i in range(GRID)]
    xs = sorted({*steps, *(edge * factor for edge in edges for factor in (1 - 1e-12, 1 + 1e-12))})
    values, held = coefficients(
        algorithm, torch.tensor(xs, dtype=torch.float64).log(), torch.full((len(xs),), advantage)
    )
    colour = UP if advantage > 0 else DOWN
    label = f"A = {advantage:+g}".replace("-", "−")
    return Curve(label, xs, values.tolist(), colour, held.tolist(), abs(advantage) < 1)


def _edges(algorithm: Algorithm, advantage: float) -> Iterator[float]:
    """Ratios up to 16 at which a clip begins or ends."""
    places = [*(i / 40 for i in range(1, 640)), 0.9985, 0.9999, 1.0001, 1.0015]
    for left, right in _changes(algorithm, advantage, sorted(places)):
        for _ in range(4):
            step = (right - left) / 1000
            left, right = _changes(algorithm, advantage, [left + step * i for i in range(1001)])[0]
        yield round((left + right) / 2, 9)


def _changes(algorithm: Algorithm, advantage: float, ratios: list[float]) -> list[tuple[float, float]]:
    """Neighbours of which one is clipped and the other is not."""
    held = coefficients(
        algorithm, torch.tensor(ratios, dtype=torch.float64).log(), torch.full((len(ratios),), advantage)
    )[1]
    pairs = zip(itertools.pairwise(ratios), itertools.pairwise(held.tolist()), strict=True)
    return [pair for pair, (before, after) in pairs if before != after]


def _by_probability(algorithm: Algorithm) -> Panel:
    """Where nothing is compared, only what the policy thinks of the token could matter."""
    xs, curves = [NEAR_ZERO + (1 - NEAR_ZERO) * i / 99 for i in range(100)], []
    given = _given(algorithm)
    for advantage, name in zip(given, ("accepted", "rejected") if len(given) > 1 else ("every token",), strict=False):
        values, held = coefficients(
            algorithm, torch.tensor(xs, dtype=torch.float64).log() + 4, torch.full((100,), advantage)
        )
        curves.append(
            Curve(f"A = {advantage:g}", xs, values.tolist(), UP if advantage else DOWN, held.tolist(), name == "")
        )
    return Panel(COEFFICIENT, "probability π_θ of the token", curves)


def _by_margin(algorithm: Algorithm) -> Panel:
    """Pairs of one-token completions, the chosen one ahead by the margin against the reference."""
    margins = torch.linspace(-60, 60, GRID, dtype=torch.float64)
    old = torch.full((2 * GRID, 1), -100.0, dtype=torch.float64)
    moved = torch.stack([margins / 2, -margins / 2], dim=1).reshape(-1, 1)
    blank, here = torch.zeros_like(old), torch.ones_like(old, dtype=torch.bool)
    group = torch.arange(GRID).repeat_interleave(2)
    signals = Signals(here, group, blank, here, here[:, 0], old_logprobs=old, reference_logprobs=old)
    found = gradient_coefficient(algorithm, algorithm.prepare(signals), Outputs(old + moved)).cotangent.logprobs[:, 0]
    xs, free = margins.tolist(), [0] * GRID
    curves = [
        Curve("chosen", xs, found[0::2].tolist(), UP, free),
        Curve("rejected", xs, found[1::2].tolist(), DOWN, free),
    ]
    return Panel(COEFFICIENT, "margin h(chosen) − h(rejected), in nats", curves)


ANSWERS, BESIDE = 16, (4, 8, 12)


def _by_share(algorithm: Algorithm) -> Iterator[Panel]:
    """What a right and a wrong answer are worth, by how many of the prompt's 16 are right; three prompts beside it have
    4, 8 and 12 right ones."""
    whitened = algorithm.whitening.unit != "none" and algorithm.advantage.needs() == {"rewards"}
    if not (algorithm.advantage.compares() or whitened):
        return
    xs, right, wrong = [], [], []
    for count in range(1, ANSWERS):
        rewards = [float(i < share) for share in (count, *BESIDE) for i in range(ANSWERS)]
        advantages = algorithm.prepare(_draw(torch.tensor(rewards))).advantages
        assert advantages is not None
        xs.append(count)
        right.append(float(advantages[0, 0]))
        wrong.append(float(advantages[ANSWERS - 1, 0]))
    free = [0] * len(xs)
    curves = [Curve("right", xs, right, UP, free), Curve("wrong", xs, wrong, DOWN, free)]
    yield Panel("advantage A of an answer", f"right answers among the prompt's {ANSWERS}", curves)


def _draw(rewards: Tensor) -> Signals:
    """Completions of one token, at the first update; 16 of them a prompt."""
    column = rewards[:, None].double()
    here, same = torch.ones_like(column, dtype=torch.bool), torch.full_like(column, -1.0)
    return Signals(
        mask=here,
        group=torch.arange(len(rewards)) // ANSWERS,
        rewards=column,
        rewarded=here,
        finished=here[:, 0],
        correct=column[:, 0],
        greedy_rewards=torch.full_like(column[:, 0], 0.5),
        behavior_logprobs=same,
        old_logprobs=same,
        reference_logprobs=same,
        old_values=torch.full_like(column, 0.5),
    )
