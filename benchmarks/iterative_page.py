"""docs/iterative.md and its two pictures, from benchmarks/iterative.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "docs"))

from method_svg import FAINT, INK

from groupwise.report.markup import Html, element

COLOURS = {"GRPO+PS": "#3b82f6", "GRPO+OS": "#e5534b", "Online RFT": "#2f9e63", "RFT": "#c08412"}
TOP, BOTTOM, SEED_PITCH = 40, 250, 14


def write_page(root: Path) -> None:
    result = json.loads((root / "benchmarks" / "iterative.json").read_text())
    (root / "docs" / "iterative.md").write_text(page(result))
    (root / "docs" / "iterative.svg").write_text(curves(result))
    (root / "docs" / "iterative-seeds.svg").write_text(intervals(result))


def page(result: dict[str, Any]) -> str:
    parts = [
        "# Four ways to spend the same samples",
        _setting(result),
        "\n".join(_table(result)),
        _outcome(result),
        "![left: pass@1 against sampled tokens, by method; right: after each iteration](iterative.svg)",
        _caption(result),
        "![pass@1 by method and seed, with intervals](iterative-seeds.svg)",
        "## The reward model",
        _reward_model(result),
        "\n".join(_auc_table(result)),
        _origin(result),
    ]
    return "\n\n".join(parts) + "\n"


def _setting(result: dict[str, Any]) -> str:
    budget = result["budget"]
    return (
        f"pass@1 on {budget['problems']} held-out questions, 16 samples each, with 95 % intervals over questions. "
        f"Each method sampled {budget['completions']:,} completions of the same prompts and made {budget['updates']} "
        "updates, from one SFT model a seed; the tokens are those that it sampled, the mean of the seeds. What the "
        "reward model was made from comes on top (below). GRPO+PS and GRPO+OS never see the rule: they listen to a "
        "process reward model whose labels are automatic, to what it says of each step or of the worst one. Online RFT "
        "and RFT are trained on the rule itself."
    )


def _table(result: dict[str, Any]) -> Iterator[str]:
    seeds = result["seeds"]
    yield "| | sampled tokens | " + " | ".join(f"seed {row['seed']}" for row in seeds) + " | mean |"
    yield "|---|---|" + "---|" * len(seeds) + "---|"
    for name in ("SFT", *reversed(COLOURS)):
        ends = _ends(result, name)
        tokens = "" if name == "SFT" else f"{fmean(row['methods'][name]['tokens'] for row in seeds):,.0f}"
        cells = " | ".join(map(_interval, ends))
        yield f"| {name} | {tokens} | {cells} | {fmean(end['value'] for end in ends):.3f} |"


def _outcome(result: dict[str, Any]) -> str:
    """Who won, as the intervals of paired differences say it."""
    told = []
    for name in ("GRPO+OS", "Online RFT", "RFT"):
        gaps = [row["ahead"][name] for row in result["seeds"]]
        ahead, behind = sum(gap["low"] > 0 for gap in gaps), sum(gap["high"] < 0 for gap in gaps)
        numbers = ", ".join(f"{gap['value']:+.3f}".replace("-", "−") for gap in gaps)
        told.append(f"against {name} {numbers} (surely ahead on {ahead}, surely behind on {behind} of {len(gaps)})")
    return (
        f"GRPO+PS by seed: {'; '.join(told)}. Surely: the 95 % interval of the paired difference over questions does "
        "not hold 0."
    )


def _caption(result: dict[str, Any]) -> str:
    each = result["budget"]["problems"]
    return (
        f"Left: held-out pass@1 during training, one sample for each of {each} questions at every point; lines are "
        f"means of {len(result['seeds'])} seeds, bands reach from the lowest to the highest seed. RFT draws all its "
        "samples before its first update; its dashed line stands at the share of its updates. Right: pass@1 after each "
        "iteration of iterative RL (16 samples a question), a thin line for each seed, with its interval, and the mean."
    )


def _reward_model(result: dict[str, Any]) -> str:
    found = ("labels", "own_labels", "training", "held_out", "tokens")
    first, second = (
        {name: fmean(_value(row["prm"][number][name]) for row in result["seeds"]) for name in found}
        for number in (0, 1)
    )
    return (
        "Its AUC against the true correctness of steps (a step is right where it and all before it are), which no "
        f"training sees. Its own samples and their continuations were {first['tokens']:,.0f} tokens in the first "
        f"iteration and {second['tokens']:,.0f} in the second. Where the rest is lost, in means of the seeds: the "
        f"first labels have AUC {first['labels']:.3f}, for a wrong step that a later slip repairs counts as right. On "
        f"solutions that it was trained on the first model has {first['own_labels']:.3f} against its labels and "
        f"{first['training']:.3f} against the truth, on new questions {first['held_out']:.3f}: what is missing is "
        "training, not labels. The second goes on from the first and, on the same samples for new questions, has "
        f"{second['held_out']:.3f}."
    )


def _auc_table(result: dict[str, Any]) -> Iterator[str]:
    names = ("new: SFT's samples", "new: policy's samples", "trained on: truth", "trained on: own labels", "its labels")
    yield f"| iteration | seed | {' | '.join(names)} |"
    yield "|---|---|---|---|---|---|---|"
    for number in range(2):
        for row in result["seeds"]:
            one = row["prm"][number]
            cells = (f"{one[name]['value']:.3f}" for name in ("training", "own_labels", "labels"))
            shown = f"{_interval(one['held_out'])} | {_interval(one['held_out_policy'])} | {' | '.join(cells)}"
            yield f"| {number + 1} | {row['seed']} | {shown} |"


def _value(found: dict[str, float] | float) -> float:
    return found["value"] if isinstance(found, dict) else found


def _origin(result: dict[str, Any]) -> str:
    where, minutes = result["machine"], [f"{row['seconds'] / 60:.0f}" for row in result["seeds"]]
    return (
        f"From `benchmarks/iterative.json` (`python benchmarks/iterative.py`), {where['cores']} cores of "
        f"{where['cpu']}. SFT and both iterations took {', '.join(minutes)} minutes, the three seeds at once "
        "and other work beside them."
    )


def _ends(result: dict[str, Any], name: str) -> list[dict[str, float]]:
    """pass@1 by seed, when all is done."""
    if name == "SFT":
        return [row["iterations"][0]["pass@1"] for row in result["seeds"]]
    return [row["methods"][name]["pass@1"] for row in result["seeds"]]


def _interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"


@dataclass(frozen=True)
class Frame:
    """Where data lands on the paper."""

    left: float
    width: float
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across, up = (x - self.x[0]) / (self.x[1] - self.x[0]), (y - self.y[0]) / (self.y[1] - self.y[0])
        return round(self.left + across * self.width, 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    def path(self, points: Sequence[tuple[float, float]], **style: object) -> Html:
        joined = "L".join("{},{}".format(*self.place(*point)) for point in points)
        return element("path", d=f"M{joined}", **{"fill": "none", **style})

    def axes(self, title: str, x_name: str, ticks: Sequence[tuple[float, str]]) -> Iterator[Html]:
        yield _text(title, self.left - 34, 14, "start", font_weight="600")
        for tenth in range(round(self.y[0] * 10), round(self.y[1] * 10) + 1):
            (left, at), right = self.place(self.x[0], tenth / 10), self.left + self.width
            yield element("line", x1=left, x2=right, y1=at, y2=at, stroke=FAINT, stroke_width=0.6)
            yield _text(f"{tenth / 10:g}", left - 7, at + 4, "end")
        for x, name in ticks:
            yield _text(name, self.place(x, 0)[0], BOTTOM + 18, "middle")
        yield _text(x_name, self.left + self.width / 2, BOTTOM + 38, "middle")


def curves(result: dict[str, Any]) -> str:
    """The paper's figures 5 and 6, here."""
    y = _range(result)
    return _svg([*_by_tokens(result, y), *_by_iteration(result, y)], 760, 298)


