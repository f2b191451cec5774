"""Benchmarks by name: their rows, prompts, golds and rewards."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from groupwise.corpus.benchmarks import read_benchmarks
from groupwise.errors import UserError
from groupwise.rewards.programs import Code, unjudged
from groupwise.rewards.transcript import TranscriptReward
from groupwise.tasks.suite_table import SUITES
from groupwise.tasks.suites import Asking, suite_task
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout

DATA = Path(__file__).parents[3] / "shared" / "data"
HAS_DATA = pytest.mark.skipif(not (DATA / "gsm8k").exists(), reason="real data is not here")


def folder(tmp_path: Path, **rows: object) -> str:
    for name, row in rows.items():
        path = tmp_path / SUITES[name].files[-1]
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return str(tmp_path)


ROWS = {
    "gsm8k": ({"question": "q", "answer": "two and two\n#### 4"}, "q", "4"),
    "svamp": ({"Body": "b ", "Question": "q", "Answer": 51.0}, "b q", "51"),
    "cmath": ({"question": "q", "golden": "4"}, "q", "4"),
    "mgsm": ({"question": "q", "answer": "of", "answer_number": 4}, "q", "4"),
    "gsm_hard": ({"input": "q", "code": "x", "target": -7.0}, "q", "-7"),
    "asdiv": ({"body": "b", "question": "q", "answer": "4 (apples)"}, "b q", "4"),
    "math500": ({"problem": "q", "answer": "\\frac{1}{2}", "solution": "so"}, "q", "\\frac{1}{2}"),
    "math": ({"problem": "q", "solution": "so \\boxed{(3, 4)}"}, "q", "so \\boxed{(3, 4)}"),
    "aime": ({"problem": "q", "answer": 42}, "q", "42"),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_suite_reads_its_columns(tmp_path: Path, name: str) -> None:
    row, question, gold = ROWS[name]
    task = suite_task(name, folder(tmp_path, **{name: row}))
    (example,) = task.held_out
    assert (example.prompt, example.answer) == (question, gold)
    assert task.name == name
    assert [reward.name for reward in task.rewards] == ["math"]
    assert task.rewards[0].score([answered(example, f"So \\boxed{{{gold.removeprefix('so ')}}}")])[0].value == 1.0


def answered(row: Example, text: str) -> Rollout:
    return Rollout(Prompt(row, (1,)), (1,), (True,), (0.0,), text, True, DEMONSTRATED)


def test_a_gold_that_is_large_small_or_a_float_keeps_its_digits(tmp_path: Path) -> None:
    for target, gold in (
        (1e20, "100000000000000000000"),
        (0.5, "0.5"),
        (-1e-7, "-0.0000001"),
        (12345678.0, "12345678"),
    ):
        data = folder(tmp_path, gsm_hard={"input": "q", "target": target})
        assert suite_task("gsm_hard", data).held_out[0].answer == gold


@pytest.mark.parametrize(
    ("prompt", "begins", "ends"),
    [
        ("plain", "q", "q"),
        ("deepseekmath", "q\nPlease", "within \\boxed{}."),
        ("deepseekmath_zh", "q\n请", "中。"),
        ("minerva4", "Problem:\nSolve", "Problem:\nq\n\nSolution:"),
        ("gsm8shot", "Q: A baker", "\n\nQ: q\nA:"),
        ("pal", "Q: A baker", "returns the answer:\n"),
    ],
)
def test_prompts_stand_around_the_question(tmp_path: Path, prompt: str, begins: str, ends: str) -> None:
    asked = str(suite_task("gsm8k", folder(tmp_path, gsm8k=ROWS["gsm8k"][0]), Asking(prompt)).held_out[0].prompt)
    assert asked.startswith(begins)
    assert asked.endswith(ends)


def test_chinese_questions_are_asked_in_chinese(tmp_path: Path) -> None:
    data = folder(tmp_path, cmath=ROWS["cmath"][0])
    assert str(suite_task("cmath", data, Asking("deepseekmath")).held_out[0].prompt).startswith("q\n请")
    assert str(suite_task("cmath", data, Asking("gsm8shot")).held_out[0].prompt).count("问题：") == 7


def test_shots_say_how_many_worked_examples_stand_before(tmp_path: Path) -> None:
    data = folder(tmp_path, gsm8k=ROWS["gsm8k"][0], cmath=ROWS["cmath"][0])
    assert str(suite_task("gsm8k", data, Asking("gsm8shot", 2)).held_out[0].prompt).count("Q: ") == 3
    assert str(suite_task("gsm8k", data, Asking("minerva4", 0)).held_out[0].prompt) == "Problem:\nq\n\nSolution:"
    zero = str(suite_task("gsm8k", data, Asking("deepseekmath", 1)).held_out[0].prompt)
    assert "\\boxed{18}\n\nq\nPlease" in zero
    with pytest.raises(UserError, match="--shots 9: there are 8 worked examples"):
        suite_task("gsm8k", data, Asking("gsm8shot", 9))


def test_a_form_brings_its_rule_its_stops_and_no_template(tmp_path: Path) -> None:
    data = folder(tmp_path, gsm8k=ROWS["gsm8k"][0])
    task = suite_task("gsm8k", data, Asking("minerva4"))
    assert (task.rewards[0].name, task.chat, task.stop_strings) == ("deepseekmath", "never", ("\nProblem:",))
    assert suite_task("gsm8k", data, Asking("pal")).rewards[0].name == "pal"
    assert suite_task("gsm8k", data, Asking("pal", rewards=("tora",))).rewards[0].name == "tora"
    assert suite_task("gsm8k", data, Asking("deepseekmath")).chat == "auto"


def test_with_tools_programs_are_turns_and_the_rule_judges(tmp_path: Path) -> None:
    task = suite_task("gsm8k", folder(tmp_path, gsm8k=ROWS["gsm8k"][0]), Asking("deepseekmath", tools=True))
    assert [reward.name for reward in task.rewards] == ["ProgramTurns", "math", "program"]
    assert task.judge is not None
    assert isinstance(task.judge.reward, TranscriptReward)
    assert "programs" in str(task.held_out[0].prompt)
    assert suite_task("mbpp", folder(tmp_path, mbpp=MBPP), Asking(tools=True)).episodes is None


@pytest.mark.parametrize(
    ("name", "prompt", "message"),
    [
        ("gsm9k", "plain", "no benchmark gsm9k.*gsm8k"),
        ("gsm8k", "deepseek", "--prompt deepseek: no such prompt, perhaps you meant"),
        ("cmath", "plain", r"holds no cmath; expected cmath/test\.jsonl"),
        ("svamp", "plain", "no column body or question; seen: Body"),
        ("gsm_hard", "plain", "no column target; gsm_hard has its answers there"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, prompt: str, message: str) -> None:
    rows = {"gsm8k": ROWS["gsm8k"][0], "svamp": {"Body": "b", "Answer": 1}, "gsm_hard": {"input": "q"}}
    with pytest.raises(UserError, match=message):
        suite_task(name, folder(tmp_path, **rows), Asking(prompt))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data .*nowhere: no such folder"):
        suite_task("gsm8k", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", {"question": " ", "answer": "4"}, "question is str ' '; expected the text"),
        ("gsm8k", {"question": None, "answer": "4"}, "question is null"),
        ("gsm8k", {"question": ["a"], "answer": "4"}, "question is list"),
        ("gsm8k", {"question": "q", "answer": None}, "no column answer"),
        ("gsm8k", {"question": "q", "answer": "and so ####"}, "answer has no answer in it"),
        ("svamp", {"Body": "b", "Question": "", "Answer": 1}, "Question is str ''"),
        ("mbpp", {"text": "Write add.", "test_list": []}, "no test; expected .*, by which mbpp is judged"),
        ("humaneval", {"prompt": "def f():"}, "no test"),
    ],
)
def test_a_row_that_asks_or_answers_nothing_is_said(tmp_path: Path, name: str, row: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        suite_task(name, folder(tmp_path, **{name: row}))


@pytest.mark.parametrize("shots", [-1, 9])
def test_worked_examples_that_are_not_there_are_said(tmp_path: Path, shots: int) -> None:
    with pytest.raises(UserError, match=f"--shots {shots}: there are 8"):
        suite_task("gsm8k", folder(tmp_path, gsm8k=ROWS["gsm8k"][0]), Asking("gsm8shot", shots))


@pytest.mark.parametrize(
    "file", ["gsm8k/test.jsonl.gz", "gsm8k/test.csv", "gsm8k/test.tsv", "gsm8k/test.json", "gsm8k.jsonl",
             "gsm8k/test.parquet", "gsm8k/main/test-00000-of-00001.parquet"]
)  # fmt: skip
def test_every_kind_of_file_is_read(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"Question": "How many?", "ANSWER": "4"}
    between = "\t" if path.suffix == ".tsv" else ","
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    elif path.suffix in (".csv", ".tsv"):
        path.write_text(f"{between.join(row)}\n{between.join(row.values())}\n")
    else:
        text = json.dumps([row] if path.suffix == ".json" else row)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    (example,) = suite_task("gsm8k", str(tmp_path)).held_out
    assert (example.prompt, example.answer) == ("How many?", "4")


GSM8K, CODE = {"question": "q", "answer": "#### 7"}, {"prompt": "def f():", "test": "check(f)"}


@pytest.mark.parametrize(
    ("name", "files", "count"),
    [
        ("math", {f"math/{of}/test-00000-of-00001.parquet": {"problem": "p", "answer": "1"} for of in ("a", "g")}, 2),
        ("gsm8k", {f"gsm8k/main/test-0000{n}-of-00002.parquet": GSM8K for n in (0, 1)}, 2),
        ("gsm8k", {f"gsm8k/{config}/test-00000-of-00001.parquet": GSM8K for config in ("main", "socratic")}, 1),
        ("gsm8k", {f"gsm8k/data/{split}-00000-of-00001.parquet": GSM8K for split in ("train", "test")}, 1),
        ("gsm8k", {"gsm8k/socratic/test-00000-of-00001.parquet": GSM8K}, 0),
        ("gsm8k", {"gsm8k/main/train-00000-of-00001.parquet": GSM8K}, 0),
        ("gsm8k", {"gsm8k/main/.old/test-00000-of-00001.parquet": GSM8K}, 0),
        ("humaneval", {"openai_humaneval/openai_humaneval/test-00000-of-00001.parquet": CODE}, 1),
        ("aime", {"aime_2024/data/train-00000-of-00001.parquet": {"problem": "p", "answer": "7"}}, 1),
        ("mgsm_de", {"mgsm/en/test-00000-of-00001.parquet": {"question": "q", "answer_number": 7}}, 0),
    ],
)
def test_a_dataset_is_read_as_the_hub_has_it(tmp_path: Path, name: str, files: dict[str, Any], count: int) -> None:
    for file, row in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / file)
    if not count:
        with pytest.raises(UserError, match=f"holds no {name}"):
            SUITES[name].rows(name, str(tmp_path))
        return
    rows = SUITES[name].rows(name, str(tmp_path))
    assert len({row.id for row in rows}) == len(rows) == count


def test_mgsm_is_read_as_it_was_published(tmp_path: Path) -> None:
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "mgsm" / "mgsm_zh.tsv").write_text("还有多少？\t1,200\n一共多少？\t7\n", encoding="utf-8")
    found = [(row.id, row.prompt, row.answer) for row in SUITES["mgsm"].rows("mgsm", str(tmp_path))]
    assert found == [("mgsm/mgsm_zh.tsv:1", "还有多少？", "1,200"), ("mgsm/mgsm_zh.tsv:2", "一共多少？", "7")]
    assert [item.question for item in read_benchmarks(["mgsm"], tmp_path)] == ["还有多少？", "一共多少？"]


def test_mgsm_has_a_row_for_every_language(tmp_path: Path) -> None:
    row = {"question": "q", "answer": None, "answer_number": 4}
    asked = {
        code: str(suite_task(f"mgsm_{code}", folder(tmp_path, **{f"mgsm_{code}": row}), Asking("deepseekmath"))
                  .held_out[0].prompt)
        for code in ("de", "ja", "zh")
    }  # fmt: skip
    assert asked["zh"].startswith("q\n请")
    assert asked["de"] == asked["ja"]
    assert asked["de"].startswith("q\nPlease")
    assert {code for code in SUITES if code.startswith("mgsm")} == {
        "mgsm", *(f"mgsm_{code}" for code in ["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"])
    }  # fmt: skip


def test_braces_in_a_question_stay(tmp_path: Path) -> None:
    row = {**MBPP, "text": "Write {tests} and {question}."}
    (example,) = suite_task("mbpp", folder(tmp_path, mbpp=row)).held_out
    assert str(example.prompt).startswith("Write {tests} and {question}.\n\nThe program")
    text = suite_task("mbpp", folder(tmp_path, mbpp={**MBPP, "test_list": "assert add(1, 2) == 3"})).held_out[0].prompt
    assert "\nassert add(1, 2) == 3\n" in str(text) + "\n"


MBPP = {"text": "Write add.", "code": "def add(a, b): return a + b", "test_list": ["assert add(1, 2) == 3"]}
STUB = 'import math\n\ndef area(r):\n    """The area of a circle."""\n'
HUMANEVAL = {
    "prompt": STUB,
    "entry_point": "area",
    "canonical_solution": "    return math.pi * r * r\n",
    "test": "def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-3\n",
}


def test_mbpp_is_asked_with_its_tests(tmp_path: Path) -> None:
    (row,) = suite_task("mbpp", folder(tmp_path, mbpp=MBPP), Asking("minerva4", 2)).held_out
    assert "Write add." in str(row.prompt)
    assert "assert add(1, 2) == 3" in str(row.prompt)
    assert "Problem" not in str(row.prompt)


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("    return math.pi * r * r\n", 1.0),
        ("    return math.pi * r * r\n\ndef other():\n    return (", 1.0),
        ("    return math.pi * r * r\n\nprint(area(2)", 1.0),
        ("```python\ndef area(r):\n    return math.pi * r ** 2\n```", 1.0),
        ("```python\n    return math.pi * r ** 2\n```", 1.0),
        ("    return r * r\n", 0.0),
        ("    return math.pi * (r\n", 0.0),
        ("", 0.0),
    ],
)
def test_humaneval_goes_on_with_its_stub_or_writes_it_anew(tmp_path: Path, completion: str, value: float) -> None:
    task = suite_task("humaneval", folder(tmp_path, humaneval=HUMANEVAL))
    (row,) = task.held_out
    assert row.prompt == STUB.strip()
    assert task.rewards[0].score([answered(row, completion)])[0].value == value


@HAS_DATA
@pytest.mark.parametrize(("name", "count"), [("gsm8k", 1319), ("cmath", 1098), ("svamp", 1000)])
def test_real_files_are_read_whole(name: str, count: int) -> None:
    task = suite_task(name, str(DATA))
    assert len(task.held_out) == count
    golds = [answered(row, f"\\boxed{{{row.answer}}}") for row in task.held_out]
    assert {score.value for score in task.rewards[0].score(golds)} == {1.0}


@HAS_DATA
@pytest.mark.parametrize(("name", "count"), [("mbpp", 974), ("humaneval", 164)])
def test_real_programs_pass_their_own_tests(name: str, count: int) -> None:
    """All of them do (benchmarks/golds.py); here every row's tests are read, and a few programs run."""
    task = suite_task(name, str(DATA))
    assert len(task.held_out) == count
    assert not any(unjudged(row) for row in task.held_out)
    (reward,) = task.rewards
    assert isinstance(reward, Code)
    assert reward.time_limit_seconds == 30  # the slowest of them takes more than the reward's own five seconds
    some = task.held_out[:: count // 8]
    column = "code" if name == "mbpp" else "canonical_solution"
    rollouts = [answered(row, str(row.columns[column])) for row in some]
    assert [score.value for score in task.rewards[0].score(rollouts)] == [1.0] * len(some)
