"""Follows one rollout of a finished quickstart from prompt to gradient and writes benchmarks/walk.json.

    .venv/bin/python benchmarks/walk.py [runs/quickstart]

Every number in docs/architecture.md comes from that file. The group is the first informative one of GRPO's first step;
the ledger holds it, and the mathematics is done again here, in float64, and must agree with what the run did.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from groupwise.algorithm import Outputs, Signals, gradient_coefficient
from groupwise.ledger import Ledger

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Writes the walk and prints it."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "quickstart"
    stage = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))["run"].stages[-1]
    rows = Ledger(place / "ledger").read(stage.name, 1)
    group = next(row["group"] for row in rows if row["advantages"][0] != 0)
    chosen = [row for row in rows if row["group"] == group]
    signals = signals_of(rows)
    prepared = stage.algorithm.prepare(signals)
    outputs = Outputs(padded(rows, "logprobs"))
    found = gradient_coefficient(stage.algorithm, prepared, outputs)
    count = float(prepared.counts.sum())  # type: ignore[union-attr]
    index = next(i for i, row in enumerate(rows) if row["group"] == group and row["advantages"][0] > 0)
    row, length = rows[index], len(rows[index]["tokens"])
    coefficients = (found.cotangent.logprobs[index, :length] / count).tolist()
    gap = max(abs(a - b) for a, b in zip(coefficients, row["coefficients"], strict=True))
    assert gap < 1e-6, f"the run's coefficients differ by {gap}"
    walk: dict[str, Any] = {
        "command": "python benchmarks/walk.py",
        "example": row["example"],
        "text": row["text"],
        "prompt_tokens": row["prompt_tokens"],
        "tokens": row["tokens"],
        "behavior_logprobs": [round(x, 4) for x in row["behavior_logprobs"]],
        "engine_learner_gap": max(abs(a - b) for a, b in zip(row["behavior_logprobs"], row["logprobs"], strict=True)),
        "shapes": {
            "rollouts, longest completion": list(signals.mask.shape),
            "rewards of the group": [r["reward"] for r in chosen],
        },
        "advantages of the group": [round(r["advantages"][0], 4) for r in chosen],
        "weight of a token": 1 / length,
        "count": count,
        "reference_logprobs": [round(x, 4) for x in row["reference_logprobs"] or []],
        "coefficients": [round(x, 8) for x in coefficients],
    }
    (ROOT / "benchmarks" / "walk.json").write_text(json.dumps(walk, indent=1) + "\n")
    print(json.dumps(walk, indent=1))


def padded(rows: list[dict[str, Any]], name: str) -> torch.Tensor:
    """``[B, T]`` float64 of a ragged column."""
    lists = [torch.tensor(row[name], dtype=torch.float64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(lists, batch_first=True)


def signals_of(rows: list[dict[str, Any]]) -> Signals:
    """What the ledger knows of a draw, as the mathematics wants it."""
    mask = padded(rows, "mask").bool()
    rewards = torch.zeros(mask.shape, dtype=torch.float64)
    for index, row in enumerate(rows):
        for place, value in zip(row["reward_tokens"], row["reward_values"], strict=True):
            rewards[index, place] = value
    has_reference = rows[0]["reference_logprobs"] is not None
    last = mask.sum(dim=1) - 1
    rewarded = torch.zeros_like(mask)
    rewarded[torch.arange(len(rows)), last] = True
    return Signals(
        mask=mask,
        group=torch.tensor([row["group"] for row in rows]),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([row["finished"] for row in rows]),
        behavior_logprobs=padded(rows, "behavior_logprobs"),
        reference_logprobs=padded(rows, "reference_logprobs") if has_reference else None,
    )


if __name__ == "__main__":
    main()
