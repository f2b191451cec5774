"""Runs examples/process.py and writes what it showed: benchmarks/process.json, and docs/process-supervision.md from it.

python benchmarks/process.py [--run DIR]      a run that is there already

Learning rates are compared by pass@1 on questions that judge nothing: held-out ones that are not among those of the
run's own evaluation. Two more trainings say why greedy answers suffer: one on rewards that a coin draws, and one that
begins with a model which has seen twice as many demonstrations.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "process.py"
RESULT, PAGE = ROOT / "benchmarks" / "process.json", ROOT / "docs" / "process-supervision.md"
TEXT = Path(__file__).with_name("process_page.md")
RATES = (1e-4, 2e-4, 6e-4)
CHOICE_SEED, DRAWN = 1, 1018
"""Of the rows that are chosen by, and how many held-out questions the level has."""
LONGER = 800
"""Steps of demonstrations, in place of the example's 400."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="runs/process", help="the run's directory; made where it is not there")
    directory = Path(parser.parse_args().run)
    if not (directory / "run.json").exists():
        from groupwise.cli import main as groupwise

        groupwise(["run", str(EXAMPLE), "--out", str(directory)])
    recipe = runpy.run_path(str(EXAMPLE))["run"]
    result = measured(directory) | {"seed": recipe.seed, "beside": beside(recipe, directory)}
    result["learning_rate"] = recipe.stages[-1].learning_rate
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")
    print(f"wrote {RESULT} and {PAGE}")
    return 0


def coin(completions: list[str], **columns: Any) -> list[float]:
    """A reward that knows nothing."""
    return [float(random.random() < 0.3) for _ in completions]


def beside(recipe: Any, directory: Path) -> dict[str, Any]:
    """What each learning rate makes of the run's first stage, and the two controls, all on the questions of choice."""
    import groupwise as gw
    from groupwise.commands.models import open_model
    from groupwise.evaluation.evaluate import evaluate
    from groupwise.rewards import as_reward

    first, last = recipe.stages
    place = directory.parent / "v"
    rows = questions(first.task)
    task = replace(first.task, held_out=rows)
    quiet = replace(recipe.evaluation, problems=0)

    def of(model: Path) -> dict[str, Any]:
        found = evaluate(*open_model(str(model)), task, len(rows), 1, 0, max_tokens=48)
        return measures(found.to_json())

    def trained(name: str, stage: Any, model: Any) -> Path:
        run = gw.Run(name, model, (stage,), learner=recipe.learner, evaluation=quiet, evaluate_first=False)
        return gw.run(run, place / name).model

    start = directory / "models" / first.name
    rates = {}
    for rate in RATES:
        stage = replace(last, name="s", learning_rate=rate)
        rates[f"{rate:g}"] = of(trained(f"process-{rate}-20", stage, str(start)))
    random_task = replace(first.task, rewards=(as_reward(coin),), referee=first.task.rewards)
    by_coin = replace(last, name="s", task=random_task, algorithm=replace(gw.recipes.grpo, **slots(last.algorithm)))
    drawn = of(trained("coin-2e-4-20", by_coin, str(start)))
    longer = gw.run(
        replace(recipe, name="sft800", stages=(replace(first, steps=LONGER),), evaluation=quiet), place / "sft800"
    )
    after = trained("process-2e-4-20-sft800", replace(last, name="s"), str(longer.model))
    controls = {"coin": drawn, "longer": of(longer.model), "after_longer": of(after)}
    return {"start": of(start), "rates": rates, **controls, "questions": len(rows), "rows_seed": CHOICE_SEED}


def slots(algorithm: Any) -> dict[str, Any]:
    """What the controls share with the example."""
    return {"source": algorithm.source, "kl": algorithm.kl}


def questions(task: Any) -> tuple[Any, ...]:
    """Held-out questions that are not among the task's own held-out rows, each once."""
    import groupwise as gw

    judging = {row.prompt for row in task.held_out}
    drawn = {row.prompt: row for row in gw.tasks.stepwise(level=1, seed=CHOICE_SEED, held_out_size=DRAWN).held_out}
    return tuple(row for prompt, row in drawn.items() if prompt not in judging)


