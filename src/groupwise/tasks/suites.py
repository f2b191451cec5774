"""Benchmarks of the field by name, each a task of held-out questions; docs/benchmarks.md describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.tasks.files import read_rows
from groupwise.tasks.golds import answer_of
from groupwise.tasks.programs import ProgramTurns
from groupwise.tasks.suite_prompts import Form, form_of
from groupwise.tasks.task import Task
from groupwise.tasks.values import cell, nearest
from groupwise.types import Example


@dataclass(frozen=True)
class Suite:
    """A benchmark: where it lies, which columns ask and answer, and which reward says what is right."""

    hub: str
    """As ``read_rows`` takes it."""
    files: tuple[str, ...]
    """In a folder of data, the first that is there."""
    question: tuple[str, ...]
    """The column that asks, the first that a row has; all of them where ``joined``."""
    answer: tuple[str, ...]
    """The column that answers, the first that a row has; none: the row's tests do."""
    joined: bool = False
    """Whether all columns of the question are read, with a blank between."""
    reward: str = "math"
    form: Form | None = None
    """How it is asked, whatever form the others are asked in."""
    is_chinese: bool = False

    def rows(self, name: str, data: str | None) -> list[Example]:
        """Reads its questions. Raises UserError where they are not there, or a row lacks a column."""
        return [self._example(name, *row) for row in read_rows(self._source(name, data))]

    def _source(self, name: str, data: str | None) -> str:
        if data is None:
            return self.hub
        if not Path(data).is_dir():
            raise UserError(f"--data {data}: no such folder; expected one that holds {' or '.join(self.files)}")
        found = next((path for file in self.files if (path := Path(data) / file).exists()), None)
        if found is None:
            raise UserError(
                f"--data {data}: holds no {name}; expected {' or '.join(self.files)} in it, or no --data: the hub's"
            )
        return str(found)

    def _example(self, name: str, id: str, row: Mapping[str, Any]) -> Example:
        asked = " ".join(str(cell(id, row, column)).strip() for column in self.columns_of(id, row))
        column = next((column for column in self.answer if row.get(column) is not None), None)
        if self.answer and column is None:
            raise UserError(f"{id}: no column {' or '.join(self.answer)}; {name} has its answers there")
        answer = None if column is None else _final(answer_of(row[column], f"{id}: {column}"))
        return Example(f"{name}/{id}", asked, answer=answer, columns=dict(row))

    def columns_of(self, id: str, row: Mapping[str, Any]) -> list[str]:
        """The columns of a row that ask its question. Raises UserError where it lacks one."""
        lower = {column.lower(): column for column in row}
        found = [lower[column] for column in self.question if column in lower]
        if not found or (self.joined and len(found) < len(self.question)):
            raise UserError(f"{id}: no column {' or '.join(self.question)}; seen: {', '.join(row)}")
        return found if self.joined else found[:1]


def _final(answer: str) -> str:
    """What follows GSM8K's mark; of a whole number as a float the whole number; without ASDiv's unit in brackets."""
    answer = answer.rpartition("####")[2].strip()
    number, _, unit = answer.partition(" (")
    answer = number if unit.endswith(")") and number.replace(".", "").isdigit() else answer
    return answer[:-2] if answer.endswith(".0") and answer[:-2].lstrip("-").isdigit() else answer


TEST_SECONDS = 30.0
"""Of one test: the reference program of a row of MBPP (amicable numbers below 9,999) takes more than five."""
CODE = Form("{question}")
TESTS = Form("{question}\n\nThe program has to pass these tests:\n\n{tests}\n")

