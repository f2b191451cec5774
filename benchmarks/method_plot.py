"""A method's gradient coefficient as a picture: numbers by ``gradient_coefficient`` itself, drawn as SVG.

Mid tones on no background, so that one picture is readable on light and dark pages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs, RegularisedRatio, Signals, gradient_coefficient
from groupwise.sinks.report_charts import ticks
from groupwise.sinks.report_markup import Html, element

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 290, 46, 76, 34, 46
INK, FAINT, UP, DOWN = "#757d87", "#757d8755", "#3b82f6", "#e5534b"
NEAR_ZERO = 0.01  # the smallest ratio, and probability
GRID = 300  # points of a curve
COEFFICIENT = "coefficient ∂J/∂log π of a token"


@dataclass(frozen=True)
class Curve:
    """``held`` says where a clip is in force (+1 above, -1 below): the curve is interrupted where that changes."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str
    held: Sequence[int]
    thin: bool = False


@dataclass(frozen=True)
class Panel:
    """A diagram, before it knows its place on the paper."""

    title: str
    x_name: str
    curves: Sequence[Curve]
    bounds: Sequence[float] = ()
    """Where a clip begins or ends."""
    beyond: Sequence[float] = ()
    """Further ones, outside the picture."""


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
    if algorithm.whitening.unit != "none" or needs - {"rewards"}:
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
    of = "of the completion" if near < 0.01 else "r"
    return Panel(
        COEFFICIENT,
        f"ratio {of} = π_θ/π_old",
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
        greedy_rewards=torch.full_like(column[:, 0], 0.5),
        behavior_logprobs=same,
        old_logprobs=same,
        reference_logprobs=same,
        old_values=torch.full_like(column, 0.5),
    )


def picture(name: str, shown: Sequence[Panel]) -> str:
    """The SVG file."""
    drawn = [
        element("g", *_panel(panel), transform=f"translate({i * (WIDTH + 20)} 0)") for i, panel in enumerate(shown)
    ]
    width = len(shown) * (WIDTH + 20) - 20
    said = "; ".join(f"{panel.title} against {panel.x_name}" for panel in shown)
    style = element("style", "text{font:12px -apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif}")
    svg = element(
        "svg",
        element("title", f"{name}: {said}"),
        Html(str(style).replace("&#x27;", "'")),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {HEIGHT}",
        width=width,
        height=HEIGHT,
        role="img",
    )
    return svg.replace("><g", ">\n<g").replace("><path", ">\n<path") + "\n"


@dataclass(frozen=True)
class Frame:
    """Where data lands on the paper."""

    x: tuple[float, float]
    y: tuple[float, float]

    def left(self, x: float) -> float:
        return round(LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT), 1)

    def top(self, y: float) -> float:
        return round(TOP + (self.y[1] - y) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM), 1)


def _frame(panel: Panel) -> Frame:
    """A KL's slope is infinite at ratio 0: what lies left of 0.2 there has no say in the height."""
    xs = [x for curve in panel.curves for x in curve.xs]
    first, last = min(xs), max(xs)
    seen = [y for c in panel.curves for x, y in zip(c.xs, c.ys, strict=True) if first != NEAR_ZERO or x >= 0.2]
    low, high = min([0.0, *seen]), max([0.0, *seen])
    air = (high - low or 1.0) * 0.07
    start = 0.0 if first == NEAR_ZERO else first
    return Frame((start, last), (low - air if low < 0 else 0.0, high + air))


