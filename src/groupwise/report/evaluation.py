"""This module writes the report's evaluation: the table, the Maj@K and Pass@K plot, and answers of both models side by
side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.evaluation.moments import moment
from groupwise.output.counting import counted
from groupwise.report.charts import Frame, Series, chart
from groupwise.report.held_out import parts_by_set
from groupwise.report.markup import Html, element, number, share

Json = Mapping[str, Any]
Row = tuple[str, str, str | None]
"""What a row is called, the measure, and its k."""


def summary(models: Sequence[Json], comparison: Json | None) -> Html:
    """The run in one figure and one sentence."""
    first, last = models[0], models[-1]
    before, after = first["evaluation"]["pass_at_1"], last["evaluation"]["pass_at_1"]
    problems = counted(last["evaluation"]["problems"], "held-out problem")
    if not comparison or len(models) == 1:
        text = f"On {problems} pass@1 is {_interval(after)} {moment(last['stage'])}{_judged(last)}."
        return element("div", element("p", share(after["value"]), class_="hero"), element("p", text, class_="lead"))
    change = _change(before, after, first, last, comparison["pass_at_1"])
    text = f"On {problems}{_judged(last)}, {change}"
    hero = element(
        "p",
        element("span", share(before["value"]), class_="was"),
        element("span", "→", class_="arrow", aria_label="to"),
        element("span", share(after["value"])),
        element("small", "held-out pass@1"),
        class_="hero",
    )
    return element("div", hero, element("p", text, class_="lead"), class_="summary")


def _judged(model: Json) -> str:
    judge = model["evaluation"].get("judge")
    return f" (correct: by {judge})" if judge else ""


def evaluation(models: Sequence[Json], comparison: Json | None) -> list[Html]:
    """Writes everything below the section's heading."""
    rows: list[Row] = [("greedy accuracy", "greedy", None), ("pass@1", "pass_at_1", None)]
    ks = sorted(int(k) for k in models[-1]["evaluation"]["pass_at"])
    rows += [(f"pass@{k}", "pass_at", str(k)) for k in ks if k > 1]
    rows += [(f"maj@{k}", "maj_at", str(k)) for k in ks if k > 1 and _has_votes(models)]
    parts = [_question(comparison, models), _table("Held-out results with 95 % intervals", rows, models, comparison)]
    for name, of_set, difference in parts_by_set(models, comparison):
        kept = [row for row in rows if row[2] is None or row[2] in of_set[-1]["evaluation"][row[1]]]
        parts.append(_table(f"{name} alone", kept, of_set, difference))
    parts.append(_facts(models))
    shown = [model["evaluation"].get("completions", []) for model in models]
    if any(shown):
        parts.append(_answers(models, shown))
    return parts


def _question(comparison: Json | None, models: Sequence[Json]) -> Html:
    plot = _plot(models)
    if not comparison:
        return element("div", plot)
    text = element(
        "div",
        element("h3", f"Did training raise {'Maj@K, or also Pass@K' if _has_votes(models) else 'Pass@K'}?"),
        *[element("p", part) for part in comparison["sentence"].split(" So ", 1)[:1]],
        *[element("p", f"So {part}", class_="answer") for part in comparison["sentence"].split(" So ", 1)[1:]],
        element(
            "p",
            "Pass@K asks whether any of K samples is correct, Maj@K whether their most frequent answer is. Bands and "
            "whiskers are 95 % intervals over problems; they stand one by one.",
            class_="note",
        ),
    )
    return element("div", text, plot, class_="beside")


