"""Observations of DeepSeekMath on pre-training, at toy scale: one number of tokens, several choices of text.

    python benchmarks/pretraining.py ../shared/data            # three seeds; writes benchmarks/pretraining.json
    python benchmarks/pretraining.py ../shared/data 0          # this seed alone; what was measured before stays

For each seed and each choice examples/pretraining.py is run as it is: pre-training, SFT, GRPO. Measured are bits per
byte on pages of mathematics and on Chinese problems that nobody trained on, and pass@1, maj@8 and pass@8 after SFT and
after GRPO on held-out sums. Differences are paired, document by document and problem by problem, over the mean of the
seeds. What was stopped continues.
"""

from __future__ import annotations

import fcntl
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pretraining_data import write_texts

import groupwise as gw
from groupwise.evaluation.statistics import paired_difference
from groupwise.evaluation.texts import evaluate_text, ratio_interval
from groupwise.learners.device import machine
from groupwise.runs.environment import versions
from groupwise.tasks import from_file
from groupwise.tokens.renderer import Renderer

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "runs" / "pretraining"
RESULT = ROOT / "benchmarks" / "pretraining.json"
EXAMPLE = runpy.run_path(str(ROOT / "examples" / "pretraining.py"))
BYTES = 160_000
CHOICES = {
    "selected": (None, "selected"),
    "random": (None, "random"),
    "no formulas": (None, "bare"),
    "code first": ("code", "selected"),
    "prose first": ("prose", "selected"),
    "a fifth Chinese": (None, "selected*0.8 chinese*0.2"),
    "random, twice as wide": (None, "random"),
}
"""What is read before, and what then."""
WIDE = "random, twice as wide"
PAIRS = {
    "selected pages against random pages": ("random", "selected"),
    "formulas kept against dropped": ("no formulas", "selected"),
    "code before mathematics against mathematics alone": ("selected", "code first"),
    "code before mathematics against prose before it": ("prose first", "code first"),
    "a fifth Chinese against English alone": ("selected", "a fifth Chinese"),
    "selected pages against random pages in a model twice as wide": (WIDE, "selected"),
}
DOMAINS = ("two numbers", "three numbers")
"""RL is on the first."""
UNSEEN = {"mathematics": "unseen", "Chinese problems": "chinese_unseen"}


