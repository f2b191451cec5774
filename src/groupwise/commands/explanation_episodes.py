"""Episodes of a run under a method, on the terminal: conversations, and what each turn of the model's was worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from groupwise.commands.explanation import LABEL, Page
from groupwise.commands.explanation_tables import push, short
from groupwise.explain import Tokens
from groupwise.output.conversation import Part, conversation, shortened
from groupwise.output.counting import counted
from groupwise.output.printable import visible

MOST_LETTERS = 240
"""Of one message."""
Row = Mapping[str, Any]
ByRow = Mapping[int, Tokens]


def show_episodes(page: Page, rows: Sequence[Row], by_row: Sequence[ByRow]) -> None:
    """Shows the two episodes that the first method pushes most, up and down; nothing where a run has no episodes."""
    pushes = {
        number: sum(tokens.coefficients) for number, tokens in by_row[0].items() if rows[number].get("stop") is not None
    }
    if not pushes:
        return
    most, least = max(pushes, key=lambda number: pushes[number]), min(pushes, key=lambda number: pushes[number])
    for title, number in dict.fromkeys([("The episode pushed up most", most), ("The one pushed down most", least)]):
        _show(page, title, rows[number], [found.get(number) for found in by_row])
        if most == least:
            break


def _show(page: Page, title: str, row: Row, found: Sequence[Tokens | None]) -> None:
    reward = "no reward" if row["reward"] is None else f"reward {row['reward']:.4g}"
    turns = counted(len(row["turns"]), "turn")
    page.heading(f"{title}: {row['example']}, group {row['group']}, {reward}, {row['stop']} after {turns}")
    opening, parts = conversation(json.loads(row["messages"]), row["mask"], row["turns"])
    placed = dict(zip(row["reward_tokens"], row["reward_values"], strict=True))
    names = [method.name for method in page.methods]
    for part in (*opening, *parts):
        page.labelled(
            _who(part), " ".join(shortened(part.text, MOST_LETTERS).split()), "" if part.is_sampled else "dim"
        )
        if part.is_sampled:
            page.console.print(_worth(part, placed, names, found))


def _who(part: Part) -> str:
    return visible(f"tool {part.tool}" if part.tool else "model" if part.is_sampled else part.role)


def _worth(part: Part, placed: Mapping[int, float], names: Sequence[str], found: Sequence[Tokens | None]) -> Text:
    """Writes ``12 tokens, reward +0.25; A +0.5000, push +0.0123``; with two methods it writes a line for each."""
    indent = f"  {'':<{LABEL}}"
    words = Text(f"{indent}{counted(part.end - part.begin, 'token')}", style="dim")
    if part.end - 1 in placed:
        words.append(f", reward {placed[part.end - 1]:+.4g}")
    for name, tokens in zip(names, found, strict=True):
        words.append(f"\n{indent}{name}: " if len(names) > 1 else "; ")
        if tokens is None:
            words.append("left out")
            continue
        words.append(f"A {short(tokens.advantages[part.end - 1], sign=True)}, push ")
        words.append_text(push(sum(tokens.coefficients[part.begin : part.end])))
        clipped = sum(tokens.clipped[part.begin : part.end])
        if clipped:
            words.append(f", {clipped} held", style="yellow")
    return words
