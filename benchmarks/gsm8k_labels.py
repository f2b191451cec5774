"""Does the answer reward agree with the labels of OpenAI's sampled GSM8K solutions? Every solution is compared.

    python benchmarks/gsm8k_labels.py PATH/TO/example_model_solutions.jsonl

The file is that of https://github.com/openai/grade-school-math. Writes benchmarks/gsm8k_labels.json and
docs/gsm8k-labels.md.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from groupwise.rewards.answers import FinalAnswer, final_answer
from groupwise.types import Example, Prompt, Rollout

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def compare(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Every solution's score beside its label. Rows count from 1, as lines of the file do."""
    table: Counter[str] = Counter()
    disagreements, unparseable = [], []
    for row, record in enumerate(records, start=1):
        for model in MODELS:
            solution, label = record[model]["solution"], record[model]["is_correct"]
            prompt = Prompt(Example(f"{row}", record["question"], answer=record["ground_truth"]), ())
            (score,) = FinalAnswer().score([Rollout(prompt, (0,), (True,), (0.0,), solution, True, 0)])
            table[f"reward {score.value:.0f}, label {label}".lower()] += 1
            found = {"row": row, "model": model, "answer": final_answer(solution), "ends": solution[-60:]}
            if (score.value == 1.0) != label:
                disagreements.append({**found, "label": label, "gold": final_answer(record["ground_truth"])})
            if score.status == "unparseable":
                unparseable.append(found)
    return {
        "models": list(MODELS),
        "solutions": len(records) * len(MODELS),
        "counts": dict(sorted(table.items())),
        "disagreements": disagreements,
        "unparseable": unparseable,
    }


def page(result: dict[str, Any]) -> str:
    agreed = result["solutions"] - len(result["disagreements"])
    lines = [
        "# The answer reward and GSM8K's labels",
        "",
        "Written by `benchmarks/gsm8k_labels.py` from the labelled solutions in `example_model_solutions.jsonl` of",
        "openai/grade-school-math: 1,319 test questions, four models each.",
        "",
        f"`FinalAnswer` agrees with `is_correct` on {agreed:,} of {result['solutions']:,} solutions.",
        "",
        "| reward and label | solutions |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in result["counts"].items()),
        "",
        "## Disagreements",
        "",
        *(_rows(result["disagreements"]) or ["None."]),
        "",
        "## Solutions without a number as final answer",
        "",
        "The reward gives them 0 and the status `unparseable`; each is labelled wrong too. They break off before their",
        "`A:` line, or what stands on it is no number. Rows are lines of the file, from 1.",
        "",
        *_rows(result["unparseable"]),
        "",
    ]
    return "\n".join(lines)


def _rows(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    head = ["| row | model | final answer | the solution ends with |", "|---|---|---|---|"]
    ends = (entry["ends"].replace("\n", " ⏎ ").replace("|", "\\|") for entry in found)
    return head + [
        f"| {entry['row']} | {entry['model']} | {entry['answer'] or ''} | `{end}` |"
        for entry, end in zip(found, ends, strict=True)
    ]


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} PATH/TO/example_model_solutions.jsonl")
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    result = compare([json.loads(line) for line in lines])
    (ROOT / "benchmarks/gsm8k_labels.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (ROOT / "docs/gsm8k-labels.md").write_text(page(result), encoding="utf-8")
    print(f"{len(result['disagreements'])} disagreements in {result['solutions']:,} solutions")


if __name__ == "__main__":
    main()
