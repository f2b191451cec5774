"""What a user can get wrong: one line says what was seen, where, and what to do; exit code 2; nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import warm
from transformers import AutoTokenizer

from groupwise.cli import main

ROWS = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(8)]
Fails = Callable[..., str]


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "train.jsonl", ROWS)


@pytest.fixture
def train(tiny_model: Path, data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a run that works, in which a test changes one thing."""

    def arguments(*more: str, method: str = "grpo", **changed: object) -> list[str]:
        given = {"model": tiny_model, "data": data, "reward": "answer", "out": tmp_path / "run", **changed}
        flags = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        budget = {"--steps": "2", "--prompts_per_step": "2", "--evaluation.problems": "0"}
        if method == "grpo":
            budget |= {"--algorithm.source.group_size": "2", "--algorithm.source.max_completion_tokens": "4"}
        kept = [word for name, value in budget.items() if name not in more for word in (name, value)]
        return ["run", method, *flags, *kept, *more]

    return arguments


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fails:
    """Runs the command line, expects a refusal, and returns its one line."""

    def refused(arguments: list[str], kept: set[str] | None = None) -> str:
        before = set(tmp_path.iterdir())
        capsys.readouterr()
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        mistakes = [line for line in lines if line.startswith(f"groupwise {arguments[0]}: ")]
        assert len(mistakes) == 1
        assert mistakes[0] == lines[-1]
        assert "Traceback" not in "".join(lines)
        assert set(tmp_path.iterdir()) == before
        return mistakes[0]

    return refused


def without_template(model: Path, directory: Path) -> Path:
    shutil.copytree(model, directory)
    (directory / "chat_template.jinja").unlink()
    return directory


def with_tokenizer(model: Path, directory: Path, **tokens: None) -> Path:
    """The model with special tokens taken away from its tokenizer and its generation config."""
    without_template(model, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for name in tokens:
        setattr(tokenizer, name, None)
    tokenizer.save_pretrained(directory)
    config = json.loads((directory / "generation_config.json").read_text())
    (directory / "generation_config.json").write_text(json.dumps({k: v for k, v in config.items() if k[:3] != "eos"}))
    return directory


def test_what_these_tests_change_works(train, tmp_path):
    assert main(train()) == 0
    assert (tmp_path / "run" / "models" / "grpo" / "model.safetensors").exists()


def test_missing_data(fails, train, tmp_path):
    assert f"{tmp_path / 'trian.jsonl'}: no such file; perhaps you meant {tmp_path / 'train.jsonl'}" in fails(
        train(data=tmp_path / "trian.jsonl")
    )


def test_empty_data(fails, train, data):
    data.write_text("\n")
    assert f"{data}: no rows" in fails(train())


def test_a_malformed_row(fails, train, data):
    data.write_text(data.read_text() + '{"question": "1 + 1 = ?", "answer": \n')
    assert f"{data}:9: not JSON" in fails(train())


def test_a_column_that_is_not_there(fails, train):
    message = fails(train("--prompt_column", "frage"))
    assert "frage" in message
    assert "question" in message  # what there is


def test_a_row_without_the_column(fails, train, data):
    write_rows(data, [*ROWS, {"question": "9 + 1 = ?"}])
    assert "train.jsonl:9" in fails(train())


def test_a_long_prompt_is_skipped_and_counted(train, data, tmp_path):
    write_rows(data, [*ROWS[:2], {"question": "1" * 500, "answer": "1"}])
    assert main(train("--held_out", "0", "--steps", "3")) == 0
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(step["prompts_too_long"] for step in steps) >= 1


def test_a_long_prompt_is_an_error_by_option(fails, train, data):
    write_rows(data, [{"question": "1" * 500, "answer": "1"}, *ROWS[:1]])
    message = fails(train("--held_out", "0", "--long_prompts", "error"))
    assert "train.jsonl:1 needs" in message
    assert "the context has 128" in message


def test_only_long_prompts(fails, train, data):
    write_rows(data, [{"question": f"{n}" * 500, "answer": "1"} for n in range(3)])
    assert "too long" in fails(train())


def test_messages_without_a_chat_template(fails, train, data, tiny_model, tmp_path):
    messages = [{"role": "user", "content": "1 + 1 = ?"}]
    write_rows(data, [{"prompt": messages, "answer": "2"}, {"prompt": messages, "answer": "2"}])
    model = without_template(tiny_model, tmp_path / "plain")
    message = fails(train(model=model))
    assert "train.jsonl:" in message
    assert f"{model} has no chat template" in message


def test_a_tokenizer_without_an_eos_token(fails, train, tiny_model, tmp_path):
    model = with_tokenizer(tiny_model, tmp_path / "endless", eos_token=None)
    assert "the tokenizer has no EOS token" in fails(train(model=model))


def test_a_tokenizer_without_a_pad_token_needs_none(train, tiny_model, tmp_path):
    model = with_tokenizer(tiny_model, tmp_path / "unpadded", pad_token=None)
    assert AutoTokenizer.from_pretrained(model).pad_token is None
    assert main(train(model=model)) == 0


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("raise ZeroDivisionError('no')", "raised ZeroDivisionError"),
        ("return float('nan')", "nan"),
        ("return 'good'", "'good'"),
        ("return [1.0, 2.0, 3.0]", "3"),
        ("return [None] * len(completions)", "returned None"),
    ],
)
def test_a_reward_that_fails(fails, train, tmp_path, body, seen):
    (tmp_path / "reward.py").write_text(f"def mine(completions, **rest):\n    {body}\n")
    message = fails(train(reward=f"{tmp_path / 'reward.py'}:mine"))
    assert "mine" in message
    assert seen in message


