"""This module draws small SVG charts, so that the report shows them without a script and on paper; the script adds
values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.report.markup import Html, element, number

LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
LARGEST = 1e300
SMOOTH_FROM = 40
"""Curves of more points than this are shown faint, with their moving mean over a twentieth of them."""

Values = Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """A series is one curve; ``style`` is a class of report.css. ``low`` and ``high`` draw a band around it."""

    label: str
    values: Values
    style: str = "main"
    low: Values = ()
    high: Values = ()
    dots: bool = False


@dataclass(frozen=True)
class Frame:
    """A frame says where data lands on the paper."""

    x: Sequence[float]
    y_range: tuple[float, float]
    width: int = 356
    height: int = 180
    x_name: str = "step"
    x_ticks: Sequence[tuple[float, str]] = ()
    y_format: Callable[[float], str] = field(default=number)

    def left(self, x: float) -> float:
        first, last = self.x[0], self.x[-1]
        share = (x - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (self.width - LEFT - RIGHT), 1)

    def top(self, y: float) -> float:
        low, high = self.y_range
        y = held(y)
        return round(TOP + (high - y) / (high - low) * (self.height - TOP - BOTTOM), 1)


def chart(title: str, frame: Frame, series: Sequence[Series], note: str = "") -> Html:
    """Draws a figure: title, curves, newest values, and those that the script shows under the pointer."""
    marks = [mark for one in series for mark in _draw(frame, one)]
    told = [_last(one.values, frame) for one in series]
    return _figure(title, frame, marks, series, told, note)


def stacked(title: str, frame: Frame, series: Sequence[Series], note: str = "") -> Html:
    """Draws areas on top of each other, the first at the bottom; each is told with its share of the whole."""
    floor = [0.0] * len(frame.x)
    marks = []
    for one in series:
        ceiling = [base + (value or 0.0) for base, value in zip(floor, one.values, strict=True)]
        marks.append(element("path", d=_area(frame, frame.x, floor, ceiling), class_=f"area {one.style}"))
        floor = ceiling
    sums = [sum(value or 0.0 for value in one.values) for one in series]
    told = [f"{part / (sum(sums) or 1.0):.0%}" for part in sums]
    return _figure(title, frame, marks, series, told, note)


def _figure(
    title: str, frame: Frame, marks: Sequence[Html], series: Sequence[Series], told: Sequence[str], note: str
) -> Html:
    """Values stand beside the title where there is one series, in the legend where there are more."""
    many = len(series) > 1
    values = [element("output", text, data_rest=text) for text in told]
    said = ", ".join(f"{one.label} {text}" if many else text for one, text in zip(series, told, strict=True))
    svg = element(
        "svg",
        *_axes(frame),
        *marks,
        element("line", class_="cursor", y1=TOP, y2=frame.height - BOTTOM, x1=LEFT, x2=LEFT),
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        tabindex="0",
        aria_label=f"{title}: {said}",
    )
    place = element("span", class_="place")
    caption = element("figcaption", element("span", title, class_="title"), place, *([] if many else values))
    extra = [_legend(series, values)] if many else []
    if note:
        extra.append(element("p", note, class_="note"))
    return element("figure", caption, svg, *extra, class_="chart", data_chart=_data(frame, series))


def _legend(series: Sequence[Series], values: Sequence[Html]) -> Html:
    items = [
        element("span", element("i", class_=f"key {one.style}"), one.label, value, class_="legend-item")
        for one, value in zip(series, values, strict=True)
    ]
    return element("p", *items, class_="legend")


def _data(frame: Frame, series: Sequence[Series]) -> dict[str, Any]:
    """What the script needs: where each x stands, what it is called, and every value as it is told."""
    names = [text for _, text in frame.x_ticks] or [f"{x:g}" for x in frame.x]
    return {
        "x": list(frame.x),
        "left": [frame.left(x) for x in frame.x],
        "places": [f"{frame.x_name} {name}" for name in names],
        "series": [[None if value is None else frame.y_format(value) for value in one.values] for one in series],
    }


def _axes(frame: Frame) -> list[Html]:
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    marks = []
    for y in ticks(*frame.y_range):
        at = frame.top(y)
        marks.append(element("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid"))
        marks.append(element("text", f"{y:,g}".replace("-", "−"), x=LEFT - 7, y=at + 3.5, text_anchor="end"))
    named = frame.x_ticks or [(frame.x[0], f"{frame.x[0]:g}"), (frame.x[-1], f"{frame.x_name} {frame.x[-1]:g}")]
    for index, (x, text) in enumerate(named if frame.x[0] < frame.x[-1] else named[-1:]):
        anchor = "middle" if frame.x_ticks else "start" if index == 0 else "end"
        marks.append(element("text", text, x=frame.left(x), y=bottom + 16, text_anchor=anchor))
    return marks


def _draw(frame: Frame, series: Series) -> list[Html]:
    known = [(x, y) for x, y in zip(frame.x, series.values, strict=True) if y is not None]
    marks = []
    if series.low:
        rows = [row for row in zip(frame.x, series.low, series.high, strict=True) if None not in row]
        xs, lows, highs = zip(*rows, strict=True)
        marks.append(element("path", d=_area(frame, xs, lows, highs), class_=f"band {series.style}"))
    if len(known) > SMOOTH_FROM:
        marks.append(element("path", d=_path(frame, known), class_=f"line raw {series.style}"))
        known = smooth(known)
    marks.append(element("path", d=_path(frame, known), class_=f"line {series.style}"))
    if series.dots or len(known) == 1:
        marks += [
            element("circle", cx=frame.left(x), cy=frame.top(y), r=3, class_=f"dot {series.style}") for x, y in known
        ]
    return marks


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns a centred moving mean over a twentieth of the points on either side."""
    reach = max(1, len(points) // 40)
    windows = [points[max(0, at - reach) : at + reach + 1] for at in range(len(points))]
    return [(x, sum(y for _, y in rows) / len(rows)) for (x, _), rows in zip(points, windows, strict=True)]


def ticks(low: float, high: float) -> list[float]:
    """Returns three to six round numbers inside the range."""
    raw = (high - low) / 4
    power = math.floor(math.log10(raw))
    unit = 10.0**power
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, max(12, 3 - power)) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def held(value: float) -> float:
    """The value, or the largest one that can still be drawn: differences of larger ones leave the range of floats."""
    return max(-LARGEST, min(LARGEST, value))


def span(values: Values, low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """A range that holds all values, ``low`` and ``high``, with a little air at an end not given; never empty."""
    known = [held(value) for value in values if value is not None] or [0.0]
    bottom = min(known) if low is None else min(low, *known)
    top = max(known) if high is None else max(high, *known)
    size = max(abs(top), abs(bottom))
    if top - bottom <= 1e-9 * size or size == 0:  # a constant of any size is a flat line in the middle
        around = 0.5 if size < 1e6 else size / 2
        bottom, top = bottom - (around if low is None else 0.0), top + around
    air = (top - bottom) * 0.06
    return bottom - (air if low is None else 0.0), top + (air if high is None else 0.0)


def _last(values: Values, frame: Frame) -> str:
    known = [value for value in values if value is not None]
    return frame.y_format(known[-1]) if known else "–"


def _path(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.left(x)},{frame.top(y)}" for x, y in points) if points else ""


def _area(frame: Frame, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    there = list(zip(xs, highs, strict=True))
    back = list(zip(xs, lows, strict=True))[::-1]
    return _path(frame, [*there, *back]) + "Z"
