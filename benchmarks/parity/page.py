"""The tables of docs/parity.md, from benchmarks/parity.json. Plain Python: the tests read it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- written by make parity -->\n", "<!-- end -->\n"


def write(path: Path, result: dict[str, Any]) -> None:
    """Puts the tables where the last ones are."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(before + BEGIN + tables(result) + END + after, encoding="utf-8")


def tables(result: dict[str, Any]) -> str:
    """All that stands between the two marks."""
    return "\n".join([_head(result), _differences(result["rows"]), _all(result["rows"])])


def _head(result: dict[str, Any]) -> str:
    rows, versions = result["rows"], ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    count = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("same", "explained")}
    tokens = sum(draw["tokens"] for draw in result["draws"].values())
    return (
        f"{len(rows)} rows: {count['same']} the same to {result['tolerance']:g}, {count['explained']} explained; "
        f"{len(result['draws'])} draws a row, {tokens:,} tokens together.\n"
        f"{versions};\n{result['machine']}; {result['date']}.\n"
    )


def _differences(rows: list[dict[str, Any]]) -> str:
    lines = [
        "### What differs",
        "",
        "| row | what they do | from ours | from the formula by hand |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "why" in row:
            largest = max(row["difference"], key=lambda name: float(row["difference"][name]))
            from_ours = f"{largest} {row['difference'][largest]:.2g}"
            by_hand = max(row["difference_by_hand"].values())
            lines.append(f"| {row['system']}: {row['name']} | {row['why']} | {from_ours} | {by_hand:.0e} |")
    return "\n".join(lines) + "\n"


def _all(rows: list[dict[str, Any]]) -> str:
    header = "| system | options | updates | their loss | our loss | gradient | all else | verdict |"
    lines = ["### Every row", "", header, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        name = f"**{row['name']}** = `{row['preset']}`" if row["preset"] else row["name"]
        rest = max(value for quantity, value in row["difference"].items() if quantity != "gradient")
        loss = f"{row['loss']['theirs']:.10f} | {row['loss']['ours']:.10f}"
        numbers = f"{loss} | {row['difference']['gradient']:.0e} | {rest:.0e}"
        lines.append(f"| {row['system']} | {name} | {row['updates']} | {numbers} | {row['verdict']} |")
    return "\n".join(lines) + "\n"