def measured(directory: Path) -> dict[str, Any]:
    """Accuracies before and after, and the first step's rollouts under both kinds of supervision."""
    from groupwise import recipes
    from groupwise.explain import compute, contrast, select, step_rows

    evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    *_, rows = step_rows(directory, "process", 1)
    found, flat = {}, {}
    for name in ("grpo_process", "grpo"):
        drawn = select(rows, vars(recipes)[name], str(directory))
        responses = compute(vars(recipes)[name], drawn.case, name).responses()
        numbered = [row for group in drawn.rows for row in group]
        found[name] = {row: list(one.advantages) for row, one in zip(numbered, responses, strict=True)}
        flat[name] = [value for one in responses for value in one.coefficients]
    paired = evaluation["comparison"]
    return {
        "accuracy": {one["stage"]: measures(one["evaluation"]) for one in evaluation["models"]},
        "paired": {kind: {key: paired[kind][key] for key in ("value", "low", "high")} for kind in KINDS},
        "problems": evaluation["models"][0]["evaluation"]["problems"],
        "cosine": contrast(flat["grpo_process"], flat["grpo"]).cosine,
        "rollouts": len(rows),
        "lines": lines(directory, rows, found),
    }


KINDS = ("greedy", "pass_at_1")


def measures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Greedy and sampled accuracy with their intervals."""
    return {kind: {name: evaluation[kind][name] for name in ("value", "low", "high")} for kind in KINDS}


def lines(directory: Path, rows: Any, found: dict[str, dict[int, list[float]]]) -> list[dict[str, Any]]:
    """Line by line, the first completion of which one step is wrong and not the first."""
    from groupwise.learners.loading import load_tokenizer

    tokenizer = load_tokenizer(directory / "models" / "process")
    for number, row in enumerate(rows):
        scores = list(row["reward_values"])
        if len(scores) > 2 and scores[0] == 1.0 and 0.0 in scores:
            starts = [0, *(end + 1 for end in row["reward_tokens"])]
            return [
                {
                    "text": tokenizer.decode(row["tokens"][start : end + 1]).strip(),
                    "score": score,
                    **{name: round(found[name][number][end], 4) for name in found},
                }
                for start, end, score in zip(starts, row["reward_tokens"], scores, strict=False)
            ]
    raise SystemExit("no completion of the first step has a right step before a wrong one")


def page(result: dict[str, Any]) -> str:
    """The page, from its text and the numbers."""
    table = "\n".join(
        f"| `{line['text']}` | {line['score']:g} | {line['grpo_process']:+.3f} | {line['grpo']:+.3f} |"
        for line in result["lines"]
    )
    numbers = {
        "table": table,
        "cosine": f"{result['cosine']:.3f}",
        "seed": str(result["seed"]),
        "rate": f"{result['learning_rate']:g}",
    }
    for stage, kinds in result["accuracy"].items():
        numbers |= {f"{stage}_{kind}": shown(value) for kind, value in kinds.items()}
    numbers |= {f"paired_{kind}": change(value) for kind, value in result["paired"].items()}
    numbers |= {name: f"{result[name]:,}" for name in ("problems", "rollouts")}
    return TEXT.read_text(encoding="utf-8").format(**numbers, **others(result["beside"]))


def others(found: dict[str, Any]) -> dict[str, str]:
    """How the learning rate was chosen, and the controls."""
    rates = found["rates"]
    told = [
        f"{rate}: {shown(each['pass_at_1'])} sampled, {shown(each['greedy'])} greedy" for rate, each in rates.items()
    ]
    controls = {
        f"{name}_{kind}": shown(found[name][kind])
        for name in ("start", "coin", "longer", "after_longer")
        for kind in KINDS
    }
    return controls | {
        "overlap": overlap(rates),
        "rates": "; ".join(told),
        "choice_questions": f"{found['questions']:,}",
        "choice_seed": str(found["rows_seed"]),
        "longer_steps": str(LONGER),
    }


def overlap(rates: dict[str, Any]) -> str:
    """Whether one of the rates is shown to be the best."""
    best = max(rates, key=lambda rate: float(rates[rate]["pass_at_1"]["value"]))
    low = rates[best]["pass_at_1"]["low"]
    if all(each["pass_at_1"]["high"] >= low for each in rates.values()):
        return "the intervals of what is sampled overlap, so none is shown to be the best"
    return f"{best} samples best"


def shown(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def change(value: dict[str, float]) -> str:
    """A paired difference, and whether it shows anything."""
    word = (
        "better" if value["low"] > 0 else "worse" if value["high"] < 0 else "neither better nor worse, as far as shown"
    )
    return f"{word} (paired {value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}])"


if __name__ == "__main__":
    sys.exit(main())
