"""The report's scorers: what each measures on held-out data beside guessing, and whether its chances come true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.output.counting import counted
from groupwise.report.markup import Html, element, share

Json = Mapping[str, Any]


def scorers(rows: Sequence[Json]) -> list[Html]:
    """Returns a table and a folded reliability table for each stage that trained a scorer."""
    return [part for row in rows for part in _scorer(row["stage"], row["evaluation"])]


def _scorer(stage: str, found: Json) -> list[Html]:
    names, baselines = list(found["measures"]), found["baselines"]
    head = [element("th", f"Scorer of {stage}", scope="col")]
    head += [element("th", title, scope="col", class_="number") for title in ("Held-out", "95 % interval", *baselines)]
    body = []
    for name in names:
        measure = found["measures"][name]
        cells = [share(measure["value"]), f"{share(measure['low'])} – {share(measure['high'])}"]
        cells += [share(said.get(name)) for said in baselines.values()]
        body.append(_row(name.replace("_", " "), cells))
    told = [f"{count:,} {name}" for name, count in found["counts"].items()]
    told += [f"{name.replace('_', ' ')} {share(value)}" for name, value in found["numbers"].items()]
    note = element("p", " · ".join(told), class_="note")
    return [_table(head, body), note, _reliability(found["reliability"])]


def _reliability(bins: Sequence[Json]) -> Html:
    head = [element("th", "Predicted chance", scope="col")]
    head += [element("th", title, scope="col", class_="number") for title in ("Predictions", "Mean", "Came true")]
    body = [
        _row(
            f"{row['low']:.2f} to {row['high']:.2f}",
            [str(row["count"]), share(row["predicted"]), share(row["observed"])],
        )
        for row in bins
    ]
    title = element("summary", f"Do its chances come true? {counted(len(bins), 'bin')}")
    return element("details", title, _table(head, body))


def _row(title: str, cells: Sequence[str]) -> Html:
    return element("tr", element("th", title, scope="row"), *[element("td", cell, class_="number") for cell in cells])


def _table(head: Sequence[Html], body: Sequence[Html]) -> Html:
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="facts")
    return element("div", table, class_="scroll")
