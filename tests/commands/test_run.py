"""``groupwise run``: recipe files as values and as functions, methods by name, dry runs, stopping and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.cli import main

HEAD = "from groupwise import NewModel, Run, Stage, recipes, tasks\n"
SMALL = "NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=128)"
STAGE = "Stage('sft', recipes.sft, tasks.stepwise(level=1, train_size=20, held_out_size=4), steps=2)"
VALUE = f"'''About it.'''\n{HEAD}run = Run('value', {SMALL}, ({STAGE},))\n"
FUNCTION = f'''"""About the function."""
{HEAD}
from pathlib import Path

def run(width: int, rate: float = 1e-3, file: Path | None = None, loud: bool = False, label: str = "made") -> Run:
    model = NewModel(hidden_size=width, layers=1, heads=2, intermediate_size=64, context_tokens=128)
    stage = {STAGE[:-1]}, learning_rate=rate)
    return Run(f"{{label}}-{{loud}}-{{file and file.name}}", model, (stage,))
'''
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def recipe(text: str) -> str:
        (tmp_path / "recipe.py").write_text(text)
        return str(tmp_path / "recipe.py")

    return recipe


@pytest.fixture
def dry(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    """The recipe that a command would run."""

    def printed(*arguments: str) -> dict:
        capsys.readouterr()
        assert main(["run", *arguments, "--dry_run"]) == 0
        return json.loads(capsys.readouterr().out)

    return printed


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def message(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["run", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return message


def test_a_dry_run_prints_the_recipe_and_writes_nothing(write, dry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = dry(write(VALUE), "--steps", "7", "--learner.weight-decay", "0.5")
    assert recipe["stages"][0]["steps"] == 7
    assert recipe["learner"]["weight_decay"] == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.py"]


def test_a_recipe_runs_then_is_finished_then_starts_over(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", write(VALUE), "--evaluation.problems", "4", "--evaluation.sampled_problems", "0"]
    assert main(command) == 0
    assert (tmp_path / "runs" / "value" / "report.html").exists()
    capsys.readouterr()
    assert main(command) == 0
    assert "runs/value is finished: runs/value/report.html (--fresh starts over)" in capsys.readouterr().out
    assert main([*command, "--fresh"]) == 0
    assert "is finished" not in capsys.readouterr().out


def test_options_from_a_file(write, dry, tmp_path):
    (tmp_path / "options.toml").write_text("steps = 5\nseed = 3\n")
    recipe = dry(write(VALUE), "--options", str(tmp_path / "options.toml"), "--seed", "4")
    assert (recipe["stages"][0]["steps"], recipe["seed"]) == (5, 4)


def test_a_functions_parameters_are_options(write, dry):
    recipe = dry(write(FUNCTION), "--width", "64", "--rate=0.5", "--file", "a/b.txt", "--loud", "true", "--steps", "9")
    assert recipe["name"] == "made-True-b.txt"
    assert recipe["model"]["hidden_size"] == 64
    assert recipe["stages"][0]["learning_rate"] == 0.5
    assert recipe["stages"][0]["steps"] == 9


def test_a_parameter_that_is_not_given_has_its_default(write, dry):
    recipe = dry(write(FUNCTION), "--width", "64")
    assert recipe["name"] == "made-False-None"
    assert recipe["stages"][0]["learning_rate"] == 1e-3


def test_an_options_file_gives_parameters_too(write, dry, tmp_path):
    (tmp_path / "options.toml").write_text('width = 64\nlabel = "toml"\n')
    assert dry(write(FUNCTION), "--options", str(tmp_path / "options.toml"))["name"] == "toml-False-None"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "--width is missing; "),
        (["--width", "wide"], "argument --width: invalid int value: 'wide'"),
        (["--width", "64", "--loud", "very"], "invalid truth value: 'very' (expected true or false)"),
        (["--widht", "64"], "--width is missing"),
        (["--width", "64", "--lable", "x"], "unknown option --lable: perhaps you meant --label"),
        (["--width", "64", "--data", "x"], "--data goes with a method's name"),
    ],
)
def test_a_mistake_in_a_functions_options(write, refused, words, line):
    assert line in refused(write(FUNCTION), *words)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("run = 3\n", "defines neither run = Run(...) nor a function run"),
        ("", "defines neither run = Run(...) nor a function run"),
        ("def run():\n    return 3\n", "its function run returned int; expected a Run"),
        ("def run(out: str = ''):\n    return 3\n", "--out is an option of groupwise run itself"),
        ("def run(x):\n    return 3\n", "run's parameter x can't be an option; give it one type of str, int"),
        ("def run(x: list[int]):\n    return 3\n", "run's parameter x can't be an option"),
        ("def run(*x: int):\n    return 3\n", "run's parameter x can't be an option"),
    ],
)
def test_a_file_that_is_no_recipe(write, refused, text, line):
    assert line in refused(write(text))


def test_a_recipe_that_is_not_there(refused):
    assert "nowhere.py: no such recipe file" in refused("nowhere.py")


def test_a_value_takes_no_model(write, refused):
    assert "--model goes with a method's name" in refused(write(VALUE), "--model", "x")


def test_options_before_the_recipe(write, refused):
    assert "a recipe comes first, and then options such as --steps" in refused("--steps", "3", write(VALUE))


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_of_a_value(write, capsys, words):
    with pytest.raises(SystemExit) as end:
        main(["run", write(VALUE), *words])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("About it.")
    assert "--steps" in shown


def test_help_of_a_function(write, capsys):
    """Also where the recipe cannot be made yet."""
    assert main(["run", write(FUNCTION), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("About the function.")
    assert "--width INT" in shown
    assert "needed" in shown
    assert "default: 'made'" in shown
    assert "--width is missing" in shown
    with pytest.raises(SystemExit):
        main(["run", write(FUNCTION), "--width", "64", "--help"])
    assert "--steps" in capsys.readouterr().out


def test_help_of_a_method(capsys):
    with pytest.raises(SystemExit) as end:
        main(["run", "grpo", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "--reward REWARD" in shown
    assert "--algorithm.source.group_size INT" in shown


def test_a_method_by_its_name(tiny_model, dry, tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n} + 1 = ?", "answer": str(n + 1)}) + "\n" for n in range(10)))
    known = ["--model", str(tiny_model), "--data", str(data), "--reward", "answer", "--held-out", "0.2"]
    recipe = dry("grpo", *known, "--algorithm.kl.coefficient", "0")
    assert recipe["name"] == "grpo-train"
    assert recipe["model"] == str(tiny_model)
    assert recipe["stages"][0]["algorithm"]["kl"]["coefficient"] == 0
    assert [reward["name"] for reward in recipe["stages"][0]["task"]["rewards"]] == ["answer"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["grpo"],
            "--model is missing; expected e.g. groupwise run grpo --model PATH --data train.jsonl",
        ),
        (["grpo", "--model", "m"], "--data is missing"),
        (["grpo", "--model", "m", "--data", "d"], "--reward is missing"),
        (["gpro"], "gpro is neither a recipe file (.py) nor a method: perhaps you meant grpo"),
    ],
)
def test_what_a_method_needs(refused, words, line):
    assert line in refused(*words)


REWARDS = """
def wrong(completion):
    return 0.0

