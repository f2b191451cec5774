"""Curves as SVG. Mid tones on no background, so that one picture is readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from groupwise.report.markup import Html, element

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 290, 46, 76, 34, 46
INK, FAINT, UP, DOWN = "#757d87", "#757d8755", "#3b82f6", "#e5534b"
NEAR_ZERO = 0.01  # the smallest ratio, and probability


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
    """Where data lands on the paper; the last digits of a value, which differ between machines, do not move it."""

    x: tuple[float, float]
    y: tuple[float, float]

    def left(self, x: float) -> float:
        return round(LEFT + (round(x, 9) - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT), 1)

    def top(self, y: float) -> float:
        return round(TOP + (self.y[1] - round(y, 9)) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM), 1)


def _frame(panel: Panel) -> Frame:
    """A KL's slope is infinite at ratio 0: what lies left of 0.2 there has no say in the height."""
    xs = [x for curve in panel.curves for x in curve.xs]
    first, last = min(xs), max(xs)
    seen = [y for c in panel.curves for x, y in zip(c.xs, c.ys, strict=True) if first != NEAR_ZERO or x >= 0.2]
    low, high = min([0.0, *seen]), max([0.0, *seen])
    low, high = round(low, 9), round(high, 9)
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


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers inside the range."""
    raw = (high - low) / 6
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    inside = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(place * step, 12) for place in inside]


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
        aside = 4 if _leaves(curve, frame, x, y) else 16 if y > 0 else -6
        yield _text(curve.label, frame.left(x) + 7, frame.top(y) + aside, "start", **weight)


def _leaves(curve: Curve, frame: Frame, x: float, y: float) -> bool:
    """Whether the curve has left the place to the right of a point, so that a label can stand there."""
    reach = 30 * (frame.x[1] - frame.x[0]) / (WIDTH - LEFT - RIGHT)
    near = [there for at, there in zip(curve.xs, curve.ys, strict=True) if x + reach / 2 < at < x + reach]
    return all(abs(frame.top(there) - frame.top(y)) > 12 for there in near)


def _peak(curve: Curve, frame: Frame) -> tuple[float, float]:
    """Where it is farthest from 0; not where a ratio is near 0, see ``_frame``."""
    points = [(x, y) for x, y in zip(curve.xs, curve.ys, strict=True) if x >= 0.2 or frame.x[0] != 0]
    return max(points, key=lambda point: (round(abs(point[1]), 9), point[0]))


def _text(content: str, x: float, y: float, anchor: str, **further: object) -> Html:
    return element("text", content, x=round(x, 1), y=round(y, 1), text_anchor=anchor, **{"fill": INK, **further})


def _signed(value: float) -> str:
    return f"{value:g}".replace("-", "−")