def missing(seed: int, choice: str) -> bool:
    """Measures one choice of text with one seed where nobody has and nobody does; whether it was measured now."""
    path = PLACE / "rows" / f"{seed}-{_name(choice)}.json"
    path.parent.mkdir(exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if path.exists():
            return False
        row = measured(seed, choice)
        path.write_text(json.dumps(row))
    print(seed, choice, f"{row['seconds']:.0f} s", flush=True)
    return True


def _name(choice: str) -> str:
    return choice.replace(",", "").replace(" ", "-")


def measured(seed: int, choice: str) -> dict[str, Any]:
    """Runs one choice of text with one seed, and measures what it left."""
    before, after = CHOICES[choice]
    mathematics = ",".join(_file(words) for words in after.split())
    recipe = EXAMPLE["run"](mathematics, before and _file(before), _file("one"), 128 if choice == WIDE else 64, seed)
    outcome = gw.run(recipe, PLACE / f"{seed}-{_name(choice)}", sinks=[])
    model = outcome.directory / "models" / "pretrain"
    row: dict[str, Any] = {"seed": seed, "choice": choice}
    row["seconds"] = json.loads((outcome.directory / "run.json").read_text())["seconds"]
    learner = recipe.learner.open(model)
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    found = {name: evaluate_text(learner, renderer, from_file(_file(file), held_out_fraction=0.0).train)
             for name, file in UNSEEN.items()}  # fmt: skip
    row["bits"] = {name: [round(each, 2) for each in text.bits] for name, text in found.items()}
    row["bytes"] = {name: list(text.bytes) for name, text in found.items()}
    for stage in ("sft", "grpo"):
        for name in DOMAINS:
            evaluation = outcome.evaluations[stage].of_set(name)
            measures = {"pass@1": evaluation.pass_at_1, "pass@8": evaluation.pass_at[8], "maj@8": evaluation.maj_at[8]}
            found = {measure: list(each.by_problem) for measure, each in measures.items()}
            row.setdefault(stage, {})[name] = {name: [round(each, 4) for each in found[name]] for name in found}
    return row


def _file(words: str) -> str:
    name, star, weight = words.partition("*")
    return f"{PLACE / 'texts' / name}.jsonl{star}{weight}"


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each pair the paired differences, each with its interval and the difference of every seed."""
    by_place = {(row["choice"], row["seed"]): row for row in rows}
    found: dict[str, Any] = {}
    for pair, (one, other) in PAIRS.items():
        seeds = [seed for choice, seed in sorted(by_place) if choice == one and (other, seed) in by_place]
        if not seeds:
            continue
        both = [[by_place[choice, seed] for seed in seeds] for choice in (one, other)]
        found[pair] = {f"bits per byte, {name}": _bits(both, name) for name in UNSEEN}
        for stage in ("sft", "grpo"):
            found[pair][f"pass@1 after {stage}"] = _accuracy(both, stage, DOMAINS[0], "pass@1")
    for name in DOMAINS:
        found[f"GRPO against SFT, all choices, {name}"] = {
            measure: _change(*([row[stage][name][measure] for row in rows] for stage in ("sft", "grpo")))
            for measure in ("pass@1", "maj@8", "pass@8")
        }
    return found


def _bits(both: Sequence[Sequence[dict[str, Any]]], name: str) -> dict[str, Any]:
    before, after = ([row["bits"][name] for row in rows] for rows in both)
    sizes = both[0][0]["bytes"][name]
    changes = [[b - a for a, b in zip(one, other, strict=True)] for one, other in zip(before, after, strict=True)]
    interval = ratio_interval([fmean(values) for values in zip(*changes, strict=True)], sizes)
    levels = [sum(map(sum, rows)) / sum(sizes) / len(rows) for rows in (before, after)]
    return _row(levels, interval, [sum(values) / sum(sizes) for values in changes])


def _accuracy(both: Sequence[Sequence[dict[str, Any]]], stage: str, name: str, measure: str) -> dict[str, Any]:
    return _change(*([row[stage][name][measure] for row in rows] for rows in both))


def _change(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> dict[str, Any]:
    means = [[fmean(values) for values in zip(*rows, strict=True)] for rows in (before, after)]
    each = [fmean(other) - fmean(one) for one, other in zip(before, after, strict=True)]
    return _row([fmean(values) for values in means], paired_difference(*means), each)


def _row(levels: Sequence[float], interval: Any, seeds: Sequence[float]) -> dict[str, Any]:
    difference = {name: round(getattr(interval, name), 4) for name in ("value", "low", "high")}
    return {"levels": [round(level, 4) for level in levels], **difference, "seeds": [round(each, 4) for each in seeds]}


def written(result: dict[str, Any]) -> str:
    """JSON with a line for each run and each difference."""
    head = {name: value for name, value in result.items() if name not in ("differences", "runs")}
    text = json.dumps(head, indent=1)[:-2]
    pairs = [
        f'  "{pair}": {{\n' + ",\n".join(f'   "{name}": {json.dumps(row)}' for name, row in numbers.items()) + "\n  }"
        for pair, numbers in result["differences"].items()
    ]
    runs = ",\n".join(json.dumps(row) for row in result["runs"])
    return text + ',\n "differences": {\n' + ",\n".join(pairs) + f'\n }},\n "runs": [\n{runs}\n ]\n}}\n'


def main() -> None:
    seeds = [int(word) for word in sys.argv[2:]] or [0, 1, 2]
    texts = PLACE / "texts.json"
    texts.parent.mkdir(parents=True, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:  # seeds may be run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not texts.exists():
            texts.write_text(json.dumps(write_texts(Path(sys.argv[1]), PLACE / "texts", BYTES)))
    for choice in CHOICES:
        for seed in seeds:
            missing(seed, choice)
    rows = [json.loads(path.read_text()) for path in sorted((PLACE / "rows").glob("*.json"))]
    sizes = {"bytes": BYTES, "tokens": EXAMPLE["STEPS"] * 8 * 255, "texts": json.loads(texts.read_text())}
    result = {"machine": machine(), "versions": versions(), "sizes": sizes, "differences": compared(rows), "runs": rows}
    RESULT.write_text(written(result))


if __name__ == "__main__":
    main()