def _panel(panel: Panel) -> Iterator[Html]:
    frame = _frame(panel)
    yield from _axes(panel, frame)
    for bound in panel.bounds:
        at = frame.left(bound)
        yield element("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, stroke=INK, stroke_dasharray="2 3")
    yield from _bound_names(panel, frame)
    for curve in panel.curves:
        yield from _line(curve, frame)
    yield from _labels(panel, frame)


def _axes(panel: Panel, frame: Frame) -> Iterator[Html]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for y in ticks(*frame.y):
        at = frame.top(y)
        stroke = INK if y == 0 else FAINT
        yield element("line", x1=LEFT, x2=right, y1=at, y2=at, stroke=stroke, stroke_width=1 if y == 0 else 0.6)
        yield _text(_signed(y), LEFT - 6, at + 4, "end")
    for x in ticks(*frame.x):
        at = frame.left(x)
        yield element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, stroke=INK)
        yield _text(_signed(x), at, bottom + 17, "middle")
    yield _text(panel.x_name, (LEFT + right) / 2, HEIGHT - 9, "middle")
    yield _text(panel.title, 2, 13, "start", font_weight="600")


def _bound_names(panel: Panel, frame: Frame) -> Iterator[Html]:
    """Above the frame; one that would touch its neighbour is left to the tick below."""
    taken = -math.inf
    for bound in sorted(panel.bounds):
        at = frame.left(bound)
        if at - taken >= 26:
            yield _text(f"{round(bound, 4):g}", at, TOP - 4, "middle")
            taken = at


def _line(curve: Curve, frame: Frame) -> Iterator[Html]:
    """In pieces: a new one where a clip takes hold or lets go, and where it leaves the frame."""
    pieces: list[list[str]] = [[]]
    before = None
    for x, y, held in zip(curve.xs, curve.ys, curve.held, strict=True):
        inside = frame.y[0] <= y <= frame.y[1]
        if held != before or not inside:
            pieces.append([])
        if inside:
            pieces[-1].append(f"{frame.left(x)},{frame.top(y)}")
        before = held
    path = "".join("M" + "L".join(_thinned(piece)) for piece in pieces if len(piece) > 1)
    opacity = 0.75 if curve.thin else None
    yield element("path", d=path, fill="none", stroke=curve.colour, stroke_width=2.2, stroke_opacity=opacity)


def _thinned(points: list[str]) -> list[str]:
    """Without points between two on the same height, and without repetitions."""
    kept = [
        point
        for before, point, after in zip(points, points[1:], points[2:], strict=False)
        if not before.partition(",")[2] == point.partition(",")[2] == after.partition(",")[2]
    ]
    return [points[0], *kept, points[-1]]


def _labels(panel: Panel, frame: Frame) -> Iterator[Html]:
    """At the right end where the curves are apart there; else where each is farthest from 0."""
    ends = {curve.label: frame.top(min(max(curve.ys[-1], frame.y[0]), frame.y[1])) for curve in panel.curves}
    for curve in panel.curves:
        others = [end for label, end in ends.items() if label != curve.label]
        weight = {"fill": curve.colour, "font_weight": "600", "fill_opacity": 0.85 if curve.thin else None}
        if all(abs(ends[curve.label] - end) >= 13 for end in others):
            yield _text(curve.label, WIDTH - RIGHT + 6, ends[curve.label] + 4, "start", **weight)
            continue
        x, y = _peak(curve, frame)
        aside = x > frame.x[0] + (frame.x[1] - frame.x[0]) / 4  # else it would lie on the curve that goes on
        yield _text(
            curve.label,
            frame.left(x) + 7,
            frame.top(y) + (4 if aside else 16 * (1 if y > 0 else -0.4)),
            "start",
            **weight,
        )


def _peak(curve: Curve, frame: Frame) -> tuple[float, float]:
    """Where it is farthest from 0; not where a ratio is near 0, see ``_frame``."""
    points = [(x, y) for x, y in zip(curve.xs, curve.ys, strict=True) if x >= 0.2 or frame.x[0] != 0]
    return max(points, key=lambda point: (round(abs(point[1]), 9), point[0]))


def _text(content: str, x: float, y: float, anchor: str, **further: object) -> Html:
    return element("text", content, x=round(x, 1), y=round(y, 1), text_anchor=anchor, **{"fill": INK, **further})


def _signed(value: float) -> str:
    return f"{value:g}".replace("-", "−")
