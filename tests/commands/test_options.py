"""A recipe's numbers from the command line and from TOML files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from groupwise import HeldOut, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.commands.options import from_toml, tune
from groupwise.errors import UserError

TASK = tasks.stepwise(train_size=10)
SFT = Stage("sft", recipes.sft, TASK, steps=600)
GRPO = Stage("grpo", replace(recipes.grpo, source=OnPolicy(group_size=8, without_signal="drop")), TASK, steps=40)
TWO = Run("two", NewModel(), (SFT, GRPO))
ONE = Run("one", "some/model", (GRPO,))


def test_nothing_given_changes_nothing():
    assert tune(TWO, [], "x") == TWO


@pytest.mark.parametrize("spelling", [["--grpo.steps", "7"], ["--grpo.steps=7"]])
def test_a_number_of_one_stage(spelling):
    assert tune(TWO, spelling, "x") == replace(TWO, stages=(SFT, replace(GRPO, steps=7)))


def test_deep_numbers():
    options = ["--grpo.algorithm.kl.coefficient", "0.5", "--grpo.algorithm.objective.high", "0.28"]
    algorithm = tune(TWO, [*options, "--grpo.algorithm.source.group_size", "4"], "x").stages[1].algorithm
    assert algorithm.kl.coefficient == 0.5
    assert (algorithm.objective.low, algorithm.objective.high) == (0.2, 0.28)
    assert algorithm.source == OnPolicy(group_size=4, without_signal="drop")


def test_one_stage_needs_no_name():
    tuned = tune(ONE, ["--steps", "3", "--algorithm.source.temperature", "0.7", "--algorithm.kl.estimator", "k2"], "x")
    assert tuned.stages[0].steps == 3
    assert tuned.stages[0].algorithm.source.temperature == 0.7
    assert tuned.stages[0].algorithm.kl.estimator == "k2"


def test_what_is_not_a_stage():
    options = ["--seed", "5", "--learner.betas", "0.8", "0.9", "--learner.tokens-per-micro-batch", "100"]
    tuned = tune(TWO, [*options, "--evaluation.problems", "9", "--engine.max_rows", "2"], "x")
    assert tuned.seed == 5
    assert tuned.learner.betas == (0.8, 0.9)
    assert tuned.learner.tokens_per_micro_batch == 100
    assert tuned.evaluation == HeldOut(problems=9)
    assert tuned.engine.max_rows == 2
    assert tuned.stages == TWO.stages


def test_the_task_stays_the_very_same():
    assert all(stage.task is TASK for stage in tune(TWO, ["--seed", "1"], "x").stages)


def test_a_stage_may_have_any_name():
    odd = replace(TWO, stages=(replace(SFT, name="warm-up"), replace(GRPO, name="seed")))
    tuned = tune(odd, ["--seed.steps", "2", "--seed", "3"], "x")
    assert (tuned.seed, tuned.stages[1].steps) == (3, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grpo.algorithm.objective.hi", "1"], "unknown option --grpo.algorithm.objective.hi: perhaps you meant "
            "--grpo.algorithm.objective.high"),
        (["--grpo.group_size", "1"], "unknown option --grpo.group_size: perhaps you meant "
            "--grpo.algorithm.source.group_size"),
        (["--freh"], "unknown option --freh: perhaps you meant --fresh"),
        (["--zzz"], "unknown option --zzz; --help lists the options"),
        (["--seed", "one"], "Error parsing --seed: invalid literal for int"),
        (["--seed"], "Missing value for argument '--seed'"),
        (["--grpo.schedule", "up"], "Expected one of .'constant', 'linear', 'cosine'"),
        (["seven"], "Unrecognized options: seven"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(UserError, match=message) as error:
        tune(TWO, words, "x", others=["--fresh", "--out"])
    assert "\n" not in str(error.value)
    assert "│" not in str(error.value)


def test_help_explains_every_number(capsys):
    with pytest.raises(SystemExit) as end:
        tune(TWO, ["--help"], "groupwise run two.py")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "--grpo.algorithm.source.group_size" in shown
    assert "Completions a prompt, G. (default: 8)" in shown


def test_a_toml_file_is_flags_in_a_file(tmp_path):
    file = tmp_path / "options.toml"
    file.write_text('seed = 4\n[grpo]\nsteps = 7\nschedule = "linear"\n[grpo.algorithm.kl]\ncoefficient = 0.5\n')
    file.write_text(file.read_text() + "[learner]\nbetas = [0.8, 0.9]\n")
    words = from_toml(str(file))
    assert words[:2] == ["--seed", "4"]
    tuned = tune(TWO, [*words, "--grpo.steps", "8"], "x")
    assert (tuned.seed, tuned.stages[1].schedule, tuned.learner.betas) == (4, "linear", (0.8, 0.9))
    assert tuned.stages[1].algorithm.kl.coefficient == 0.5
    assert tuned.stages[1].steps == 8  # the later one wins


@pytest.mark.parametrize(("text", "message"), [(None, "no such file"), ("steps =", "not valid TOML")])
def test_a_bad_toml_file(tmp_path, text, message):
    file = tmp_path / "options.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        from_toml(str(file))
