"""The tables of an explanation: a row for each token, or for each rollout."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from groupwise.algorithm import Algorithm, Uncorrected
from groupwise.explain import Case, Tokens

MOST_TOKENS = 120  # rows of a table
NAMES_WIDTH = 15  # of the columns that say which token
PLAIN, PUSH, HELD = "plain", "push", "held"


@dataclass(frozen=True)
class Column:
    """A column is one number for each token."""

    title: str
    rows: Sequence[Sequence[float]]
    """By response, as long as it is."""
    kind: str = PLAIN
    """``push``: coloured by its sign; ``held``: a mark where it is true."""
    leads: bool = False
    """Where a table that is too wide is best broken."""


def token_columns(algorithm: Algorithm, case: Case, responses: Sequence[Tokens]) -> Iterator[Column]:
    """Every number between rewards and gradient that this method has."""
    rows = [response for _, response in case.rows()]
    needs = algorithm.needs()
    if algorithm.advantage.judges() or "step_rewards" in algorithm.needs():
        yield Column("label" if algorithm.trains_scorer else "R_t", [tokens.rewards for tokens in responses])
    read = "score" if algorithm.trains_scorer else "log π"
    yield Column(read, [response.logprobs for response in rows])
    if "old_logprobs" in needs:
        yield Column("log old", [response.lists["old_logprobs"] for response in rows])
        yield Column("ratio", [tokens.ratios for tokens in responses])
        yield Column("clip", [tokens.clipped for tokens in responses], HELD)
    if algorithm.needs_reference_logprobs:
        yield Column("log ref", [response.lists["reference_logprobs"] for response in rows])
    if algorithm.kl.coefficient:
        yield Column("KL", [tokens.kl for tokens in responses])
    if not isinstance(algorithm.correction, Uncorrected):
        yield Column("M", [tokens.corrections for tokens in responses])
    whitened = algorithm.whitening.unit != "none"
    if whitened:
        yield Column("A raw", [tokens.raw_advantages for tokens in responses], leads=True)
    if not algorithm.trains_scorer or algorithm.objective.joins_group():
        yield Column("A", [tokens.advantages for tokens in responses], leads=not whitened)
    yield Column("w", [tokens.weights for tokens in responses])
    yield Column(f"∂J/∂{read}", [tokens.coefficients for tokens in responses], PUSH)
    titles = {"values": "∂J/∂V", "entropy": "∂J/∂H", "exact_kl": "∂J/∂KL"}
    for name in responses[0].others:
        yield Column(titles[name], [tokens.others[name] for tokens in responses], PUSH)


def against_columns(names: Sequence[str], responses: Sequence[Sequence[Tokens]]) -> Iterator[Column]:
    """Returns advantages and coefficients of two methods, and how far the coefficients are apart."""
    for name, rows in zip(names, responses, strict=True):
        yield Column(f"{folded(name)}\nA", [tokens.advantages for tokens in rows])
        yield Column(f"{folded(name)}\n∂J/∂log π", [tokens.coefficients for tokens in rows], PUSH)
    first, second = ([tokens.coefficients for tokens in rows] for rows in responses)
    apart = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]
    yield Column("\ndifference", apart, PUSH)


def token_tables(case: Case, columns: Sequence[Column], width: int) -> tuple[list[Table], int]:
    """Returns all columns in as many tables as the width asks for, and how many responses had no room in them."""
    places = [(g, r) for g, group in enumerate(case.groups) for r, _ in enumerate(group)]
    shown, tokens = 0, 0
    for row in columns[0].rows:
        tokens += len(row)
        if shown and tokens > MOST_TOKENS:
            break
        shown += 1
    names = [(str(g) if len(case.groups) > 1 else "", str(r)) for g, r in places[:shown]]
    return [_table(names, chosen) for chosen in _parted(columns, shown, width - NAMES_WIDTH)], len(places) - shown


def _parted(columns: Sequence[Column], shown: int, room: int) -> Iterator[list[Column]]:
    """Yields all columns side by side where there is room; else what is given above what is made of it, or more
    parts."""
    wide = [_width(column, shown) for column in columns]
    part: list[Column] = []
    left = room
    for column, width in zip(columns, wide, strict=True):
        if part and (width > left or (column.leads and sum(wide) > room)):
            yield part
            part, left = [], room
        part.append(column)
        left -= width
    yield part


def _width(column: Column, shown: int) -> int:
    cells = [_cell(value, column.kind).plain for row in column.rows[:shown] for value in row]
    return 2 + max(map(len, [*column.title.split("\n"), *cells]))


def _table(names: Sequence[tuple[str, str]], columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for title in ("group" if names[0][0] else "", "resp.", "t"):
        table.add_column(title, justify="right", no_wrap=True, style="dim")
    for column in columns:
        table.add_column(Text(column.title), justify="right", no_wrap=True)
    for number, name in enumerate(names):
        length = len(columns[0].rows[number])
        for t in range(length):
            where = (*(name if t == 0 else ("", "")), str(t))
            cells = [_cell(column.rows[number][t], column.kind) for column in columns]
            table.add_row(*where, *cells, end_section=t == length - 1)
    return table


def _cell(value: float, kind: str) -> Text:
    if kind == HELD:
        return Text("held" if value else "", style="yellow")
    if kind == PUSH:
        return push(value)
    return Text(short(value)) if value else Text("0", style="dim")


def push(value: float) -> Text:
    """Returns a number coloured by its sign."""
    if not value:
        return Text("0", style="dim")
    return Text(short(value, sign=True), style="green" if value > 0 else "red")


def short(value: float, sign: bool = False) -> str:
    """Returns four decimals, or three digits where those are nothing."""
    value = round(value, 15)
    plus = "+" if sign else ""
    if value and abs(value) < 1e-3:
        return f"{value:{plus}.2e}".replace("e-0", "e-")
    return f"{value:{plus}.4f}"


def folded(name: str) -> str:
    """A method's name in lines short enough for the head of a column."""
    return "\n".join(textwrap.wrap(name.replace("_", "_ "), 11)).replace("_ ", "_")
