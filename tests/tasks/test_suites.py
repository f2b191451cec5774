"""Benchmarks by name: their rows, prompts and golds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards.programs import Code, unjudged
from groupwise.tasks.held_out import places_by_set
from groupwise.tasks.suites import SUITES, suite_task
from groupwise.types import DEMONSTRATED, Prompt, Rollout

DATA = Path(__file__).parents[3] / "shared" / "data"


def folder(tmp_path: Path, **rows: object) -> str:
    for name, row in rows.items():
        path = tmp_path / SUITES[name].files[-1]
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return str(tmp_path)


ROWS = {
    "gsm8k": {"question": "q", "answer": "two and two\n#### 4"},
    "svamp": {"Body": "b ", "Question": "q", "Answer": 51.0},
    "cmath": {"question": "q", "golden": "4"},
    "mgsm": {"question": "q", "answer": "of", "answer_number": 4},
    "gsm_hard": {"input": "q", "code": "x", "target": -7.0},
    "asdiv": {"body": "b", "question": "q", "answer": "4 (apples)"},
    "math500": {"problem": "q", "answer": "\\frac{1}{2}", "solution": "so"},
    "aime": {"problem": "q", "answer": 42},
}
GOLDS = ["4", "51", "4", "4", "-7", "4 (apples)", "\\frac{1}{2}", "42"]


def test_every_suite_reads_its_columns(tmp_path: Path) -> None:
    task = suite_task(list(ROWS), folder(tmp_path, **ROWS))
    assert [row.answer for row in task.held_out] == GOLDS
    assert [row.prompt for row in task.held_out] == ["q", "b q", "q", "q", "q", "b q", "q", "q"]
    assert list(places_by_set(task.held_out)) == list(ROWS)
    assert task.name == "+".join(ROWS)


def test_prompts_stand_around_the_question(tmp_path: Path) -> None:
    data = folder(tmp_path, gsm8k=ROWS["gsm8k"])
    assert str(suite_task(["gsm8k"], data, "deepseekmath").held_out[0].prompt).endswith("within \\boxed{}.")
    assert str(suite_task(["gsm8k"], data, "deepseekmath_zh").held_out[0].prompt).startswith("q\n请")


@pytest.mark.parametrize(
    ("names", "prompt", "message"),
    [
        (["gsm9k"], "plain", "no benchmark gsm9k.*gsm8k"),
        (["gsm8k"], "deepseek", "--prompt deepseek: no such prompt"),
        (["gsm8k", "mbpp"], "plain", "math judges some of them and code others"),
        (["cmath"], "plain", r"holds no cmath; expected cmath/test\.jsonl"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, names: list[str], prompt: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        suite_task(names, folder(tmp_path, gsm8k=ROWS["gsm8k"]), prompt)


@pytest.mark.skipif(not DATA.exists(), reason="real data is not here")
@pytest.mark.parametrize(("name", "count"), [("gsm8k", 1319), ("cmath", 1098), ("svamp", 1000)])
def test_real_files_are_read_whole(name: str, count: int) -> None:
    rows = suite_task([name], str(DATA)).held_out
    assert len(rows) == count
    assert all(any(letter.isdigit() for letter in str(row.answer)) and "####" not in str(row.answer) for row in rows)


@pytest.mark.skipif(not DATA.exists(), reason="real data is not here")
@pytest.mark.parametrize(("name", "count", "asked"), [("mbpp", 974, 20), ("humaneval", 164, 20)])
def test_real_programs_pass_their_own_tests(name: str, count: int, asked: int) -> None:
    rows = suite_task([name], str(DATA)).held_out
    assert len(rows) == count
    assert not any(unjudged(row) for row in rows)
    some = rows[:: count // asked]
    solved = [
        str(row.columns["code"]) if name == "mbpp" else f"{row.columns['prompt']}{row.columns['canonical_solution']}"
        for row in some
    ]
    rollouts = [
        Rollout(Prompt(row, (1,)), (1,), (True,), (0.0,), text, True, DEMONSTRATED)
        for row, text in zip(some, solved, strict=True)
    ]
    assert [score.value for score in Code().score(rollouts)] == [1.0] * len(some)
