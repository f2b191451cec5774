"""A process reward model on real step labels and an outcome model on real pairs: do they beat guessing?

    python benchmarks/real_rewards.py DATA [SEED ...]   # benchmarks/real_rewards.json and docs/real-rewards.md
    python benchmarks/real_rewards.py --page            # the page alone

DATA holds the public files that real_data.py names. For each seed one run: a small new model learns the language of the
solutions, then its trunk begins two scorers. Both are judged on questions that no stage has seen, beside random scores,
the commoner label, and controls that know next to nothing of the solution. Three seeds
unless named.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from real_data import RealData, Solution, pieces, read, text_of
from real_measures import pair_measures, step_measures
from real_page import page

import groupwise as gw
from groupwise import recipes
from groupwise.engines.lazy import Lazy
from groupwise.learners.device import machine
from groupwise.learners.scorer import ScorerLearner
from groupwise.runs.environment import versions
from groupwise.runs.scorer_evaluation import held_out_groups
from groupwise.tasks import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.stage import draw_context
from groupwise.types import flatten

ROOT = Path(__file__).resolve().parents[1]
RESULT, PAGE = ROOT / "benchmarks" / "real_rewards.json", ROOT / "docs" / "real-rewards.md"


def recipe(data: RealData, seed: int, size: int = 64, layers: int = 2, scale: float = 1.0) -> gw.Run:
    """``scale`` shortens every stage."""

    def stage(name: str, algorithm: gw.Algorithm, task: Task, steps: int, rate: float) -> gw.Stage:
        steps = max(2, round(scale * steps))
        plan = {"warmup_steps": min(20, steps // 2), "schedule": "cosine", "checkpoint_every": 0, "start": "sft"}
        return gw.Stage(name, algorithm, task, steps, learning_rate=rate, **plan)

    language = Task("solutions", data.language)
    sft = replace(stage("sft", recipes.sft, language, 150, 5e-3), start="last")
    steps, pairs = Task("step labels", data.steps[0], held_out=data.steps[1]), Task("pairs", data.pairs[0])
    return gw.Run(
        name="real-rewards",
        model=gw.NewModel(
            hidden_size=size,
            layers=layers,
            intermediate_size=3 * size,
            context_tokens=4096,
            initializer_range=0.05,
            pieces=pieces(map(text_of, data.language), 2000),
        ),
        stages=(
            sft,
            stage("prm", recipes.process_reward_model, steps, 125, 2e-3),
            stage("orm", recipes.reward_model, replace(pairs, held_out=data.pairs[1]), 120, 1e-3),
        ),
        learner=gw.Local(threads=1, weight_decay=0.1),
        evaluation=gw.HeldOut(problems=len(data.steps[1]) + len(data.pairs[1])),
        seed=seed,
    )


def measured(data: RealData, run: gw.Run, place: Path) -> dict[str, Any]:
    """One run, its scorers' own evaluations, and what stands beside them. A run that lies there is only judged."""
    outcome = gw.run(run, place, sinks=[])
    prm, orm = (open_scorer(run, outcome.directory / "models" / name) for name in ("prm", "orm"))
    return {
        "seed": run.seed,
        "evaluations": {name: found.to_json() for name, found in outcome.scorers.items()},
        "steps": step_measures(data.steps[0], score_steps(run, prm)),
        "pairs": pair_measures(*data.solutions, score_solutions(orm, data.solutions[1])),
        "headlines": [found.headline() for found in outcome.scorers.values()],
        "skipped": skipped(outcome.directory),
        "sft_loss": language_loss(outcome.directory),
        "seconds": json.loads((outcome.directory / "run.json").read_text())["seconds"],
    }


def open_scorer(run: gw.Run, directory: Path) -> ScorerLearner:
    return run.learner.open_scorer(directory)


def renderer_of(scorer: ScorerLearner) -> Renderer:
    return Renderer(scorer.tokenizer, eos_tokens=scorer.stop_tokens)


