"""More of a real chat model: word problems (SVAMP), and reward models on its trunk. Parts of ``realmodel.py``.

    python benchmarks/realmodel.py --only svamp --data DATA      # examples/svamp.py, before, between and after
    python benchmarks/realmodel.py --only rewards --data DATA    # real_rewards.py's sets, SmolLM2 as the trunk

DATA holds public files in folders, as real_data.py names them, and svamp/SVAMP.json.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEED = 0


def svamp_options(data: Path, short: bool) -> list[str]:
    """Of ``examples/svamp.py``; with ``short`` three steps of each stage."""
    files = ["--svamp", str(data / "svamp" / "SVAMP.json"), "--gsm8k", str(data / "gsm8k" / "train.jsonl")]
    few = ["--sft.steps", "3", "--grpo.steps", "3", "--evaluation.problems", "16", "--evaluation.sampled_problems", "4"]
    return [*files, *(few if short else [])]


def rewards(data: Path, model: Path, short: bool) -> dict[str, Any]:
    """A process reward model and an outcome model, both on the trunk of ``model``, against the plain baselines."""
    import real_rewards
    from real_data import read

    rows = read(data, 40 if short else None)
    recipe = on_trunk(real_rewards.recipe(rows, SEED), model, steps=3 if short else None)
    place = ROOT / "runs" / f"rewards-smollm2-{'short' if short else SEED}"
    started = time.perf_counter()
    found = real_rewards.measured(rows, recipe, place)
    stages = {stage.name: [stage.steps, stage.prompts_per_step, stage.learning_rate] for stage in recipe.stages}
    return found | {"stages": stages, "seconds": round(time.perf_counter() - started, 1), "short": short}


def on_trunk(recipe: Any, model: Path, steps: int | None = None) -> Any:
    """The same stages with a model that has read more, each from it as it was fetched; none learns the language."""
    stages = [
        replace(stage, start="first", learning_rate=2e-5, steps=steps or stage.steps, warmup_steps=min(10, steps or 10))
        for stage in recipe.stages
        if stage.name != "sft"
    ]
    learner = replace(recipe.learner, threads=0, weight_decay=0.0)
    return replace(recipe, name="real-rewards-smollm2", model=str(model), stages=tuple(stages), learner=learner)


def rewards_page(found: dict[str, Any]) -> list[str]:
    """The part of docs/real-model.md on reward models: verdicts first, then both tables."""
    import real_page

    return [
        "### Reward models on its trunk",
        "",
        *(f"- {line}" for line in real_page.verdicts([found])),
        "",
        real_page.step_table(found),
        "",
        real_page.pair_table(found),
        "",
        f"{found['seconds'] / 60:.0f} minutes, seed {found['seed']}; the sets, the baselines and how each is measured: "
        "[real-rewards.md](real-rewards.md), whose own model was new and small.",
    ]


def svamp_page(found: dict[str, Any]) -> list[str]:
    """The part of docs/real-model.md on word problems: every model that was measured, with intervals."""
    lines = [
        "### Word problems",
        "",
        "| SVAMP, 300 held-out problems | greedy | Pass@1 | Pass@8 | Maj@8 |",
        "|" + "---|" * 5,
    ]
    for model, measures in found["models"].items():
        shown = (measures[kind] for kind in ("greedy", "pass@1", "pass@K", "maj@K"))
        cells = [f"{each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in shown]
        lines.append("| " + " | ".join([model, *cells]) + " |")
    return [*lines, "", f"{found['seconds'] / 60:.0f} minutes, seed {found['seed']}."]


def svamp_measures(directory: Path) -> dict[str, Any]:
    """Of every model that a run evaluated: greedy, Pass@1, Pass@K and Maj@K, with intervals."""
    from groupwise.evaluation.evaluate import Evaluation

    kept = json.loads((directory / "evaluation.json").read_text())["models"]
    found = {}
    for each in kept:
        measured = Evaluation.from_json(each["evaluation"] | {"seconds": 0.0})
        parts = {"greedy": measured.greedy, "pass@1": measured.pass_at_1}
        parts |= {"pass@K": measured.pass_at[max(measured.pass_at)], "maj@K": measured.maj_at[max(measured.maj_at)]}
        found[each["stage"]] = {
            name: {side: round(getattr(part, side), 4) for side in ("value", "low", "high")}
            for name, part in parts.items()
        }
    return found