def _plot(models: Sequence[Json]) -> Html:
    chosen = [models[0], models[-1]] if len(models) > 1 else list(models)
    ks = sorted(int(k) for k in chosen[-1]["evaluation"]["pass_at"])
    if not ks:
        return element("p", "No problem was sampled more than once.", class_="note")
    series = []
    for model, style in zip(chosen, ("was", "now") if len(chosen) > 1 else ("now",), strict=True):
        for family, name in (("pass_at", "pass"), ("maj_at", "maj")):
            if family == "maj_at" and not _has_votes(models):
                continue
            points = [model["evaluation"][family][str(k)] for k in ks]
            columns = {key: [point[key] for point in points] for key in ("value", "low", "high")}
            label = f"{name}@k {moment(model['stage'])}"
            series.append(
                Series(label, columns["value"], f"{style} {name}", columns["low"], columns["high"], dots=True)
            )
    lows = [value for s in series for value in s.low if value is not None]
    floor = math.floor(min(lows) * 10 - 0.2) / 10
    powers = [math.log2(k) for k in ks]
    frame = Frame(
        powers, (max(0.0, floor), 1.0), width=620, height=340, x_name="k =",
        x_ticks=[(power, str(k)) for power, k in zip(powers, ks, strict=True)], y_format=share,
    )  # fmt: skip
    return chart("Maj@K and Pass@K" if _has_votes(models) else "Pass@K", frame, series)


def _has_votes(models: Sequence[Json]) -> bool:
    return all(model["evaluation"]["maj_at"] for model in models)


def _table(title: str, rows: Sequence[Row], models: Sequence[Json], comparison: Json | None) -> Html:
    head = [element("th", "Measure", scope="col"), element("th", "Problems", scope="col", class_="number")]
    head += [element("th", moment(model["stage"]), scope="col", class_="number") for model in models]
    if comparison:
        head.append(element("th", "Paired difference", scope="col", class_="number"))
    head.append(element("th", "0", element("span", "1"), scope="col", class_="scale", aria_hidden="true"))
    body = [_row(name, family, k, models, comparison) for name, family, k in rows]
    caption = element("caption", title)
    table = element("table", caption, element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)


def _row(name: str, family: str, k: str | None, models: Sequence[Json], comparison: Json | None) -> Html:
    def of(values: Json) -> Json:
        found: Json = values[family][k] if k else values[family]
        return found

    measures = [of(model["evaluation"]) for model in models]
    cells = [
        element("th", name, scope="row"),
        element("td", str(len(measures[-1]["by_problem"])), class_="number muted"),
    ]
    cells += [_cell(share(m["value"]), f"{share(m['low'])} – {share(m['high'])}") for m in measures]
    if comparison:
        difference = of(comparison)
        style = "raised" if difference["low"] > 0 else "lowered" if difference["high"] < 0 else "unclear"
        cells.append(_cell(_signed(difference["value"]), _range(difference), style))
    ends = [measures[0], measures[-1]] if len(measures) > 1 else measures
    cells.append(element("td", _whiskers(ends), class_="scale", aria_hidden="true"))
    return element("tr", *cells, class_="family" if k == "2" else None)


def _cell(value: str, interval: str, style: str = "") -> Html:
    return element("td", element("b", value), element("small", interval), class_=f"number {style}".strip())


def _whiskers(measures: Sequence[Json]) -> Html:
    styles = ("was", "now") if len(measures) == 2 else ("now",)
    marks: list[Html] = [element("line", x1=0, x2=160, y1=11, y2=11, class_="grid")]
    for at, (measure, style) in enumerate(zip(measures, styles, strict=True)):
        y = 8 + 6 * at
        low, value, high = (round(measure[key] * 160, 1) for key in ("low", "value", "high"))
        marks.append(element("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {style}"))
        marks.append(element("circle", cx=value, cy=y, r=3, class_=f"dot {style}"))
    return element("svg", *marks, viewBox="-4 0 168 22", width="168", height="22")


FACTS = (
    ("mean_completion_tokens", "Completion length, tokens", number),
    ("truncated_fraction", "Truncated", lambda value: f"{value:.1%}"),
    ("unparseable_fraction", "Without a final answer", lambda value: f"{value:.1%}"),
    ("unscored_fraction", "Not scored, counted as wrong", lambda value: f"{value:.1%}"),
    ("prompts_too_long", "Problems left out, prompt too long", str),
)


