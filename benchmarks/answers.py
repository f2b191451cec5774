"""Are right answers right and wrong ones wrong, however they are written? Every reference in every ending.

    python benchmarks/answers.py [--data FOLDER] [--every N]

References are those of ``answers.tsv`` (kind, reference, and the same with one thing changed: number, sign, unit,
order, an element) and, where FOLDER has them, all of GSM8K (``gsm8k/train.jsonl``, ``test.jsonl``), SVAMP
(``svamp/SVAMP.json``) and CMATH (``cmath/test.jsonl``). Each is written in every one of ``ENDINGS``, plain numbers in
``PLAIN_ENDINGS``. Writes benchmarks/answers.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from groupwise.protocols import Reward
from groupwise.rewards import FinalAnswer, Math
from groupwise.types import Example, Prompt, Rollout

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
ROWS_AT_ONCE = 200

ENDINGS: dict[str, str] = {
    "hashes": "2 + 3 is not it.\n#### {0}",
    "box": "We begin with 99. So it is \\boxed{{{0}}}",
    "box in dollars": "The answer is $\\boxed{{{0}}}$.",
    "displayed box": "Therefore,\n\\[ \\boxed{{{0}}} \\]",
    "display": "The answer is:\n\\[\n{0}\n\\]",
    "dollars": "From 12 we get it. The answer is ${0}$.",
    "Minerva": "Final Answer: The final answer is ${0}$. I hope it is correct.",
    "bold mark": "**Answer:** ${0}$",
    "bold word": "**Answer**: ${0}$",
    "heading": "### Step 2\n\nDone.\n\n**Final Answer**\n\n${0}$",
    "next line": "Answer:\n${0}$",
    "tag": "<answer>{0}</answer>",
    "tag after thinking": "<think>Is it \\boxed{{99}}? The answer is 98.</think>\n<answer> ${0}$ </answer>",
    "thinking": "<think>Is it \\boxed{{99}}?</think>\n\nThe answer is ${0}$.",
    "opened thinking": "Is it \\boxed{{99}}?\n</think>\n\n\\boxed{{{0}}}",
    "trailing words": "The answer is ${0}$ because 2 + 3 is 5.",
    "therefore": "The answer is therefore \\({0}\\).",
    "Chinese": "所以答案是${0}$。",
    "Chinese colon": "经过3步计算，故答案为：${0}$。",
    "Chinese box": "因此，最终答案为\\boxed{{{0}}}。",
    "heading hashes": "#### Step 1: 3+4\n\n#### Check\n\n**Answer: ${0}$**",
}
"""Ways in which a reference is written; ``{0}`` stands for it."""

PLAIN_ENDINGS: dict[str, str] = {
    "hashes": "<<2+3=5>>5\n#### {0}",
    "box": "So it is \\boxed{{{0}}}",
    "the answer is": "In 3 steps. The answer is {0}.",
    "The answer, sentence after": "The answer is {0}. I am 100% sure",
    "because": "The answer is {0} because 2+3=5.",
    "therefore": "The answer is therefore {0}.",
    "bold": "The answer is: **{0}**",
    "code": "The answer is `{0}`.",
    "bold mark": "**Answer:** {0}",
    "bold word": "**Answer**: {0}",
    "heading": "**Final Answer**\n{0}",
    "next line": "Answer:\n{0}",
    "line": "some work\nA: {0}",
    "tag": "<answer>{0}</answer>",
    "thinking": "<think>It is \\boxed{{99999}}.</think>The answer is {0}",
    "opened thinking": "The answer is 99999</think>\n#### {0}",
    "unit": "The answer is {0} apples.",
    "currency": "The answer is ${0}",
    "Chinese": "答案是{0}。",
    "Chinese colon": "答案：{0}",
    "Chinese unit": "答案是{0}元。",
    "Chinese answer": "答：需要{0}匹布料。",
    "Chinese box": "故答案为\\boxed{{{0}个}}。",
    "output": "```python\nprint(x)\n```\n```output\n{0}\n```",
    "heading hashes": "#### Step 1: 3+4\n\n\\boxed{{{0}}}",
}
"""The same for plain numbers, without dollar signs."""


def rollout(reference: str, text: str) -> Rollout:
    return Rollout(Prompt(Example("row", "?", answer=reference), ()), (0,), (True,), (0.0,), text, True, 0)


def kinds() -> list[tuple[str, str, list[str]]]:
    """``(kind, reference, wrong answers)`` of answers.tsv."""
    rows = (line.split("\t") for line in (HERE / "answers.tsv").read_text(encoding="utf-8").splitlines())
    return [(kind, reference, wrong) for kind, reference, *wrong in rows]


def written(ending: str, answer: str) -> str:
    """An answer in an ending; one that holds a dollar sign or words is not put between dollar signs again."""
    bare = "$" in answer.replace("\\$", "") or (not answer.isascii() and "\\" not in answer)
    return (ending.replace("${0}$", "{0}") if bare else ending).format(answer)


def plain_references(data: Path) -> Iterator[tuple[str, str]]:
    """``(data set, reference)`` as the rows have it."""
    for split in ("train", "test"):
        for row in _lines(data / f"gsm8k/{split}.jsonl"):
            yield "GSM8K", row["answer"]
    svamp = data / "svamp/SVAMP.json"
    for row in json.loads(svamp.read_text(encoding="utf-8")) if svamp.is_file() else ():
        yield "SVAMP", str(row["Answer"])
    for row in _lines(data / "cmath/test.jsonl"):
        yield "CMATH", str(row["golden"])


def number_of(reference: str) -> str:
    return reference.rpartition("####")[2].strip()


def changed(number: str) -> list[str]:
    """The number off by one, with another sign, ten times as large, and with a half more."""
    match = re.match(r"-?[0-9][0-9,]*(?:\.[0-9]+)?|-?\.[0-9]+", number)
    if match is None:
        return []
    value = Fraction(match[0].replace(",", ""))
    others = [value + 1, -value, value * 10, value + Fraction(1, 2)]
    return [_decimal(other) + number[match.end() :] for other in others if other != value]


def _decimal(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.is_file() else []


def count(reward: Reward, cases: Sequence[tuple[str, str, str]], expected: float) -> dict[str, Any]:
    """How many of ``(ending, reference, text)`` score as expected, and those that do not."""
    started = time.perf_counter()
    scores = reward.score([rollout(reference, text) for _, reference, text in cases])
    seconds = time.perf_counter() - started
    missed = [
        {
            "ending": ending,
            "reference": reference[-80:],
            "text": text[-160:],
            "value": score.value,
            "status": score.status,
        }
        for (ending, reference, text), score in zip(cases, scores, strict=True)
        if score.value != expected
    ]
    return {"cases": len(cases), "missed": missed, "seconds": round(seconds, 2)}


def add(result: dict[str, Any], name: str, part: dict[str, Any]) -> None:
    """Adds a part's numbers to those that stand under its name."""
    before = result.get(name, {"cases": 0, "missed": [], "seconds": 0.0})
    result[name] = {
        "cases": before["cases"] + part["cases"],
        "missed": before["missed"] + part["missed"],
        "seconds": round(before["seconds"] + part["seconds"], 2),
    }


