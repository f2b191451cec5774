"""DeepSeekMath's comparison at toy scale: one SFT model, one budget of sampled tokens, four ways to spend it.

    python benchmarks/iterative.py            # three seeds; writes benchmarks/iterative.json and the page
    python benchmarks/iterative.py --page     # the page alone: docs/iterative.md and its pictures

For each seed examples/iterative.py is run as it is: SFT, then twice a process reward model on automatic labels and GRPO
with process supervision by it. Its first iteration is GRPO+PS; from the same SFT model, with the same number of sampled
completions of the same prompts, come GRPO with outcome supervision by the same reward model, online RFT and RFT by the
rule. The reward model is judged against the true correctness of steps, which it never saw. What was stopped continues.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iterative_page import write_page

import groupwise as gw
from groupwise import recipes
from groupwise.evaluation.statistics import paired_difference
from groupwise.learners.device import machine
from groupwise.rewards import ModelReward
from groupwise.runs.environment import versions
from groupwise.runs.scorer_evaluation import step_evaluation
from groupwise.sinks.jsonl import read_metrics
from groupwise.sources import FrozenPolicy, as_rollout, offline_files
from groupwise.tasks.stepwise import StepRule
from groupwise.tokens.renderer import Renderer
from groupwise.types import Request, Rollout, Sampling

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = runpy.run_path(str(ROOT / "examples" / "iterative.py"))
RUN, TASK, GRPO = (EXAMPLE[name] for name in ("run", "task", "grpo"))
STEPS, PROMPTS, SAMPLES = GRPO.steps, GRPO.prompts_per_step, GRPO.algorithm.source.group_size
EVALUATE_EVERY = 2
SCORED = 2000  # of the solutions that a reward model was trained on


def others(prm: Path) -> dict[str, gw.Stage]:
    """What GRPO+PS is compared with. Each draws STEPS × PROMPTS × SAMPLES completions in all."""
    source = GRPO.algorithm.source

    def stage(algorithm: Any, task: gw.Task, **numbers: Any) -> gw.Stage:
        common = {"name": "grpo-1", "evaluate_every": EVALUATE_EVERY}  # the name says in which order prompts come
        return replace(GRPO, algorithm=algorithm, task=task, **common, **numbers)

    outcome = ModelReward(str(prm), "process", each_step=False)
    frozen = FrozenPolicy(
        samples_per_prompt=SAMPLES,
        sampling_temperature=1.0,
        max_completion_tokens=source.max_completion_tokens,
        prompts=STEPS * PROMPTS,
        select=replace(recipes.rft.source.select, duplicates="keep"),
    )
    judged = replace(TASK, rewards=(outcome,), referee=TASK.rewards)
    return {
        "GRPO+OS": stage(replace(recipes.grpo, source=source, kl=GRPO.algorithm.kl), judged),
        "Online RFT": stage(replace(recipes.online_rft, source=source), TASK),
        "RFT": stage(replace(recipes.rft, source=frozen), TASK, prompts_per_step=PROMPTS * SAMPLES),
    }


def measured(seed: int, place: Path) -> dict[str, Any]:
    stages = tuple(
        stage if stage.algorithm.trains_scorer or stage.name == "sft" else replace(stage, evaluate_every=EVALUATE_EVERY)
        for stage in RUN.stages
    )
    outcome = gw.run(replace(RUN, seed=seed, stages=stages), place / f"{seed}-run", sinks=[])
    run, found = outcome.directory, outcome.evaluations
    row: dict[str, Any] = {"seed": seed, "seconds": json.loads((run / "run.json").read_text())["seconds"]}
    row["iterations"] = [shown(found[name]) for name in ("sft", "grpo-1", "grpo-2")]
    row["prm"] = [judged(run, f"prm-{number}", policy) for number, policy in ((1, "sft"), (2, "grpo-1"))]
    row["methods"] = {"GRPO+PS": shown(found["grpo-1"]) | spent(run, "grpo-1")}
    sft, prm = run / "models" / "sft", run / "models" / "prm-1"
    for name, stage in others(prm).items():
        one = replace(RUN, name="one", seed=seed, model=str(sft), stages=(stage,))
        outcome = gw.run(one, place / f"{seed}-{name.replace(' ', '-')}", sinks=[])
        other = outcome.evaluations[stage.name]
        row["methods"][name] = shown(other) | spent(outcome.directory, stage.name)
        ahead = paired_difference(other.pass_at_1.by_problem, found["grpo-1"].pass_at_1.by_problem)
        row["ahead"] = row.get("ahead", {}) | {name: interval(ahead)}
    print(json.dumps(row), flush=True)
    return row


def spent(directory: Path, stage: str) -> dict[str, Any]:
    """Sampled tokens, and by update and tokens sampled so far the pass@1 of the quick evaluations."""
    rows = read_metrics(directory)
    total, curve = 0, []
    for row in rows:
        if row["stage"] == stage:
            total += round(row.get("tokens_per_second/sample", 0.0) * row.get("seconds/sample", 0.0))
            if "eval/pass@1" in row:
                curve.append([row["step"], total, row["eval/pass@1"]])
    return {"tokens": total, "curve": curve}


def judged(run: Path, prm: str, policy: str) -> dict[str, Any]:
    """Where a reward model's AUC comes from: against the truth on new samples for held-out questions, of the SFT model
    and of the policy whose samples it was trained on; on some of those against the truth and against its own labels;
    and those labels against the truth."""
    scorer = RUN.learner.open_scorer(run / "models" / prm)
    groups = offline_files.groups_in(run / "gathered" / f"{prm}.jsonl", TASK.train)[:SCORED]
    seen = [group.rollouts[0] for group in groups]
    labels = [rollout.rewards for rollout in seen]
    fresh = {name: samples(run / "models" / name) for name in ("sft", policy)}
    return {
        "tokens": spent(run, prm)["tokens"],
        "held_out": auc(truth(fresh["sft"]), said(scorer, fresh["sft"])),
        "held_out_policy": auc(truth(fresh[policy]), said(scorer, fresh[policy])),
        "training": auc(truth(seen), said(scorer, seen)),
        "own_labels": auc(labels, said(scorer, seen)),
        "labels": auc(truth(seen), labels),
    }


def said(scorer: Any, rollouts: Sequence[Rollout]) -> list[dict[int, float]]:
    """Scores by the token they are read at."""
    return [dict(enumerate(row)) for row in scorer.score(rollouts).tolist()]


def truth(rollouts: Sequence[Rollout]) -> list[dict[int, float]]:
    """A step is right where it and all before it are."""
    return [dict(score.steps) for score in StepRule(so_far=True).score(rollouts)]


def auc(right: Sequence[Mapping[int, float]], scores: Sequence[Mapping[int, float]]) -> dict[str, float]:
    steps = [[(y, row[at]) for at, y in own.items() if at in row] for own, row in zip(right, scores, strict=True)]
    return interval(step_evaluation("stepwise", [solution for solution in steps if solution]).measures["auc"])


def samples(policy: Path, each: int = 8) -> list[Rollout]:
    """For every held-out question."""
    learner = RUN.learner.open(policy)
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    engine = RUN.engine.open(policy, learner.live_module(), learner.tokenizer)
    prompts = [renderer.prompt(row) for row in TASK.held_out]
    requests = [Request(prompt.tokens, tuple(range(each))) for prompt in prompts]
    found = engine.generate(requests, Sampling(48, stop_tokens=renderer.stop_tokens))
    return [as_rollout(prompts[row], completion, renderer, TASK.steps) for row, _, completion in found]


def shown(evaluation: Any) -> dict[str, Any]:
    return {"pass@1": interval(evaluation.pass_at_1), "maj@16": interval(evaluation.maj_at[16])}


def interval(measure: Any) -> dict[str, float]:
    return {name: round(getattr(measure, name), 4) for name in ("value", "low", "high")}


def written(result: dict[str, Any]) -> str:
    """JSON with a line for each seed."""
    head = {name: value for name, value in result.items() if name != "seeds"}
    rows = ",\n".join(json.dumps(row) for row in result["seeds"])
    return json.dumps(head, indent=1)[:-2] + f',\n "seeds": [\n{rows}\n ]\n}}\n'


def main() -> None:
    if sys.argv[1:] == ["--page"]:
        return write_page(ROOT)
    seeds = [int(word) for word in sys.argv[1:]] or [0, 1, 2]
    rows = [measured(seed, ROOT / "runs" / "iterative-comparison") for seed in seeds]
    budget = {"completions": STEPS * PROMPTS * SAMPLES, "updates": STEPS, "problems": len(TASK.held_out)}
    result = {"machine": machine(), "versions": versions(), "budget": budget, "seeds": rows}
    (ROOT / "benchmarks" / "iterative.json").write_text(written(result))
    write_page(ROOT)


if __name__ == "__main__":
    main()
