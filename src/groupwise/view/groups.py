"""This module reads one group from the ledger for a look at every token: text, mask, and all numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from groupwise.errors import UserError
from groupwise.output.conversation import Part, conversation
from groupwise.view.ledger_numbers import read
from groupwise.view.token_pieces import TokenPieces

NUMBERS = (
    *("coefficients", "advantages", "logprobs", "behavior_logprobs", "old_logprobs", "reference_logprobs"),
    *("entropy", "values"),
)
COLUMNS = (
    *("group", "example", "prompt", "answer", "tokens", "mask", "text", "finished", "version", "versions", "reward"),
    *("stop", "turns", "messages", "correct", "reward_tokens", "reward_values", "parts", "statuses", "extras"),
    *("reads", *NUMBERS),
)
MOST_TOKENS = 3000
MOST_LETTERS = 20000
MOST_ROLLOUTS = 128


def group_of(path: Path, group: int, pieces: TokenPieces, record: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Returns a group of a step's file; of each completion at most so many tokens. Raises UserError where there is no
    such group."""
    table = read(path, COLUMNS)
    if table is None:
        raise UserError(f"step {int(path.stem)} of {path.parent.name} is not in the ledger")
    places = pc.indices_nonzero(pc.equal(table["group"], group)).to_pylist()
    if not places:
        known = pc.count_distinct(table["group"]).as_py()
        raise UserError(f"step {int(path.stem)} of {path.parent.name} has no group {group}; it has {known}")
    rows = table.take(pa.array(places[:MOST_ROLLOUTS]))
    plain = [_plain(row) for row in rows.to_pylist()]
    special = pieces.special(record)
    first = plain[0]
    return {
        "example": first["example"],
        "prompt": cut(prompt_text(first.get("prompt"))),
        "answer": cut(first.get("answer")),
        "groups": pc.count_distinct(table["group"]).as_py(),
        "members": len(places),
        "opening": [_said(part) for part in _conversation(first)[0]] if first.get("stop") else [],
        "rollouts": [
            _rollout(row, number, pieces, record, special, most) for row, number in zip(plain, places, strict=False)
        ],
    }


def prompt_text(prompt: str | None) -> str | None:
    """Returns what a prompt says: of a conversation, kept as JSON, its messages a paragraph each."""
    if prompt and prompt.startswith("["):
        try:
            messages = json.loads(prompt)
            return "\n\n".join(f"{one['role']}: {one.get('content') or ''}" for one in messages)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return prompt
    return prompt


def cut(text: str | None, most: int = MOST_LETTERS) -> str | None:
    """Returns the text, and of a longer one its beginning and how much is left out."""
    if text is None or len(text) <= most:
        return text
    return f"{text[:most]}\n… {len(text) - most:,} letters left out"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if name in ("parts", "statuses") and value else value for name, value in row.items()}


def _rollout(
    row: Mapping[str, Any],
    number: int,
    pieces: TokenPieces,
    record: Mapping[str, Any],
    special: set[int],
    most: int,
) -> dict[str, Any]:
    tokens, mask = row["tokens"] or [], row["mask"] or []
    shown = tokens[:most]
    said = pieces.of(shown, record)
    kept = ("finished", "version", "reward", "stop", "correct", "parts", "statuses", "reads")
    placed = zip(row.get("reward_tokens") or (), row.get("reward_values") or (), strict=False)
    return {
        "row": number,
        **{name: _finite(row.get(name)) for name in kept},
        "versions": [[span["version"], span["end"]] for span in row.get("versions") or ()],
        "extras": cut(row.get("extras"), 4000),
        "length": sum(mask),
        "size": len(tokens),
        "text": cut(row.get("text")) if said is None else None,
        "pieces": said if said is not None else [f"#{token} " for token in shown],
        "special": [place for place, token in enumerate(shown) if token in special],
        "mask": [int(sampled) for sampled in mask[:most]],
        "numbers": {name: _numbers(row[name][:most]) for name in NUMBERS if row[name] is not None},
        "rewards": [[place, _finite(value)] for place, value in placed if place < most],
        "said": [_said(part) for part in _conversation(row)[1]] if row.get("stop") else None,
    }


def _conversation(row: Mapping[str, Any]) -> tuple[list[Part], list[Part]]:
    """The messages before the model's first turn, and from there on; none where they are not whole."""
    try:
        return conversation(json.loads(row["messages"]), row["mask"], row["turns"] or ())
    except (ValueError, TypeError, KeyError, IndexError, StopIteration, RecursionError):
        return [], []


def _said(part: Part) -> dict[str, Any]:
    return {"role": part.role, "tool": part.tool, "text": cut(part.text), "begin": part.begin, "end": part.end}


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Rounds numbers to seven digits, which is what float32 holds."""
    return [float(f"{value:.7g}") if value is not None and math.isfinite(value) else None for value in values]


def _finite(value: Any) -> Any:
    """Returns None for a number that no JSON can hold."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