def kind_cases(every: int = 1, offset: int = 0) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Right and wrong cases of answers.tsv; of the cross every Nth."""
    right, wrong, place = [], [], 0
    for _, reference, others in kinds():
        for name, ending in ENDINGS.items():
            place += 1
            if (place + offset) % every == 0:
                right.append((name, reference, written(ending, reference)))
                wrong += [(name, reference, written(ending, other)) for other in others]
    return right, wrong


def plain_cases(
    references: Sequence[tuple[str, str]], every: int = 1
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """The same of data sets of plain numbers."""
    right, wrong, place = [], [], 0
    for _, reference in references:
        number = number_of(reference)
        for name, ending in PLAIN_ENDINGS.items():
            place += 1
            if place % every == 0 and not (
                number.endswith("%") and (ending.partition("{0}")[2].strip(" 。}.") or "$" in ending)
            ):
                right.append((name, reference, ending.format(number)))
                wrong += [(name, reference, ending.format(other)) for other in changed(number)]
    return right, wrong


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of the data sets")
    parser.add_argument("--every", type=int, default=1, help="of the cross, only every Nth case")
    options = parser.parse_args(argv)
    result: dict[str, Any] = {"every": options.every}
    right, wrong = kind_cases(options.every)
    result["kinds, right"], result["kinds, changed"] = count(Math(), right, 1.0), count(Math(), wrong, 0.0)
    references = list(plain_references(options.data))
    for name in dict.fromkeys(name for name, _ in references):
        rows = [row for row in references if row[0] == name]
        for reward in (FinalAnswer(), Math()):
            for start in range(0, len(rows), ROWS_AT_ONCE):
                right, wrong = plain_cases(rows[start : start + ROWS_AT_ONCE], options.every)
                add(result, f"{name}, {reward.name}, right", count(reward, right, 1.0))
                add(result, f"{name}, {reward.name}, changed", count(reward, wrong, 0.0))
    result["references"] = dict(Counter(kind for kind, *_ in kinds()))
    result["machine"] = {
        "processor": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("groupwise", "math-verify", "sympy")},
    }
    (HERE / "answers.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, part in result.items():
        if isinstance(part, dict) and "missed" in part:
            print(f"{name}: {part['cases'] - len(part['missed']):,} of {part['cases']:,}, {part['seconds']} s")
    sys.exit(any(isinstance(part, dict) and part.get("missed") for part in result.values()))


if __name__ == "__main__":
    main()
