"""Runs examples/process.py and writes what it showed: benchmarks/process.json, and docs/process-supervision.md from it.

python benchmarks/process.py [--run DIR]      a run that is there already
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT, PAGE = ROOT / "benchmarks" / "process.json", ROOT / "docs" / "process-supervision.md"
TEXT = Path(__file__).with_name("process_page.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="runs/process", help="the run's directory; made where it is not there")
    directory = Path(parser.parse_args().run)
    if not (directory / "run.json").exists():
        from groupwise.cli import main as groupwise

        groupwise(["run", str(ROOT / "examples" / "process.py"), "--out", str(directory)])
    result = measured(directory)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")
    print(f"wrote {RESULT} and {PAGE}")
    return 0


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
    return {
        "accuracy": {one["stage"]: measures(one["evaluation"]) for one in evaluation["models"]},
        "problems": evaluation["models"][0]["evaluation"]["problems"],
        "cosine": contrast(flat["grpo_process"], flat["grpo"]).cosine,
        "rollouts": len(rows),
        "lines": lines(directory, rows, found),
    }


def measures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Greedy and sampled accuracy with their intervals."""
    return {
        kind: {name: evaluation[kind][name] for name in ("value", "low", "high")} for kind in ("greedy", "pass_at_1")
    }


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
    numbers = {"table": table, "cosine": f"{result['cosine']:.3f}"}
    for stage, kinds in result["accuracy"].items():
        numbers |= {f"{stage}_{kind}": shown(value) for kind, value in kinds.items()}
    numbers |= {name: f"{result[name]:,}" for name in ("problems", "rollouts")}
    return TEXT.read_text(encoding="utf-8").format(**numbers)


def shown(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