def score_steps(run: gw.Run, scorer: ScorerLearner) -> list[tuple[Any, list[tuple[float, float]]]]:
    """Each held-out row with ``(label, logit)`` of its steps in order."""

    def nothing_to_sample() -> Any:
        raise RuntimeError("labelled steps need no sampling")

    stage = next(stage for stage in run.stages if stage.name == "prm")
    world = draw_context(stage, renderer_of(scorer), Lazy(scorer.context_tokens, nothing_to_sample), run.seed)
    rollouts = flatten(held_out_groups(stage, world, len(stage.task.held_out)))
    scores = scorer.score(rollouts)
    return [
        (rollout.prompt.example, [(label, float(row[at])) for at, label in rollout.rewards.items()])
        for rollout, row in zip(rollouts, scores, strict=True)
    ]


def score_solutions(scorer: ScorerLearner, questions: list[list[Solution]]) -> list[list[tuple[float, int]]]:
    """Of each solution its score, after its last token, and its tokens."""
    renderer = renderer_of(scorer)
    rollouts = [renderer.demonstration(solution.example) for question in questions for solution in question]
    scores = scorer.score(rollouts)
    flat = iter(
        [
            (float(row[len(rollout.tokens) - 1]), len(rollout.tokens))
            for rollout, row in zip(rollouts, scores, strict=True)
        ]
    )
    return [[next(flat) for _ in question] for question in questions]


def language_loss(directory: Path) -> dict[str, float]:
    """Nats a token, in the first and over the last ten steps of the first stage."""
    losses = [line["loss"] for line in metrics(directory) if line["stage"] == "sft" and "loss" in line]
    return {"first": losses[0], "last": sum(losses[-10:]) / len(losses[-10:])}


def skipped(directory: Path) -> dict[str, float]:
    """What all stages passed over or merged, by the name of its metric."""
    names = ("prompts_too_long", "pairs_equal", "steps/rewritten", "steps/merged")
    lines = metrics(directory)
    return {name: sum(line.get(name, 0.0) for line in lines) for name in names}


def metrics(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def plan(run: gw.Run) -> dict[str, Any]:
    """The sizes that the page tells of."""
    assert isinstance(run.model, gw.NewModel)
    width, layers = run.model.hidden_size, run.model.layers
    stages = {stage.name: [stage.steps, stage.prompts_per_step, stage.learning_rate] for stage in run.stages}
    return {"hidden_size": width, "layers": layers, "pieces": len(run.model.pieces), "stages": stages}


def counted(data: RealData) -> dict[str, Any]:
    """How much of what there is."""
    sides = ("train", "held_out")
    steps = {
        side: [label for row in rows for label in row.columns["labels"]]
        for side, rows in zip(sides, data.steps, strict=True)
    }
    return {
        "language_rows": len(data.language),
        "solutions": {side: len(rows) for side, rows in zip(sides, data.steps, strict=True)},
        "steps": {side: {"all": len(labels), "right": sum(labels)} for side, labels in steps.items()},
        "pairs": {side: len(rows) for side, rows in zip(sides, data.pairs, strict=True)},
        "questions": {side: len(rows) for side, rows in zip(sides, data.solutions, strict=True)},
        "left_out": dict(data.left_out),
    }


def main() -> None:
    if sys.argv[1:] != ["--page"]:
        if len(sys.argv) < 2:
            raise SystemExit(f"usage: python {sys.argv[0]} DATA [SEED ...], or --page")
        data, seeds = read(Path(sys.argv[1])), [int(word) for word in sys.argv[2:]] or [0, 1, 2]
        result: dict[str, Any] = {"machine": machine(), "versions": versions(), "data": counted(data)}
        result |= {"plan": plan(recipe(data, 0)), "seeds": []}
        for seed in seeds:
            run = recipe(data, seed)
            result["seeds"].append(measured(data, run, ROOT / "runs" / f"real-rewards-{seed}"))
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
            print(seed, *result["seeds"][-1]["headlines"], sep="\n", flush=True)
    PAGE.write_text(page(json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