SUITES = {
    "gsm8k": Suite("openai/gsm8k/main:test", ("gsm8k/test.jsonl",), ("question",), ("answer",)),
    "math": Suite("nlile/hendrycks-MATH-benchmark:test", ("math/test.jsonl",), ("problem",), ("answer", "solution")),
    "math500": Suite("HuggingFaceH4/MATH-500:test", ("math500/test.jsonl",), ("problem",), ("answer",)),
    "cmath": Suite("weitianwen/cmath:test", ("cmath/test.jsonl",), ("question",), ("golden",), is_chinese=True),
    "mgsm": Suite(
        "juletxara/mgsm/zh:test",
        ("mgsm/zh.jsonl", "mgsm/test.jsonl"),
        ("question",),
        ("answer_number", "answer"),
        is_chinese=True,
    ),
    "svamp": Suite(
        "ChilleD/SVAMP:test", ("svamp/SVAMP.json", "svamp/test.jsonl"), ("body", "question"), ("Answer",), joined=True
    ),
    "gsm_hard": Suite(
        "reasoning-machines/gsm-hard:train", ("gsm_hard/test.jsonl", "gsm_hard/train.jsonl"), ("input",), ("target",)
    ),
    "asdiv": Suite(
        "EleutherAI/asdiv:validation", ("asdiv/test.jsonl",), ("body", "question"), ("answer",), joined=True
    ),
    "aime": Suite("HuggingFaceH4/aime_2024:train", ("aime/test.jsonl",), ("problem", "question"), ("answer",)),
    "humaneval": Suite(
        "openai/openai_humaneval:test",
        ("code/humaneval-python.jsonl", "humaneval/test.jsonl"),
        ("prompt",),
        (),
        reward="code",
        form=CODE,
    ),
    "mbpp": Suite(
        "google-research-datasets/mbpp/full:test",
        ("code/mbpp.jsonl", "mbpp/test.jsonl"),
        ("text", "prompt"),
        (),
        reward="code",
        form=TESTS,
    ),
}
"""The benchmarks by name."""


@dataclass(frozen=True)
class Asking:
    """This says how benchmarks are asked and judged."""

    prompt: str = "plain"
    """The name of a form (``suite_prompts.FORMS``)."""
    shots: int | None = None
    """Worked examples before each question; None: the form's own number."""
    tools: bool = False
    """Whether programs that the model writes are run and their outputs told to it."""
    rewards: tuple[str, ...] = ()
    """What says what is right, in place of the form's rule or the benchmark's."""
    most_turns: int = 6
    """Of an answer whose programs are run."""


def suite_task(name: str, data: str | None = None, asking: Asking = Asking()) -> Task:
    """One benchmark as a task.

    ``data``: the folder where it lies; None: the hub. Raises UserError for an unknown name or prompt, with the nearest,
    for more worked examples than there are, and where the data are not there.
    """
    if name not in SUITES:
        raise UserError(f"no benchmark {name}{nearest(name, tuple(SUITES))}; there are {', '.join(SUITES)}")
    suite, tools = SUITES[name], asking.tools and SUITES[name].form is None
    form = suite.form or form_of(asking.prompt, suite.is_chinese, asking.tools)
    shots = 0 if suite.form else asking.shots
    rows = [_asked(row, form, shots) for row in suite.rows(name, data)]
    own = form.reward if form.reward and not tools else suite.reward
    rewards = tuple(map(_reward, asking.rewards or (own,)))
    task = Task(name, (), rewards, held_out=rows, stop_strings=form.stops)
    task = replace(task, chat="never") if form.goes_on else task
    if suite.reward == "code":
        task = replace(task, rewards=tuple(_of_programs(reward, name == "humaneval") for reward in task.rewards))
    return _with_tools(task, asking.most_turns) if tools else task


def _asked(row: Example, form: Form, shots: int | None) -> Example:
    tests = row.columns.get("test_list")
    text = form.write(str(row.prompt), shots)
    return replace(row, prompt=text.replace("{tests}", "\n".join(map(str, tests))) if tests is not None else text)


def _with_tools(task: Task, most: int) -> Task:
    """The task with programs that are run; its reward also reads what they printed, and another reads nothing else."""
    from groupwise.rewards.told import LastOutput, Told

    rewards: tuple[Reward, ...] = (*(Told(reward) for reward in task.rewards), LastOutput())
    return replace(task, rewards=rewards, referee=rewards[:1], environment=ProgramTurns(), turns=Turns(most))


def _of_programs(reward: Reward, is_begun: bool) -> Reward:
    from groupwise.rewards.programs import Code

    if not isinstance(reward, Code):
        return reward
    return replace(reward, begun="prompt" if is_begun else "", time_limit_seconds=TEST_SECONDS)


def _reward(name: str) -> Reward:
    from groupwise.rewards import by_name

    return by_name(name)
