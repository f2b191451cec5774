"""Benchmarks of the field by name, several of them as one task with a held-out set each; docs/benchmarks.md describes
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.tasks.files import read_rows
from groupwise.tasks.held_out import held_out_sets
from groupwise.tasks.task import Task
from groupwise.tasks.values import cell, nearest
from groupwise.types import Example

PROMPTS = {
    "plain": "{question}",
    "deepseekmath": "{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    "deepseekmath_zh": "{question}\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{{}}中。",
}
"""What stands around a question. DeepSeekMath's are those of its evaluation (MIT), as it publishes them."""


@dataclass(frozen=True)
class Suite:
    """A benchmark: where it lies, which columns ask and answer, and which reward says what is right."""

    hub: str
    """As ``read_rows`` takes it."""
    files: tuple[str, ...]
    """In a folder of data, the first that is there."""
    question: tuple[str, ...]
    """Columns that ask, joined by a blank."""
    answer: tuple[str, ...]
    """The column that answers, the first that a row has; none: the row's tests do."""
    reward: str = "math"

    def rows(self, name: str, data: str | None) -> list[Example]:
        """Reads its examples. Raises UserError where they are not there, or a row lacks a column."""
        return [self._example(name, *row) for row in read_rows(self._source(name, data))]

    def _source(self, name: str, data: str | None) -> str:
        if data is None:
            return self.hub
        found = next((path for file in self.files if (path := Path(data) / file).exists()), None)
        if found is None:
            raise UserError(
                f"{data}: holds no {name}; expected {' or '.join(self.files)} in it, or no --data: the hub's"
            )
        return str(found)

    def _example(self, name: str, id: str, row: Mapping[str, Any]) -> Example:
        asked = " ".join(str(cell(id, row, column)).strip() for column in self._present(id, row))
        column = next((column for column in self.answer if row.get(column) is not None), None)
        if self.answer and column is None:
            raise UserError(f"{id}: no column {' or '.join(self.answer)}; {name} has its answers there")
        answer = None if column is None else _final(str(row[column]))
        return Example(f"{name}/{id}", asked, answer=answer, columns=dict(row))

    def _present(self, id: str, row: Mapping[str, Any]) -> list[str]:
        lower = {column.lower(): column for column in row}
        found = [lower[column] for column in self.question if column in lower]
        if not found:
            raise UserError(f"{id}: no column {' or '.join(self.question)}; seen: {', '.join(row)}")
        return found if self.question[0] == "body" else found[:1]


def _final(answer: str) -> str:
    """What follows GSM8K's mark; of a whole number as a float the whole number."""
    answer = answer.rpartition("####")[2].strip()
    return answer[:-2] if answer.endswith(".0") and answer[:-2].lstrip("-").isdigit() else answer


SUITES = {
    "gsm8k": Suite("openai/gsm8k/main:test", ("gsm8k/test.jsonl",), ("question",), ("answer",)),
    "math": Suite("nlile/hendrycks-MATH-benchmark:test", ("math/test.jsonl",), ("problem",), ("answer",)),
    "math500": Suite("HuggingFaceH4/MATH-500:test", ("math500/test.jsonl",), ("problem",), ("answer",)),
    "cmath": Suite("weitianwen/cmath:test", ("cmath/test.jsonl",), ("question",), ("golden",)),
    "mgsm": Suite(
        "juletxara/mgsm/zh:test", ("mgsm/zh.jsonl", "mgsm/test.jsonl"), ("question",), ("answer_number", "answer")
    ),
    "svamp": Suite("ChilleD/SVAMP:test", ("svamp/SVAMP.json", "svamp/test.jsonl"), ("body", "question"), ("Answer",)),
    "gsm_hard": Suite(
        "reasoning-machines/gsm-hard:train", ("gsm_hard/test.jsonl", "gsm_hard/train.jsonl"), ("input",), ("target",)
    ),
    "asdiv": Suite("EleutherAI/asdiv:validation", ("asdiv/test.jsonl",), ("body", "question"), ("answer",)),
    "aime": Suite("HuggingFaceH4/aime_2024:train", ("aime/test.jsonl",), ("problem", "question"), ("answer",)),
    "humaneval": Suite(
        "openai/openai_humaneval:test",
        ("code/humaneval-python.jsonl", "humaneval/test.jsonl"),
        ("prompt",),
        (),
        "code",
    ),
    "mbpp": Suite(
        "google-research-datasets/mbpp:test", ("code/mbpp.jsonl", "mbpp/test.jsonl"), ("text", "prompt"), (), "code"
    ),
}
"""The benchmarks by name."""


def suite_task(
    names: Sequence[str], data: str | None = None, prompt: str = "plain", reward: Sequence[str] = ()
) -> Task:
    """One task of several benchmarks, each a held-out set by its name.

    ``data``: the folder where they lie; None: the hub. ``reward``: what says what is right, in place of theirs. Raises
    UserError for an unknown name or prompt, and for benchmarks that different rewards judge.
    """
    unknown = next((name for name in names if name not in SUITES), None)
    if unknown is not None:
        raise UserError(f"no benchmark {unknown}{nearest(unknown, tuple(SUITES))}; there are {', '.join(SUITES)}")
    if prompt not in PROMPTS:
        raise UserError(
            f"--prompt {prompt}: no such prompt{nearest(prompt, tuple(PROMPTS))}; there are {', '.join(PROMPTS)}"
        )
    kinds = list(dict.fromkeys(SUITES[name].reward for name in names))
    if len(kinds) > 1 and not reward:
        raise UserError(
            f"{' '.join(names)}: {kinds[0]} judges some of them and {kinds[1]} others; evaluate those of each apart"
        )
    write = _writer(PROMPTS[prompt])
    sets = {name: [write(row) for row in SUITES[name].rows(name, data)] for name in dict.fromkeys(names)}
    rows = held_out_sets(sets) if len(sets) > 1 else next(iter(sets.values()))
    return Task("+".join(sets), (), tuple(map(_reward, reward or kinds)), held_out=rows)


def _writer(template: str) -> Callable[[Example], Example]:
    return lambda row: replace(row, prompt=template.format(question=row.prompt))


def _reward(name: str) -> Reward:
    from groupwise.rewards import by_name

    return by_name(name)
