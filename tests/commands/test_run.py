"""``groupwise run``: recipe files as values and as functions, methods by name, dry runs, stopping and going on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from warm import Process

from groupwise import recipes
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
        (["--width", "64", "--width", "32"], "--width is given twice, as 64 and as 32"),
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
    assert main(["run", write(VALUE), *words]) == 0
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
    assert main(["run", write(FUNCTION), "--width", "64", "--help"]) == 0
    assert "--steps" in capsys.readouterr().out


OPTION = re.compile(r"^[│ ] *--([\w.]+) ", re.MULTILINE)


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_help_of_a_method_begins_with_what_matters_first(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["run", "grpo", "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= min(columns, 100)
    box = shown[shown.index("╭") : shown.index("╰")]
    first = "model data reward steps prompts_per_step group_size max_completion_tokens temperature learning_rate beta"
    assert OPTION.findall(box) == [*first.split(), "lora", "out"]
    assert "critic " in shown
    assert "off; --critic.network {none,head,own} turns it on" in " ".join(shown.split())
    assert "--critic.clip" not in shown
    assert shown.endswith("more: groupwise run grpo --help_all\n")


@pytest.mark.parametrize("name", recipes.__all__)
def test_what_matters_first_fits_a_terminal_of_24_lines(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["run", name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    end = next(place for place, line in enumerate(lines, 1) if line.startswith("╰"))
    box = [line for line in lines[:end] if line.startswith("│")]
    assert end <= 24
    assert len(box) == len(OPTION.findall("\n".join(box))), "a line each"


def test_help_that_a_terminal_is_too_low_for_goes_through_a_pager():
    """So that its first lines are seen first: here a pager that shows three lines and ends."""
    shown, terminal = pty.openpty()
    place = {**os.environ, "PAGER": "head -n 3", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    words = ["-m", "groupwise.cli", "run", "grpo", "--help"]
    assert Process(words, stdin=terminal, stdout=terminal, stderr=2, env=place).wait() == 0
    os.close(terminal)
    text = b""
    with contextlib.suppress(OSError):  # of an end of a terminal whose other one is closed and read out
        while part := os.read(shown, 10000):
            text += part
    os.close(shown)
    lines = text.decode().splitlines()
    assert lines[0].startswith("usage: groupwise run grpo")
    assert len(lines) == 3


@pytest.mark.parametrize("name", ["grpo", "ppo", "dpo", "rft", "openrlhf_0_11_ppo", "deepseek_v3_2"])
def test_plain_help_shows_fewer_than_fifty_options_and_help_all_every_one(capsys, name):
    assert main(["run", name, "--help"]) == 0
    assert 20 < len(set(OPTION.findall(capsys.readouterr().out))) < 50
    assert main(["run", name, "--help_all"]) == 0
    shown = set(OPTION.findall(capsys.readouterr().out))
    assert {"algorithm.kl.target", "learner.betas", "engine.threads", "checkpoints.keep_every"} <= shown
    assert "help_all" not in shown


def test_each_name_that_help_shows_is_accepted(capsys, dry, roomy_model, sums):
    """Of a method, and of a recipe of several stages."""
    main(["run", "ppo", "--help"])
    row = re.compile(r"^[│ ] *--([a-z_.]+) (?:INT|FLOAT)\b.*?default: ([\d.e-]+)\)", re.MULTILINE)
    shown = capsys.readouterr().out.replace("│", " ")
    rows = dict(row.findall(re.sub(r"\n {20,}", " ", shown)))
    assert len(rows) > 15
    words = [word for name, value in rows.items() for word in (f"--{name}", value)]
    plain = ["ppo", "--model", str(roomy_model), "--data", sums, "--reward", "answer"]
    assert dry(*plain, *words) == dry(*plain)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [{"prompt": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(10)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "train.jsonl")


def test_a_method_by_its_name(tiny_model, dry, sums):
    known = ["--model", str(tiny_model), "--data", sums, "--reward", "answer", "--held-out", "0.2"]
    recipe = dry("grpo", *known, "--algorithm.kl.coefficient", "0", "--group_size", "4", "--max_completion_tokens", "8")
    assert recipe["name"] == "grpo-train"
    assert recipe["model"] == str(tiny_model)
    assert recipe["stages"][0]["algorithm"]["kl"]["coefficient"] == 0
    assert recipe["stages"][0]["algorithm"]["source"]["group_size"] == 4
    assert [reward["name"] for reward in recipe["stages"][0]["task"]["rewards"]] == ["answer"]


def test_what_templates_are_told_and_what_ends_a_completion(roomy_model, sums, write, capsys):
    """A template that does not read what it is told would break the run, whose recipe is shown all the same."""
    words = ["--chat.enable_thinking", "false", "--chat.effort", "low", "--chat.depth=3", "--chat.more", '{"a": [1]}']
    words += ["--stop", "</answer>", "--stop", r"\n\n"]
    of_method = ["grpo", "--model", str(roomy_model), "--data", sums, "--reward", "math"]
    for given, code, said in ((of_method, 0, ""), ([write(VALUE)], 1, "does not read enable_thinking")):
        assert main(["run", *given, *words, "--dry_run"]) == code
        shown = capsys.readouterr()
        assert said in shown.err
        task = json.loads(shown.out)["stages"][0]["task"]
        expected = {"enable_thinking": False, "effort": "low", "depth": 3, "more": {"a": [1]}}
        assert task["template_arguments"] == expected
        assert task["stop_strings"] == ["</answer>", "\n\n"]


FILE_TOML = """method = "grpo"
model = "{model}"
data = "{data}"
reward = ["math", "answer"]
held_out = "0.2"
steps = 5
beta = 0.5
chat.enable_thinking = false
stop = ["</answer>"]
max_completion_tokens = 8
[source]
group_size = 4
[learner]
betas = [0.8, 0.9]
"""
FILE_YAML = """method: grpo
model: {model}
data: [{data}]
reward: [math, answer]
held_out: 0.2
steps: 5
kl: {{coefficient: 0.5}}
chat: {{enable_thinking: false}}
stop: </answer>
source.group_size: 4
max_completion_tokens: 8
learner: {{betas: [0.8, 0.9]}}
"""
LINE = "grpo --reward math --reward answer --held_out 0.2 --steps 5 --beta 0.5 --chat.enable_thinking false"
LINE += " --stop </answer> --group_size 4 --max_completion_tokens 8 --betas 0.8 0.9"


@pytest.mark.parametrize(("name", "text"), [("run.toml", FILE_TOML), ("run.yaml", FILE_YAML), ("run.yml", FILE_YAML)])
def test_a_file_holds_a_whole_run(roomy_model, dry, sums, tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text.format(model=roomy_model, data=sums))
    line = dry(*LINE.split(), "--model", str(roomy_model), "--data", sums)
    assert dry(str(file)) == dry("grpo", "--options", str(file)) == line
    assert dry(str(file), "--steps", "9", "--reward", "math")["stages"][0]["steps"] == 9
    rewards = dry(str(file), "--reward", "math")["stages"][0]["task"]["rewards"]
    assert [reward["name"] for reward in rewards] == ["math"]


@pytest.mark.parametrize("name", ["kept.toml", "kept.yaml"])
def test_a_command_line_can_be_kept_as_a_file(roomy_model, dry, sums, tmp_path, capsys, name):
    odd = [
        "--system",
        'Say "1e3", \\ or é.\x7f',
        "--chat.x",
        '{"a": [1, "b"]}',
        "--lr",
        "1e-3",
    ]
    line = [*LINE.split(), "--model", str(roomy_model), "--data", sums, *odd]
    kept = tmp_path / name
    assert main(["run", *line, "--write_options", str(kept)]) == 0
    assert f"to run it: groupwise run {kept}" in capsys.readouterr().out
    assert dry(str(kept)) == dry(*line)


def test_a_recipe_files_command_line_can_be_kept(write, dry, tmp_path):
    line = [write(FUNCTION), "--width", "64", "--steps", "3", "--loud", "true", "--label", "123"]
    kept = str(tmp_path / "kept.toml")
    assert main(["run", *line, "--write_options", kept]) == 0
    assert dry(kept) == dry(*line)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", "steps =", "a.toml: not valid TOML: Invalid value (at end of document)"),
        ("a.yaml", "steps: [", "a.yaml: not valid YAML: "),
        ("a.json", "{}", "a.json: expected a name that ends in .toml, .yaml, .yml"),
        ("a.yaml", "- 3", "a.yaml: expected keys with values"),
        ("a.yaml", "method: grpo\nstep: 3", "a.yaml, line 2: unknown option step: perhaps you meant --steps"),
        ("a.toml", 'method = "grpo"\nstep = 3', "a.toml: unknown option step: perhaps you meant --steps"),
        ("a.yaml", "steps: 3\nsteps: 4", "a.yaml, line 1: steps is given twice, as 3 and as 4"),
        ("a.yaml", "\nsteps: three", "a.yaml, line 2: steps: --steps is 'three'; expected a whole number"),
        ("a.toml", "steps = [1, 2]", "a.toml: steps is 1 2; expected one value"),
        ("a.yaml", "steps:", "a.yaml, line 1: steps: no value of an option"),
        ("a.toml", "threads = 1", "a.toml: threads: --threads could be --learner.threads or --engine.threads"),
        ("a.toml", "fresh = true", "a.toml: fresh belongs on the command line"),
        ("a.toml", "dry_run = true", "a.toml: dry_run belongs on the command line"),
        ("a.toml", 'model = ["a", "b"]', "a.toml: model is a b; expected one value"),
        ("a.toml", "chat.messages = 3", "a.toml: chat.messages: no argument of a chat template"),
        ("a.toml", "steps = 1979-05-27", "a.toml: steps: datetime.date(1979, 5, 27) is no value of an option"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_key(tiny_model, sums, refused, tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    known = ["--model", str(tiny_model), "--data", sums, "--reward", "math"]
    assert f"{tmp_path}/{line}" in refused("grpo", *known, "--options", str(tmp_path / name), "--dry_run")


def test_a_file_that_does_not_say_what_is_run(refused, tmp_path):
    (tmp_path / "a.toml").write_text("steps = 3")
    assert "a.toml: nothing says what is run" in refused(str(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_text('method = "grpo"\nrecipe = "x.py"')
    assert "both say what is run" in refused(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--model a --model b", "--model is given twice, as a and as b; expected once"),
        ("--model=a --model b", "--model is given twice, as a and as b; expected once"),
        ("--options a.toml --options b.toml", "--options is given twice, as a.toml and as b.toml"),
        ("--steps 1 --steps 2", "--steps is given twice, as 1 and as 2"),
        ("--chat.x 1 --chat.x 2", "--chat.x is given twice, as 1 and as 2"),
        ("--held-out 0.1 --held_out 0.2", "--held_out 0.1 0.2: a fraction of --data stands alone"),
    ],
)
def test_an_option_of_one_value_is_given_once(tiny_model, sums, refused, words, line):
    known = ["--data", sums, "--reward", "math", *(["--model", str(tiny_model)] if "--model" not in words else [])]
    assert line in refused("grpo", *known, *words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--chat.enable_thinking", "--chat.enable_thinking has 0 values; expected one"),
        ("--chat.a.b 1", "--chat.a.b: no argument of a chat template that an option can set"),
        ("--chat.tokenize true", "--chat.tokenize: no argument of a chat template"),
        ("--stop=", "--stop is an empty text"),
    ],
)
def test_what_no_template_can_be_told(tiny_model, sums, refused, words, line):
    assert line in refused("grpo", "--model", str(tiny_model), "--data", sums, "--reward", "math", *words.split())


def test_a_misspelt_name_is_named_before_what_it_leaves_missing(refused):
    assert "unknown option --modle: perhaps you meant --model" in refused("grpo", "--modle", "x")


def test_the_help_of_reward_names_every_kind():
    from groupwise.commands.parser import REWARDS
    from groupwise.rewards.named import BUILT_IN, SCORERS

    assert all(name in REWARDS for name in (*BUILT_IN, *SCORERS, "FILE.py:function", "module:function"))


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


BROKEN = {
    "1 / 0\n": "recipe.py:1 (1 / 0): ZeroDivisionError: division by zero",
    "import groupwise\n\ndef made():\n    return groupwise.Nothing\n\nrun = made()\n": (
        "recipe.py:4 (return groupwise.Nothing), called at recipe.py:6 (run = made()): AttributeError: module"
    ),
    "from groupwise.errors import Nothing\n": "recipe.py:1 (from groupwise.errors import Nothing): ImportError: cannot",
    "run = Run(\n": "recipe.py:1: '(' was never closed: run = Run(",
    "import neighbour\n": "neighbour.py:2 (raise KeyError), called at recipe.py:1 (import neighbour): KeyError",
    "from groupwise import Stage\nrun = Stage(nme='x')\n": "recipe.py:2 (run = Stage(nme='x')): TypeError: ",
    "raise SystemExit('enough')\n": "recipe.py:1 (raise SystemExit('enough')): SystemExit: enough",
    "def run(model: str = 'x'):\n    return undefined\n": "recipe.py:2 (return undefined): NameError: name 'undefined'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_an_error_in_a_recipe_is_its_own_lines(text, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "neighbour", raising=False)
    (tmp_path / "neighbour.py").write_text("# mine\nraise KeyError\n")
    (tmp_path / "recipe.py").write_text(text)
    assert refused("recipe.py").startswith(f"groupwise run: {BROKEN[text]}")


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_written_is_one_line(error, write, refused, monkeypatch, tmp_path):
    def mkdir(self, *rest, **options):
        raise OSError(error, os.strerror(error), str(self))

    recipe = write(VALUE)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    line = refused(recipe, "--out", str(tmp_path / "there"))
    assert f"{tmp_path}/there: can't be written ({os.strerror(error)}: " in line
    assert line.endswith("choose another --out")


def test_any_other_file_that_cannot_be_written_is_one_line(tiny_model, tmp_path, monkeypatch, capsys):
    from groupwise.commands import evaluate

    def refuse(*rest):
        raise OSError(errno.EROFS, "Read-only file system", "there.json")

    monkeypatch.setattr(evaluate, "execute", refuse)
    assert main(["evaluate", "x"]) == 2
    assert capsys.readouterr().err == "groupwise evaluate: there.json: Read-only file system; choose another place\n"
    monkeypatch.setattr(evaluate, "execute", lambda arguments: (tmp_path / "absent").read_text())
    with pytest.raises(FileNotFoundError):
        main(["evaluate", "x"])


def test_a_dry_run_without_its_model_says_what_the_rows_say(sums, monkeypatch, capsys):
    """The recipe, findings on data, what was left open, and 1 for a model that cannot be fetched."""
    from groupwise.errors import UserError
    from groupwise.storage import hub

    def unreachable(name: str, kind: str) -> bool:
        raise UserError(f"{name}: the hub can't be reached")

    monkeypatch.setattr(hub, "answers", unreachable)
    with open(sums, "a") as file:
        file.write('{"prompt": "2 + 1 = ?", "answer": "9"}\n{"prompt": "5 = ?", "answer": "many"}\n')
    given = ["grpo", "--model", "some/model", "--data", sums, "--reward", "math", "--held_out", "0"]
    assert main(["run", *given, "--dry_run"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["model"] == "some/model"
    lines = shown.err.splitlines()
    assert "would break: grpo: model: some/model: the hub can't be reached" in lines
    assert sum(line.startswith("would break") for line in lines) == 1
    assert any("1 row (train.jsonl:11) of" in line and "another answer" in line for line in lines)
    [left_open] = [line for line in lines if "could not be looked at" in line]
    assert left_open.startswith("grpo: model: without it these could not be looked at: the lengths of prompts, ")


def test_process_supervision_by_one_command(tiny_model, tmp_path, monkeypatch, capsys):
    """The rule of stepwise scores every step, and nothing is said of missing ones."""
    monkeypatch.chdir(tmp_path)
    small = ["--steps", "1", "--prompts_per_step", "2", "--algorithm.source.max_completion_tokens", "12"]
    small += ["--evaluation.problems", "2", "--evaluation.max_completion_tokens", "4", "--learner.threads", "1"]
    words = ["grpo_process", "--model", str(tiny_model), "--data", "stepwise:1", *small]
    assert main(["run", *words, "--reward", "steps"]) == 0
    assert "without step scores" not in capsys.readouterr().out
    record = json.loads((tmp_path / "runs/grpo_process-stepwise/run.json").read_text())
    [stage] = record["recipe"]["stages"]
    assert [reward["is"] for reward in stage["task"]["rewards"]] == ["StepRule"]
    assert main(["run", *words, "--reward", "answer", "--out", "runs/outcome"]) == 0
    assert "process supervision without step scores: no reward of task stepwise (answer)" in " ".join(
        capsys.readouterr().out.split()
    )


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
    from groupwise.ledger.files import Ledger

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
    header, first = (line.split() for line in shown.splitlines() if line.split()[:1] in (["online_rft"], ["1/1"]))
    assert first[header.index(judge)] == f"{truth:.3f}"  # the judge's mean in the step line
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
    assert recipe["name"] == "sft-a-b"
    assert task["train"]["rows"] == 30
    assert [(share["rows"], share["weight"]) for share in task["shares"]] == [(20, 1.0), (10, 0.5)]
