"""docs/speed.md and docs/speed.svg, from what stands in cpu.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cases import cases as planned
from figures import Figures, Row, bars, figures, times, tokens_per_second
from page_further import WORK, further, table

from groupwise.report.markup import Html, element

NAMES = {
    "ours": "Groupwise",
    "ours_small": "Groupwise, TRL's micro-batch",
    "trl": "TRL tuned",
    "trl_defaults": "TRL defaults",
}
INK, FAINT = "#757d87", "#757d8755"
PARTS = (("sampling", "#3b82f6"), ("learning", "#e5534b"), ("rest", "#757d87"))
LEFT, WIDTH, RIGHT, LINE, GAP, LONGEST = 190, 520, 70, 13, 12, 4.0


def write(docs: Path, result: Row, others: Path | None = None) -> int:
    """The page and its plot; in ``others`` scaling.json and gpu.json may lie. Exit code 1 where a bar is missed."""
    found = list(bars(result))
    lines = [*page(result), *(further(others) if others else ())]
    (docs / "speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (docs / "speed.svg").write_text(plot(result["cases"]), encoding="utf-8")
    for bar in found:
        print(f"{'met   ' if bar.met else 'MISSED'} {bar.text}: {bar.found:.2f} (wanted {bar.wanted:g})")
    return int(not all(bar.met for bar in found))


def page(result: Row) -> Iterator[str]:
    """Its lines."""
    machine, cases = result["machine"], result["cases"]
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield "# How fast it is on a CPU\n"
    yield "From `benchmarks/cpu.json` (`make bench`), where every single time stands."
    runs = result.get("runs", 1)
    took = f"{result['minutes']} minutes in {'one run' if runs == 1 else f'{runs} runs, one after the other'}"
    yield f"{machine['cpu']}, {machine['cores']} cores, {result['date']}; {known}; {took}."
    yield from elsewhere(cases)
    yield "\n![Seconds a step, as a share of TRL's](speed.svg)\n"
    measured = {case["case"] for case in cases}
    missing = [case.name for case in planned() if case.name not in measured]
    if missing:
        yield f"**Not measured: {', '.join(missing)}.** The run was ended before them; means are over the others.\n"
    yield WORK
    yield "\n## Promised and found\n"
    yield from table(
        ["", "wanted", "found", ""],
        [
            [
                bar.text,
                f"{'≤' if bar.most else '≥'} {bar.wanted:g}",
                f"{bar.found:.2f}",
                "met" if bar.met else "**missed**",
            ]
            for bar in bars(result)
        ],
    )
    yield "\n## Seconds a step\n"
    yield "Median, in brackets the least, of so many steps; sampling + learning + everything else.\n"
    yield from table(["case", "side", "seconds", "sampling", "learning", "rest", "threads", "ours is"], steps(cases))
    yield "\n## Sampled tokens a second\n"
    yield "TRL's column is `generate` of transformers, which it calls. vLLM's weights are never updated here.\n"
    head = ["case", "Groupwise", "transformers", "vLLM"]
    yield from table(head, [[case["case"], *(rate(case, side) for side in ("ours", "trl", "vllm"))] for case in cases])
    yield "\n## Peak memory\n"
    yield "MB of the process, imports included; in brackets without them: model, optimiser and the work itself.\n"
    yield from table(
        ["case", *NAMES.values()], [[case["case"], *(memory(case, side) for side in NAMES)] for case in cases]
    )
    failed = [f"* {case['case']}, {side}: {why}" for case in cases for side, why in case["failed"].items()]
    if failed:
        yield "\n## What did not run\n"
        yield from failed


def elsewhere(cases: Sequence[Row]) -> Iterator[str]:
    """Which cases were measured on another day or machine than the run."""
    found: dict[str, list[str]] = {}
    for case in cases:
        if about := case.get("measured"):
            versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
            words = f"{about['machine']['cpu']}, {about['machine']['cores']} cores, {about['date']}; {versions}"
            found.setdefault(words, []).append(case["case"])
    for words, names in found.items():
        yield f"\n{', '.join(names)}: {words}."


def steps(cases: Sequence[Row]) -> list[list[str]]:
    """A row a case and side."""
    rows = []
    for case in cases:
        for side, name in NAMES.items():
            found = figures(case, side)
            if found is None:
                continue
            seconds = f"{found.seconds:.2f} ({found.least:.2f}, n = {found.steps})"
            parts = [f"{part:.2f}" for part in (found.sampling, found.learning, found.rest)]
            ratio = times(case, side)
            ahead = "" if side.startswith("ours") or ratio is None else f"{ratio:.1f} × faster"
            rows.append(
                [
                    case["case"],
                    name,
                    seconds,
                    *parts,
                    "by trial" if side.startswith("ours") else str(found.threads),
                    ahead,
                ]
            )
    return rows


def rate(case: Row, side: str) -> str:
    found = tokens_per_second(case, side)
    return "–" if found is None else f"{found:,.0f}"


def memory(case: Row, side: str) -> str:
    found = figures(case, side)
    return "–" if found is None else f"{found.peak:,.0f} ({found.grown:,.0f})"


def plot(cases: Sequence[Row]) -> str:
    """A stacked bar a side, TRL tuned as long as 1."""
    drawn: list[Html] = []
    top = 40.0
    for case in cases:
        unit = figures(case, "trl") or figures(case, "ours")
        if unit is None:
            continue
        measured = [(name, found) for side, name in NAMES.items() if (found := figures(case, side))]
        drawn.append(_text(case["case"], 4, top + LINE * len(measured) / 2 + 4, "start", font_weight="600"))
        for name, found in measured:
            drawn += _bar(name, found, unit.seconds, top)
            top += LINE
        top += GAP
    style = "text{font:11px -apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif}"
    box = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {LEFT + WIDTH + RIGHT} {top:.0f}", "role": "img"}
    title = element("title", "Seconds a step as a share of TRL's, tuned: sampling, learning and everything else")
    return (
        str(element("svg", title, element("style", Html(style)), *_axis(top), *drawn, **box)).replace("><", ">\n<")
        + "\n"
    )


def _axis(bottom: float) -> Iterator[Html]:
    for unit in range(int(LONGEST) + 1):
        at = LEFT + WIDTH * unit / LONGEST
        yield element("line", x1=at, x2=at, y1=34, y2=bottom, stroke=INK if unit == 1 else FAINT, stroke_width=0.7)
        yield _text(f"{unit} ×", at, 30, "middle")
    for number, (name, colour) in enumerate(PARTS):
        yield element("rect", x=LEFT + 90 * number, y=4, width=9, height=9, fill=colour)
        yield _text(name, LEFT + 90 * number + 14, 12, "start")


def _bar(name: str, found: Figures, unit: float, top: float) -> Iterator[Html]:
    """Cut where it leaves the paper; the number says how long it is."""
    at, end = float(LEFT), LEFT + WIDTH
    for part, colour in PARTS:
        wide = min(vars(found).get(part, found.rest) / unit * WIDTH / LONGEST, end - at)
        yield element("rect", x=round(at, 1), y=top + 1, width=round(wide, 1), height=LINE - 3, fill=colour)
        at += wide
    yield _text(name, LEFT - 6, top + LINE - 3, "end")
    yield _text(f"{found.seconds:.2f} s", at + 5, top + LINE - 3, "start")


def _text(content: str, x: float, y: float, anchor: str, **further: object) -> Html:
    return element("text", content, x=round(x, 1), y=round(y, 1), text_anchor=anchor, fill=INK, **further)