def _facts(models: Sequence[Json]) -> Html:
    head = [element("th", "Completions", scope="col")]
    head += [element("th", moment(model["stage"]), scope="col", class_="number") for model in models]
    rows = [
        element(
            "tr",
            element("th", title, scope="row"),
            *[element("td", show(model["evaluation"][key]), class_="number") for model in models],
        )
        for key, title, show in FACTS
        if all(key in model["evaluation"] for model in models)
    ]
    rows += [*_episodes(models), *_means(models)]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="facts")
    settings, judge = models[-1]["evaluation"].get("settings", {}), models[-1]["evaluation"].get("judge")
    told = [f"correct: by {judge}"] * bool(judge)
    told += [f"{_SETTINGS.get(name, name)} {value}" for name, value in settings.items() if not _is_usual(name, value)]
    return element("div", table, element("p", " · ".join(told), class_="note"))


def _episodes(models: Sequence[Json]) -> list[Html]:
    """Turns, shares of stop reasons, and tool calls; nothing without an environment."""
    found = [model["evaluation"].get("episodes") or {} for model in models]
    names = [name for name in dict.fromkeys(name for each in found for name in each) if any(e.get(name) for e in found)]
    titles = {name: name.replace("stops/", "stopped: ").replace("/", ": ") for name in names}
    return [
        element(
            "tr",
            element("th", titles[name], scope="row"),
            *[element("td", number(each.get(name)), class_="number") for each in found],
        )
        for name in names
    ]


_SETTINGS = {
    "sampled_problems": "sampled problems",
    "max_tokens": "max tokens",
    "correct_at": "correct from a score of",
    "narrowed": "top-k, top-p, min-p",
}


def _is_usual(name: str, value: Any) -> bool:
    """Whether it says nothing: answers that are right at 1, and sampling among all tokens."""
    return (name == "correct_at" and value == 1) or (name == "narrowed" and tuple(value) == (0, 1, 0))


def _means(models: Sequence[Json]) -> list[Html]:
    """A row for each reward that was asked: its mean over the samples."""
    means = [model["evaluation"].get("reward_means", {}) for model in models]
    return [
        element(
            "tr",
            element("th", f"Mean reward: {name}", scope="row"),
            *[element("td", share(own[name]) if name in own else "", class_="number") for own in means],
        )
        for name in dict.fromkeys(name for own in means for name in own)
    ]


def _answers(models: Sequence[Json], shown: Sequence[Sequence[Json]]) -> Html:
    head = [element("th", "Question", scope="col")]
    head += [element("th", moment(model["stage"]), scope="col") for model in models]
    rows = []
    for answers in zip(*shown, strict=False):
        cells = [element("th", answers[0]["question"], scope="row", class_="question")]
        for answer in answers:
            verdict = f"reward {number(answer['reward'])}" + ("" if answer["finished"] else " · truncated")
            right = answer.get("correct", (answer["reward"] or 0) >= 1)  # files from before verdicts were kept
            good = "good" if right else ""
            cells.append(element("td", element("pre", answer["text"]), element("small", verdict, class_=good)))
        rows.append(element("tr", *cells))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="answers")
    title = element("summary", f"Greedy answers to {counted(len(rows), 'held-out problem')}")
    return element("details", title, element("div", table, class_="scroll"))


def _interval(measure: Json) -> str:
    return f"{share(measure['value'])} ({share(measure['low'])}–{share(measure['high'])})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _range(interval: Json) -> str:
    return f"{_signed(interval['low'])} to {_signed(interval['high'])}"


def _change(before: Json, after: Json, first: Json, last: Json, difference: Json) -> str:
    was = f"{_interval(before)} {moment(first['stage'])}"
    now = f"{_interval(after)} {moment(last['stage'])}"
    paired = f"paired difference {_signed(difference['value'])} (95 % interval {_range(difference)})."
    if difference["low"] <= 0 <= difference["high"]:
        return f"pass@1 is {was} and {now}; no difference is shown, {paired}"
    return f"pass@1 {'rose' if difference['low'] > 0 else 'fell'} from {was} to {now}; {paired}"
