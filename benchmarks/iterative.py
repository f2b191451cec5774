"""DeepSeekMath's comparison at toy scale: one SFT model, one budget of sampled tokens, four ways to spend it.

    python benchmarks/iterative.py            # three seeds; writes benchmarks/iterative.json and docs/iterative.md
    python benchmarks/iterative.py --page     # the page alone

For each seed: SFT, then a process reward model on automatic labels (examples/iterative.py). From the same SFT model,
with the same number of sampled completions: GRPO with process supervision and with outcome supervision by that reward
model, online RFT and RFT by the rule. The reward model is judged against the true correctness of steps, which it never
saw.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import groupwise as gw
from groupwise import recipes
from groupwise.learners.local import machine
from groupwise.render import Renderer
from groupwise.rewards import ModelReward
from groupwise.runs import versions
from groupwise.scorer_evaluation import step_evaluation
from groupwise.sources import AllRollouts, FrozenPolicy, as_rollout
from groupwise.tasks.stepwise import StepRule
from groupwise.types import Request, Sampling

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = runpy.run_path(str(ROOT / "examples" / "iterative.py"))
RUN, TASK, GRPO, PRM = (EXAMPLE[name] for name in ("run", "task", "grpo", "prm"))
STEPS, PROMPTS, SAMPLES = GRPO.steps, GRPO.prompts_per_step, GRPO.algorithm.source.group_size


def methods(prm: str) -> dict[str, gw.Stage]:
    """Each draws STEPS × PROMPTS × SAMPLES completions in all."""
    source, kl = GRPO.algorithm.source, GRPO.algorithm.kl

    def stage(algorithm: Any, task: gw.Task, **numbers: Any) -> gw.Stage:
        return replace(GRPO, algorithm=algorithm, task=task, evaluate_every=0, **numbers)

    learned = {each: ModelReward(prm, "process", each_step=each) for each in (True, False)}
    judged = {each: replace(TASK, rewards=(reward,), referee=TASK.rewards) for each, reward in learned.items()}
    frozen = FrozenPolicy(
        samples_per_prompt=SAMPLES,
        sampling_temperature=1.0,
        max_completion_tokens=source.max_completion_tokens,
        prompts=STEPS * PROMPTS,
        select=replace(recipes.rft.source.select, duplicates="keep"),
    )
    assert not isinstance(frozen.select, AllRollouts)
    return {
        "GRPO+PS": stage(replace(recipes.grpo_process, source=source, kl=kl), judged[True]),
        "GRPO+OS": stage(replace(recipes.grpo, source=source, kl=kl), judged[False]),
        "Online RFT": stage(replace(recipes.online_rft, source=source), TASK),
        "RFT": stage(replace(recipes.rft, source=frozen), TASK, prompts_per_step=PROMPTS * SAMPLES),
    }


def against_truth(policy: Path, prm: Path, samples: int = 8) -> dict[str, Any]:
    """The reward model on samples for held-out questions; a step is right where it and all before it are."""
    learner, scorer = RUN.learner.open(policy), RUN.learner.open_scorer(prm)
    renderer, engine = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens), RUN.engine.open(learner.model)
    prompts = [renderer.prompt(row) for row in TASK.held_out]
    requests = [Request(prompt.tokens, tuple(range(samples))) for prompt in prompts]
    found = engine.generate(requests, Sampling(48, stop_tokens=renderer.stop_tokens))
    rollouts = [as_rollout(prompts[row], completion, renderer, TASK.steps) for row, _, completion in found]
    scores, truth = scorer.score(rollouts), StepRule(so_far=True).score(rollouts)
    steps = [[(y, float(row[at])) for at, y in said.steps.items()] for row, said in zip(scores, truth, strict=True)]
    return step_evaluation("stepwise", [solution for solution in steps if solution]).to_json()


def measured(seed: int, place: Path) -> dict[str, Any]:
    started = time.time()
    base = replace(RUN, name="base", seed=seed, stages=(RUN.stages[0], replace(PRM, evaluate_every=0)))
    outcome = gw.run(base, place / f"{seed}-base", fresh=True, sinks=[])
    sft, prm = (outcome.directory / "models" / name for name in ("sft", "prm"))
    row: dict[str, Any] = {"seed": seed, "base_seconds": round(time.time() - started, 1)}
    row["prm_against_truth"] = against_truth(sft, prm)["measures"]
    row["sft"] = shown(outcome.evaluations["sft"])
    for name, stage in methods(str(prm)).items():
        begun = time.time()
        one = replace(RUN, name="one", seed=seed, model=str(sft), stages=(stage,))
        found = gw.run(one, place / f"{seed}-{stage.algorithm.advantage.__class__.__name__}", fresh=True, sinks=[])
        row[name] = shown(found.evaluations[stage.name]) | {"seconds": round(time.time() - begun, 1)}
        print(seed, name, row[name], flush=True)
    return row


def shown(evaluation: Any) -> dict[str, Any]:
    measures = {"pass@1": evaluation.pass_at_1, "maj@16": evaluation.maj_at[16], "pass@16": evaluation.pass_at[16]}
    return {name: {"value": m.value, "low": m.low, "high": m.high} for name, m in measures.items()}


def page(result: dict[str, Any]) -> str:
    """docs/iterative.md: a table, a picture of the intervals, and what they show."""
    seeds, budget, where = result["seeds"], result["budget"], result["machine"]
    rows = ["| | " + " | ".join(f"seed {row['seed']}" for row in seeds) + " |", "|---|" + "---|" * len(seeds)]
    for name in COMPARED:
        cells = [interval(row[name]["pass@1"]) for row in seeds]
        rows.append(f"| {'SFT' if name == 'sft' else name} | {' | '.join(cells)} |")
    aucs = ", ".join(interval(row["prm_against_truth"]["auc"]) for row in seeds)
    text = (
        f"pass@1 on {len(TASK.held_out)} held-out questions, 16 samples each, with 95 % intervals over questions. "
        f"Each method sampled {budget['completions']:,} completions and made {budget['updates']} updates, from one "
        "SFT model; the reward model's own samples come on top. GRPO+PS and GRPO+OS never see the rule: they listen to "
        "a process reward model whose labels are automatic. Online RFT and RFT are trained on the rule itself."
    )
    truth = f"The reward model against the true correctness of steps (right so far), AUC by seed: {aucs}."
    machine_words = f"{where['cores']} cores of {where['cpu']}"
    made = f"From `benchmarks/iterative.json` (`python benchmarks/iterative.py`), {machine_words}."
    return "\n\n".join(
        [
            "# Four ways to spend the same samples",
            text,
            "\n".join(rows),
            "![pass@1 by method and seed](iterative.svg)",
            truth,
            made,
        ]
    )


COMPARED = ("sft", "RFT", "Online RFT", "GRPO+OS", "GRPO+PS")


def interval(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"


def picture(result: dict[str, Any]) -> str:
    """A row for each method and seed: its interval, and a dot at its pass@1."""
    left, width, pitch = 110, 480, 16
    parts, y = [], 20
    for name in COMPARED:
        parts.append(f'<text x="{left - 10}" y="{y + pitch + 4}" text-anchor="end">{name.replace("sft", "SFT")}</text>')
        for row in result["seeds"]:
            m = row[name]["pass@1"]
            low, high, value = (left + width * m[key] for key in ("low", "high", "value"))
            parts.append(
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/><circle cx="{value:.1f}" cy="{y}" r="3.5"/>'
            )
            y += pitch
        y += pitch // 2
    for tick in range(0, 11, 2):
        x = left + width * tick / 10
        parts.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{tick / 10:g}</text>')
    style = "text{font:12px sans-serif;fill:#7a8390}line{stroke:#3b82c4;stroke-width:2}circle{fill:#3b82c4}"
    size = f'width="{left + width + 30}" height="{y + 28}" viewBox="0 0 {left + width + 30} {y + 28}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{"".join(parts)}</svg>\n'


def write_page() -> None:
    result = json.loads((ROOT / "benchmarks" / "iterative.json").read_text())
    (ROOT / "docs" / "iterative.md").write_text(page(result) + "\n")
    (ROOT / "docs" / "iterative.svg").write_text(picture(result))


def main() -> None:
    if sys.argv[1:] == ["--page"]:
        return write_page()
    seeds = [int(word) for word in sys.argv[1:]] or [0, 1, 2]
    rows = [measured(seed, ROOT / "runs" / "iterative-comparison") for seed in seeds]
    budget = {"completions": STEPS * PROMPTS * SAMPLES, "updates": STEPS}
    result = {"machine": machine(), "versions": versions(), "budget": budget, "seeds": rows}
    (ROOT / "benchmarks" / "iterative.json").write_text(json.dumps(result, indent=1) + "\n")
    write_page()


if __name__ == "__main__":
    main()
