"""Follows one rollout of a finished quickstart from prompt to gradient: benchmarks/walk.json, docs/architecture.md.

    .venv/bin/python benchmarks/walk.py [runs/quickstart]

The rollout is the first rewarded one of the first informative group of GRPO's second step (in the first, policy and
reference are one). The ledger holds it; the mathematics is done again here in float64 and must agree with the run.
"""

from __future__ import annotations

import json
import math
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from groupwise.algorithm import Outputs, Signals, gradient_coefficient
from groupwise.learning.collate import padded, place_rewards
from groupwise.ledger.files import Ledger

ROOT = Path(__file__).resolve().parents[1]


STEP = 2
PAGE = ROOT / "docs" / "architecture.md"


def main() -> None:
    """Writes both files."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "quickstart"
    recipe = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))["run"]
    stage = recipe.stages[-1]
    rows = Ledger(place / "ledger").read(stage.name, STEP)
    signals = stage.algorithm.prepare(signals_of(rows))
    found = gradient_coefficient(stage.algorithm, signals, Outputs(column(rows, "logprobs")))
    assert signals.counts is not None
    count = float(signals.counts.sum())
    index = next(i for i, row in enumerate(rows) if row["advantages"][0] > 0)
    row = rows[index]
    coefficients = (found.cotangent.logprobs[index, : len(row["tokens"])] / count).tolist()
    gap = max(abs(a - b) for a, b in zip(coefficients, row["coefficients"], strict=True))
    assert gap < 1e-6, f"the run's coefficients differ by {gap}"
    tokenizer = AutoTokenizer.from_pretrained(place / "models" / stage.name)
    chosen = [r for r in rows if r["group"] == row["group"]]
    walk: dict[str, Any] = {
        "command": "python benchmarks/walk.py",
        "example": row["example"],
        "prompt": [tokenizer.decode([token]) for token in row["prompt_tokens"]],
        "completion": [tokenizer.decode([token]) for token in row["tokens"]],
        "tokens": row["tokens"],
        "prompts_per_step": stage.prompts_per_step,
        "group_size": stage.algorithm.source.group_size,
        "B": len(rows),
        "T": signals.mask.shape[1],
        "P": max(len(r["prompt_tokens"]) for r in rows),
        "vocabulary": len(tokenizer),
        "hidden": recipe.model.hidden_size,
        "beta": stage.algorithm.kl.coefficient,
        "rewards": [r["reward"] for r in chosen],
        "advantages": [r["advantages"][0] for r in chosen],
        "behavior_logprobs": row["behavior_logprobs"],
        "logprobs": row["logprobs"],
        "reference_logprobs": row["reference_logprobs"],
        "engine_learner_gap": max(abs(a - b) for a, b in zip(row["behavior_logprobs"], row["logprobs"], strict=True)),
        "count": count,
        "coefficients": coefficients,
        "recomputed_gap": gap,
    }
    (ROOT / "benchmarks" / "walk.json").write_text(json.dumps(walk, indent=1) + "\n")
    page = re.sub(
        "(<!-- walk -->\n).*?(<!-- /walk -->)",
        lambda m: f"{m[1]}{told(walk)}\n{m[2]}",
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    PAGE.write_text(page)
    print(told(walk))


def told(walk: dict[str, Any]) -> str:
    """The page's section."""
    w, length = walk, len(walk["tokens"])
    advantage, beta, worst = w["advantages"][w["rewards"].index(1.0)], w["beta"], w["engine_learner_gap"]
    columns = list(zip(w["completion"], w["logprobs"], w["reference_logprobs"], w["coefficients"], strict=True))
    table = "\n".join(f"| `{json.dumps(t)}` | {a:.4f} | {r:.4f} | {c:.3e} |" for t, a, r, c in columns)
    first = w["coefficients"][0]
    by_hand = (advantage + beta * (math.exp(w["reference_logprobs"][0] - w["logprobs"][0]) - 1)) / length / w["count"]
    return WALK.format(
        w=w,
        length=length,
        rewards=" ".join(f"{reward:g}" for reward in w["rewards"]),
        advantages=" ".join(f"{value:.4f}" for value in w["advantages"]),
        advantage=advantage,
        table=table,
        worst=worst,
        first=first,
        by_hand=by_hand,
        prompt="".join(w["prompt"]),
        prompt_pieces=" ".join(f"`{json.dumps(piece)}`" for piece in w["prompt"]),
        mean=sum(w["rewards"]) / len(w["rewards"]),
        weight=1 / length,
        prompt_length=len(w["prompt"]),
    )