def _range(result: dict[str, Any]) -> tuple[float, float]:
    """From a round number below every interval to 1."""
    ends = [end for name in ("SFT", *COLOURS) for end in _ends(result, name)]
    return int(min(end["low"] for end in ends) * 10) / 10, 1.0


def _by_tokens(result: dict[str, Any], y: tuple[float, float]) -> Iterator[Html]:
    most = max(row["methods"][name]["tokens"] for row in result["seeds"] for name in COLOURS)
    frame = Frame(38, 330, (0, most), y)
    ticks = [(count * 1000, f"{count}k" if count else "0") for count in range(0, most // 1000 + 1, 20)]
    yield from frame.axes("held-out pass@1 while training", "sampled tokens", ticks)
    lines = {name: _line(result, name) for name in COLOURS}
    for name, points in lines.items():
        band = [(x, low) for x, low, _, _ in points] + [(x, high) for x, _, _, high in reversed(points)]
        yield frame.path(band, fill=COLOURS[name], fill_opacity=0.13)
    for name, points in lines.items():
        dashes = "6 4" if name == "RFT" else None
        middle = [(x, mean) for x, _, mean, _ in points]
        yield frame.path(middle, stroke=COLOURS[name], stroke_width=2.2, stroke_dasharray=dashes)
    heights = _apart({name: frame.place(*points[-1][::2])[1] for name, points in lines.items()})
    for name, at in heights.items():
        yield _text(name, frame.left + frame.width + 8, at + 4, "start", fill=COLOURS[name], font_weight="600")


def _line(result: dict[str, Any], name: str) -> list[tuple[float, float, float, float]]:
    """Tokens, and the lowest, mean and highest pass@1 of the seeds, from the SFT model on."""
    start = [end["value"] for end in _ends(result, "SFT")]
    points = [(0.0, min(start), fmean(start), max(start))]
    for rows in zip(*(row["methods"][name]["curve"] for row in result["seeds"]), strict=True):
        share = rows[0][0] / result["budget"]["updates"]
        tokens = fmean(tokens * (share if name == "RFT" else 1) for _, tokens, _ in rows)
        values = [value for _, _, value in rows]
        points.append((tokens, min(values), fmean(values), max(values)))
    return points


def _apart(heights: dict[str, float], least: float = 15) -> dict[str, float]:
    """The same from top to bottom, moved down where labels would touch."""
    placed: dict[str, float] = {}
    for name, height in sorted(heights.items(), key=lambda pair: pair[1]):
        placed[name] = max(height, max(placed.values(), default=0.0) + least)
    return placed


def _by_iteration(result: dict[str, Any], y: tuple[float, float]) -> Iterator[Html]:
    frame, colour = Frame(520, 220, (-0.25, 2.25), y), COLOURS["GRPO+PS"]
    seeds = [[one["pass@1"] for one in row["iterations"]] for row in result["seeds"]]
    means = [(number, fmean(ends[number]["value"] for ends in seeds)) for number in range(3)]
    ticks = [(number, f"{number}: {value:.3f}") for number, value in means]
    yield from frame.axes("iterative RL", "iterations done: mean", ticks)
    for place, ends in enumerate(seeds):
        aside = (place - (len(seeds) - 1) / 2) * 0.07
        points = [(number + aside, end["value"]) for number, end in enumerate(ends)]
        yield frame.path(points, stroke=colour, stroke_opacity=0.45, stroke_width=1)
        for (x, _), end in zip(points, ends, strict=True):
            yield frame.path([(x, end["low"]), (x, end["high"])], stroke=colour, stroke_opacity=0.7, stroke_width=1.4)
    yield frame.path(means, stroke=colour, stroke_width=2.4)
    for number, value in means:
        x, height = frame.place(number, value)
        yield element("circle", cx=x, cy=height, r=3.5, fill=colour)


def intervals(result: dict[str, Any]) -> str:
    """A row for each method and seed: its interval, and a dot at its pass@1."""
    left, width, drawn, y = 92, 560, [], 16.0
    first, last = _range(result)

    def across(value: float) -> float:
        return round(left + width * (value - first) / (last - first), 1)

    for name in ("SFT", *reversed(COLOURS)):
        colour = COLOURS.get(name, INK)
        drawn.append(_text(name, left - 12, y + SEED_PITCH + 4, "end", fill=colour, font_weight="600"))
        for end in _ends(result, name):
            low, high, value = (across(end[key]) for key in ("low", "high", "value"))
            drawn.append(element("line", x1=low, x2=high, y1=y, y2=y, stroke=colour, stroke_width=2))
            drawn.append(element("circle", cx=value, cy=y, r=3.5, fill=colour))
            y += SEED_PITCH
        y += SEED_PITCH * 0.7
    tenths = range(round(first * 10), round(last * 10) + 1)
    drawn += [_text(f"{tenth / 10:g}", across(tenth / 10), y + 10, "middle") for tenth in tenths]
    return _svg(drawn, left + width + 20, round(y + 20))


def _svg(drawn: Sequence[Html], width: int, height: int) -> str:
    style = Html("<style>text{font:12px -apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif}</style>")
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    return element("svg", style, *drawn, xmlns="http://www.w3.org/2000/svg", **size, role="img") + "\n"


def _text(content: str, x: float, y: float, anchor: str, **further: object) -> Html:
    return element("text", content, x=round(x, 1), y=round(y, 1), text_anchor=anchor, **{"fill": INK, **further})
