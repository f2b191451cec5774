"""Do the rewards that ship reward what they should, on real data? An audit's answers, and outputs that were graded.

    python benchmarks/audit.py PATH/TO/DATA

DATA holds ``gsm8k/train.jsonl`` and ``gsm8k/example_model_solutions.jsonl`` of openai/grade-school-math, and
``mr-gsm8k/mr_gsm8k_subset.jsonl`` of dvlab-research/MR-GSM8K. Writes benchmarks/audit.json. The same as

    groupwise audit answer --data gsm8k/train.jsonl --limit 1000
    groupwise audit math --data gsm8k/train.jsonl --limit 150
    groupwise audit answer --data gsm8k/example_model_solutions.jsonl --limit 1319
    groupwise audit math --data gsm8k/example_model_solutions.jsonl --limit 60
    groupwise audit answer --data mr-gsm8k/mr_gsm8k_subset.jsonl --limit 590 --answer_column ground_truth_answer
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from groupwise.audit import audit
from groupwise.rewards import by_name
from groupwise.tasks import from_file

ROOT = Path(__file__).resolve().parents[1]
AUDITS = (
    ("answer", "gsm8k/train.jsonl", 1000, None),
    ("math", "gsm8k/train.jsonl", 150, None),
    ("answer", "gsm8k/example_model_solutions.jsonl", 1319, None),
    ("math", "gsm8k/example_model_solutions.jsonl", 60, None),
    ("answer", "mr-gsm8k/mr_gsm8k_subset.jsonl", 590, "ground_truth_answer"),
)
"""Reward, data, rows, the column with the answer."""


def result(data: Path, reward: str, name: str, limit: int, answer_column: str | None) -> dict[str, Any]:
    """One audit; of its mistakes the first of each kind."""
    task = from_file(data / name, held_out_fraction=0, limit=limit, answer_column=answer_column)
    found = audit(by_name(reward), task.train).to_json()
    for finding in (*found["findings"], *found["graded"]):
        finding["mistakes"] = [{**mistake, "text": mistake["text"][-120:]} for mistake in finding["mistakes"][:1]]
        finding["seconds"] = round(finding["seconds"], 4)
    return {"data": name, **found}


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} PATH/TO/DATA")
    started = time.perf_counter()
    results = [result(Path(sys.argv[1]), *each) for each in AUDITS]
    for found in results:
        rates = {name: found[name] for name in found if name.endswith(("_negatives", "_positives"))}
        told = ", ".join(f"{name} {rate['mistakes']}/{rate['answers']}" for name, rate in rates.items())
        print(f"{found['reward']:<8}{found['data']:<40}{told}, {1000 * found['seconds_per_answer']:.2f} ms an answer")
    written = {"seconds": round(time.perf_counter() - started, 1), "audits": results}
    (ROOT / "benchmarks/audit.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
