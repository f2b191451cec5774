"""The report's plain text: bits per byte of each model on held-out documents, and how each differs from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.evaluation.moments import moment
from groupwise.evaluation.texts import TextEvaluation, text_difference
from groupwise.output.counting import counted
from groupwise.report.markup import Html, element

Json = Mapping[str, Any]


def texts(rows: Sequence[Json]) -> list[Html]:
    """Returns a table with a row for each model; nothing where none was measured on documents."""
    if not rows:
        return []
    models = [(row["stage"], TextEvaluation.from_json(row["evaluation"])) for row in rows]
    first = models[0][1]
    title = f"Held-out text, {counted(len(first.ids), 'document')}"
    heads = ("Bits per byte", "95 % interval", "Difference from the first, paired")
    head = [element("th", title, scope="col")]
    head += [element("th", words, scope="col", class_="number") for words in heads]
    body = [_row(name, found, None if found is first else first) for name, found in models]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="facts")
    return [element("div", table, class_="scroll")]


def _row(name: str, found: TextEvaluation, first: TextEvaluation | None) -> Html:
    value, change = found.bits_per_byte, ""
    if first is not None and first.ids == found.ids:
        difference = text_difference(first, found)
        change = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    cells = (f"{value.value:.4f}", f"{value.low:.4f} – {value.high:.4f}", change)
    numbers = [element("td", cell, class_="number") for cell in cells]
    return element("tr", element("th", moment(name), scope="row"), *numbers)
