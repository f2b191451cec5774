"""The report's alarms: what the doctor said, stage and step beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.report.markup import Html, element

Json = Mapping[str, Any]


def alarms(rows: Sequence[Json]) -> list[Html]:
    """Returns a table, in the order in which they were raised; one line where there are none."""
    if not rows:
        return [element("p", "None was raised.", class_="note")]
    head = [element("th", title, scope="col") for title in ("Alarm", "Stage", "Step", "What was seen")]
    body = [
        element(
            "tr",
            element("th", row["alarm"], scope="row"),
            element("td", row["stage"]),
            element("td", str(row["step"]), class_="number"),
            element("td", row["sentence"]),
        )
        for row in rows
    ]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="facts")
    return [element("div", table, class_="scroll")]
