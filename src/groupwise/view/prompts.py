"""This module follows one prompt through a run: what the model answered at every step that drew it."""

from __future__ import annotations

from typing import Any

import numpy as np

from groupwise.view.groups import cut, prompt_text
from groupwise.view.index import LedgerIndex
from groupwise.view.ledger_numbers import read

MOST_STEPS = 200
MOST_ROLLOUTS = 32  # of a step
FEWEST_STEPS = 2
MOST_EXAMPLES = 300
LETTERS = 6000


def prompt_over_time(index: LedgerIndex, stage: str, example: str) -> dict[str, Any]:
    """Returns the example's completions by step, the newest ``MOST_STEPS`` of them."""
    with index.lock:
        table = index.table
        if not table.size or stage not in index.stages:
            return {"example": example, "prompt": None, "answer": None, "steps": []}
        fits = table["alive"] & (table["example"] == index.code_of("example", example))
        rows = np.flatnonzero(fits & (table["stage"] == index.stages.index(stage)))
        files = sorted({int(table["file"][row]) for row in rows}, key=lambda at: index.steps[at][1])[-MOST_STEPS:]
        places = {at: [int(table["row"][row]) for row in rows if table["file"][row] == at] for at in files}
        paths = {at: (index.files[at], index.steps[at][1]) for at in files}
    found: dict[str, Any] = {"example": example, "prompt": None, "answer": None, "steps": []}
    for at, own in places.items():
        path, step = paths[at]
        columns = ("prompt", "answer", "text", "reward", "finished", "correct", "group", "mask")
        whole = read(path, columns)
        if whole is None:
            continue
        kept = whole.take(own[:MOST_ROLLOUTS]).to_pylist()
        found["prompt"], found["answer"] = cut(prompt_text(kept[0].get("prompt"))), cut(kept[0].get("answer"))
        rollouts = [_rollout(row, number) for row, number in zip(kept, own, strict=False)]
        found["steps"].append({"step": step, "group": kept[0]["group"], "members": len(own), "rollouts": rollouts})
    return found


def often_drawn(index: LedgerIndex, stage: str, like: str = "") -> list[dict[str, Any]]:
    """Returns the examples of a stage, those that were drawn at most steps first."""
    with index.lock:
        table = index.table
        if not table.size or stage not in index.stages:
            return []
        rows = np.flatnonzero(table["alive"] & (table["stage"] == index.stages.index(stage)))
        code, step, reward = (table[name][rows] for name in ("example", "step", "reward"))
        pairs = np.unique(np.stack([code, step], axis=1), axis=0) if len(rows) else np.zeros((0, 2), np.int32)
        codes, counts = np.unique(pairs[:, 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        names = [(index.text_of("example", int(codes[at])) or "", int(codes[at]), int(counts[at])) for at in order]
        names = [one for one in names if like.lower() in one[0].lower()][:MOST_EXAMPLES]
        found = []
        for name, number, steps in names:
            own = reward[code == number]
            known = own[~np.isnan(own)]
            found.append({"example": name, "steps": steps, "mean": float(known.mean()) if len(known) else None})
        return found


def _rollout(row: dict[str, Any], number: int) -> dict[str, Any]:
    value = row["reward"]
    kept = {name: row.get(name) for name in ("finished", "correct")}
    finite = None if value is None or value != value else value
    return {
        "row": number,
        **kept,
        "reward": finite,
        "length": sum(row["mask"] or ()),
        "text": cut(row["text"], LETTERS),
    }