WALK = """\
**1. Draw** (`sources/on_policy.py`, `OnPolicy.draw`). Step 2 of the GRPO stage takes {w[prompts_per_step]} prompts. One of them is
row `{w[example]}`. The renderer (`tokens/renderer.py`) makes it {prompt_length} tokens, once: {prompt_pieces}.

**2. Sample** (`engines/cpp.py`). The prompt is computed once; its keys and values are read by all
{w[group_size]} completions, each with a random stream of its own. The engine returns ids and the log-probability that
each id had when it was drawn. One completion is {length} tokens long; the longest of the {w[B]} is T = {w[T]}, so every
tensor below is `[B, T]` = `[{w[B]}, {w[T]}]`. What was sampled is what is trained, id for id.

**3. Score** (`rewards/scoring.py`). The rule reads the text and puts one reward on the last sampled token. The group's
rewards: {rewards}.

**4. Advantage** (`algorithm/advantages.py`, `GroupRelative`). The mean is {mean:.4f}; divided by the standard deviation
(Bessel's) the group's advantages are {advantages}. Ours has {advantage:.4f}, at every token.

**5. Weights** (`algorithm/aggregation.py`, `SequenceMean`). Each of its tokens weighs 1/{length} = {weight:.5f}; a row
counts 1, so the step divides by {w[count]:g} in the end.

**6. Forward** (`networks/trunk.py`, `learners/logprobs.py`). Rows go through the network in micro-batches of at most
`tokens_per_micro_batch` tokens, one after the other without padding: {w[group_size]} completions of this group stand
behind one copy of their prompt. Of the hidden states `[tokens, {w[hidden]}]` only those that predict a sampled token meet
the output matrix, `[n, {w[hidden]}]` × `[{w[hidden]}, {w[vocabulary]}]`, a chunk at a time. Out come log-probabilities
`[b, T]`. They agree with the engine's to {worst:.1e} in this rollout.

**7. Coefficient** (`algorithm/algorithm.py`, `gradient_coefficient`). A leaf with the values of the log-probabilities goes
through the objective of eq. 3; its gradient is GC. With one update a draw π_old is π_θ, and the result is the paper's
eq. 21 over the normalisers: (A + β(π_ref/π_θ - 1)) / |o| / B. For the first token that is
({advantage:.4f} + {w[beta]} · (π_ref/π_θ - 1)) / {length} / {w[count]:g} = {by_hand:.6e}, and the run wrote {first:.6e}.

| token | log π_θ | log π_ref | coefficient |
|---|---|---|---|
{table}

**8. Backward** (`learners/local.py`, `accumulate`). `logprobs.backward(-GC)`: the one minus sign of the project turns the
objective that is maximised into the gradient that an optimizer descends.

**9. Step** (`learners/local.py`, `step`). The accumulated gradient is divided by {w[count]:g}, clipped to norm 1, and AdamW
updates the parameters in place. The engine samples from the same memory, so the next draw needs no copy.

**10. Keep** (`runs/stage_recorder.py`, `ledger/files.py`). Ids, log-probabilities, reward, advantage and coefficients of all {w[B]} rollouts go
to `ledger/grpo/000002.parquet`. Computed again from there in float64, the coefficients differ by at most
{w[recomputed_gap]:.0e}."""


def column(rows: list[dict[str, Any]], name: str) -> torch.Tensor:
    """``[B, T]`` float64 of a ragged one."""
    return padded([row[name] for row in rows])


def signals_of(rows: list[dict[str, Any]]) -> Signals:
    """What the ledger knows of a draw, as the mathematics wants it."""
    mask = column(rows, "mask").bool()
    places = [dict(zip(row["reward_tokens"], row["reward_values"], strict=True)) for row in rows]
    rewards, rewarded = place_rewards(places, mask.shape[1])
    has_reference = rows[0]["reference_logprobs"] is not None
    return Signals(
        mask=mask,
        group=torch.tensor([row["group"] for row in rows]),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([row["finished"] for row in rows]),
        behavior_logprobs=column(rows, "behavior_logprobs"),
        reference_logprobs=column(rows, "reference_logprobs") if has_reference else None,
    )


if __name__ == "__main__":
    main()