def right(completion):
    return 1.0

def fmt(completion):
    return 1.0
"""


@pytest.mark.parametrize(
    ("words", "correct"),
    [
        (["--reward", "{file}:wrong", "--reward", "{file}:fmt"], False),
        (["--reward", "{file}:right", "--reward", "length:4,4*9"], True),
        (["--reward", "{file}:fmt", "--reward", "{file}:wrong*0.5", "--judge", "wrong"], False),
        (["--reward", "{file}:wrong", "--judge", "{file}:right"], True),
    ],
    ids=["a format", "a length", "a judge among the rewards", "a judge beside them"],
)
def test_only_the_judge_makes_an_answer_right(words, correct, tiny_model, capsys, tmp_path):
    """In what online RFT imitates, in quick evaluations, in the evaluation, in the ledger and in the step line."""
    from groupwise.ledger import Ledger

    (tmp_path / "rewards.py").write_text(REWARDS)
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [word.format(file=tmp_path / "rewards.py") for word in words]
    sizes = [
        "--steps",
        "1",
        "--prompts_per_step",
        "2",
        "--evaluate_every",
        "1",
        "--algorithm.source.max_completion_tokens",
        "8",
    ]
    few = ["--evaluation.max_completion_tokens", "8", "--evaluation.problems", "4", "--held_out", "0.3"]
    where = ["--model", str(tiny_model), "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")]
    assert main(["run", "online_rft", *where, *sizes, *few, *given]) == 0
    shown = capsys.readouterr().out
    truth = float(correct)
    assert f"greedy accuracy {truth:.3f} [" in shown
    judge = "right" if correct else "wrong"
    assert f"; correct: by {judge}; mean " in shown
    metrics = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert metrics["eval/accuracy"] == metrics["eval/pass@1"] == truth
    assert f" {judge} {truth:.3f} " in shown  # the judge's mean in the step line
    *_, model = json.loads((tmp_path / "out" / "evaluation.json").read_text())["models"]
    assert (model["evaluation"]["judge"], model["evaluation"]["pass_at_1"]["value"]) == (judge, truth)
    ledger = Ledger(tmp_path / "out" / "ledger").read("online_rft", 1)
    assert {row["correct"] for row in ledger} == {correct}
    assert {advantage for row in ledger for advantage in row["advantages"]} == {truth}


def test_several_files_of_data(dry: Callable[..., dict], tmp_path: Path, tiny_model: Path) -> None:
    """Each is used: none is dropped for the one after it."""
    for name, count in (("a", 20), ("b", 10)):
        rows = [{"question": f"{name}{number}?", "answer": "4"} for number in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--data", str(tmp_path / "a.jsonl"), "--data", f"{tmp_path / 'b.jsonl'}*0.5"]
    recipe = dry("sft", "--model", str(tiny_model), *files, "--held_out", "0")
    task = recipe["stages"][0]["task"]
    assert recipe["name"] == "sft-a+b"
    assert task["train"]["rows"] == 30
    assert [(share["rows"], share["weight"]) for share in task["shares"]] == [(20, 1.0), (10, 0.5)]