def test_a_reward_that_is_not_there(fails, train):
    assert "unknown reward 'maths', perhaps you meant 'math'" in fails(train(reward="maths"))


def test_a_learned_reward_that_is_not_there(fails, train, tiny_model, tmp_path):
    assert f"{tmp_path / 'prm'}: no such model directory" in fails(train(reward=f"process:{tmp_path / 'prm'}"))
    assert "which has no score; expected what a reward model's stage left" in fails(
        train(reward=f"outcome:{tiny_model}")
    )


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--freh", "--fresh"),
        ("--setps", "--steps"),
        ("--algorithm.objective.hi", "--algorithm.objective.high"),
        ("--group_sise", "--algorithm.source.group_size"),
    ],
)
def test_an_unknown_option(fails, train, option, hint):
    assert fails(train(option, "3")).endswith(f"unknown option {option}: perhaps you meant {hint}")


@pytest.mark.parametrize("value", ["two", ""])
def test_a_value_that_does_not_fit(fails, train, value):
    assert "--steps" in fails(train("--steps", value))


def test_a_directory_that_is_no_model(fails, train, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: not a model directory, config.json is missing" in fails(
        train(model=tmp_path / "empty")
    )


def test_a_model_that_is_not_there(fails, train, tmp_path):
    assert f"{tmp_path / 'nowhere'}: no such model directory" in fails(train(model=tmp_path / "nowhere"))


def test_a_broken_model(fails, train, tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert f"{tmp_path / 'broken'}: the model can't be loaded" in fails(train(model=tmp_path / "broken"))


def test_a_group_of_one_with_a_group_baseline(fails, train):
    assert "group_size is 1 with an advantage that compares" in fails(train("--algorithm.source.group_size", "1"))


def test_rows_without_demonstrations(fails, train, data):
    write_rows(data, [{"prompt": row["question"]} for row in ROWS])
    assert "has no demonstration" in fails(train(method="sft", reward=None))


def test_a_run_directory_of_another_recipe(fails, train, tmp_path):
    assert main(train()) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}
    message = fails(train("--learning_rate", "0.5"))
    assert "belongs to another recipe" in message
    assert "learning_rate: 0.5 (there: 1e-06)" in message
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}


def test_a_directory_that_is_no_run(fails, train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    assert "holds thesis.tex but no run.json" in fails(train("--fresh"))
    assert (tmp_path / "run" / "thesis.tex").read_text() == "mine"


def test_a_new_model_of_a_failed_run_is_not_kept(fails, tmp_path):
    (tmp_path / "recipe.py").write_text(
        "from groupwise import NewModel, Run, Stage, recipes, tasks\n"
        "model = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=16)\n"
        "run = Run('mine', model, (Stage('sft', recipes.sft, tasks.stepwise(train_size=20), steps=1),))\n"
    )
    assert "too long" in fails(["run", str(tmp_path / "recipe.py"), "--out", str(tmp_path / "deep" / "run")])


@pytest.mark.parametrize("command", ["evaluate", "chat"])
def test_no_model_to_speak_with(fails, tmp_path, command):
    arguments = {"evaluate": ["--task", "stepwise"], "chat": ["--prompt", "1 + 1 = ?"]}[command]
    assert "no such model directory" in fails([command, str(tmp_path / "nowhere"), *arguments])


def test_the_real_command(train, data, tmp_path):
    """The same in a process of its own: code 2, one line, no traceback."""
    data.write_text("{")
    result = warm.run(["-m", "groupwise.cli", *train()])
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"groupwise run: {data}:1: not JSON" in result.stderr
    assert not (tmp_path / "run").exists()
