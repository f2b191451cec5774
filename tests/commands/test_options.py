"""A recipe's numbers from the command line and from TOML files."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, make_dataclass, replace
from typing import NamedTuple

import pytest

from groupwise import HeldOut, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import ClippedRatio
from groupwise.commands.flags import Flag
from groupwise.commands.option_files import read_options
from groupwise.commands.options import Options, tune
from groupwise.commands.recipe_module import RECIPE_MODULE, namespace_of
from groupwise.config.describe import describe, differences
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


@pytest.mark.parametrize("name", ["grpo.steps", "grpo.group_size", "grpo.algorithm.source.group_size", "grpo.lr"])
def test_one_stage_may_be_named(name):
    short = name.removeprefix("grpo.")
    assert tune(ONE, [f"--{name}", "3"], "x") == tune(ONE, [f"--{short}", "3"], "x") != ONE


def test_one_stage_named_and_not_is_one_option():
    with pytest.raises(UserError, match=r"--grpo\.steps 4"):
        tune(ONE, ["--steps", "3", "--grpo.steps", "4"], "x")


@pytest.mark.parametrize("name", ["grpo.seed", "grpo.learner.lora.rank", "grpo.problems", "sft.steps"])
def test_what_is_not_of_the_one_stage_does_not_have_its_name(name):
    with pytest.raises(UserError, match=f"unknown option --{name}"):
        tune(ONE, [f"--{name}", "3"], "x")


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
        (["--grpo.grup_size", "1"], "unknown option --grpo.grup_size: perhaps you meant "
            "--grpo.algorithm.source.group_size"),
        (["--freh"], "unknown option --freh: perhaps you meant --fresh"),
        (["--zzz"], "unknown option --zzz; --help lists the options"),
        (["--seed", "one"], "^--seed is 'one'; expected a whole number$"),
        (["--seed", "1e3"], "^--seed is '1e3'; expected a whole number$"),
        (["--seed="], "^--seed is ''; expected a whole number$"),
        (["--grpo.lr", "fast"], "^--grpo.learning_rate is 'fast'; expected a number$"),
        (["--learner.betas", "0.9", "x"], "^--learner.betas is 0.9 x; expected numbers$"),
        (["--learner.checkpointing", "maybe"], "^--learner.checkpointing is 'maybe'; expected True or False$"),
        (["--learner.dtype", "float8"], "^--learner.dtype is 'float8'; expected float32, float64 or bfloat16$"),
        (["--seed"], "--seed has no value; expected one value"),
        (["--seed", "1", "2"], "--seed is 1 2; expected one value"),
        (["--learner.betas", "1"], "--learner.betas is 1; expected 2 values"),
        (["--grpo.schedule", "up"], "^--grpo.schedule is 'up'; expected constant, linear, cosine.* or "),
        (["--lora.dropouts", "1"], "unknown option --lora.dropouts: perhaps TRL"),
        (["--use_dora", "true"], "--use_dora: adapters are plain low-rank ones here"),
        (["--learner.context", "2"], "^--learner.context: it divides .* expected --processes N beside it$"),
        (["--engine.urls", "http://a"], "^--engine.urls: vLLM servers are the engine of a recipe file"),
        (["seven"], "unexpected 'seven'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(UserError, match=message) as error:
        tune(TWO, words, "x", others=["--fresh", "--out"])
    assert "\n" not in str(error.value)
    assert "│" not in str(error.value)


def test_a_toml_file_is_flags_in_a_file(tmp_path):
    file = tmp_path / "options.toml"
    file.write_text('seed = 4\n[grpo]\nsteps = 7\nschedule = "linear"\n[grpo.algorithm.kl]\ncoefficient = 0.5\n')
    file.write_text(file.read_text() + "[learner]\nbetas = [0.8, 0.9]\n")
    tuned = tune(TWO, ["--grpo.steps", "8"], "x", file=read_options(str(file)))
    assert (tuned.seed, tuned.stages[1].schedule, tuned.learner.betas) == (4, "linear", (0.8, 0.9))
    assert tuned.stages[1].algorithm.kl.coefficient == 0.5
    assert tuned.stages[1].steps == 8  # the command line goes before the file


SHORT = [
    ("--group_size 4", {"algorithm.source.group_size": 4}),
    ("--source.group_size 4", {"algorithm.source.group_size": 4}),
    ("--group-size=4", {"algorithm.source.group_size": 4}),
    ("--beta 0.1", {"algorithm.kl.coefficient": 0.1}),
    ("--kl.coefficient 0.1", {"algorithm.kl.coefficient": 0.1}),
    ("--lr 1e-3", {"learning_rate": 1e-3}),
    ("--estimator k1", {"algorithm.kl.estimator": "k1"}),
]


@pytest.mark.parametrize(("words", "expected"), SHORT)
def test_any_ending_that_is_unique_is_a_name(words, expected):
    tuned = tune(ONE, words.split(), "x")
    assert at(tuned.stages[0], expected) == expected
    assert len(changes(tuned, ONE)) == 1


@pytest.mark.parametrize(("words", "expected"), SHORT)
def test_a_stages_name_may_stand_before_an_ending(words, expected):
    tuned = tune(TWO, [words.replace("--", "--grpo.", 1).split()[0], *words.split()[1:]], "x")
    assert at(tuned.stages[1], expected) == expected
    assert tuned.stages[0] == SFT


def test_an_ending_applies_to_the_one_stage_that_has_it():
    tuned = tune(TWO, ["--group_size", "4", "--lora", "16", "--learner.alpha", "8"], "x")
    assert tuned.stages[1].algorithm.source.group_size == 4
    assert (tuned.learner.lora.rank, tuned.learner.lora.alpha) == (16, 8.0)


@pytest.mark.parametrize(
    ("recipe", "word", "could_be"),
    [
        (ONE, "--coefficient", "--kl.coefficient, --entropy.coefficient or --critic.coefficient"),
        (ONE, "--threads", "--learner.threads or --engine.threads"),
        (TWO, "--steps", "--sft.steps or --grpo.steps"),
        (TWO, "--lr", "--sft.learning_rate or --grpo.learning_rate"),
        (TWO, "--beta", "--sft.kl.coefficient or --grpo.kl.coefficient"),
        (TWO, "--kl.target", "--sft.kl.target or --grpo.kl.target"),
        (ONE, "--epsilon", "--low, --high, --advantage.epsilon or --whitening.epsilon"),
        (ONE, "--clip", "--low, --high or --critic.clip"),
        (ONE, "--rate", "--learning_rate or --entropy.rate"),
        (ONE, "--model", "--reference.model"),
        (ONE, "--alpha", "--lora.alpha or --entropy.coefficient"),
    ],
)
def test_a_name_that_could_mean_several_options_is_refused(recipe, word, could_be):
    with pytest.raises(UserError) as error:
        tune(recipe, [word, "1"], "x")
    assert str(error.value) == f"{word} could be {could_be}; say which"


def test_beta_is_the_objectives_own_where_it_has_one():
    dpo = replace(ONE, stages=(replace(GRPO, algorithm=recipes.dpo),))
    assert changes(tune(dpo, ["--beta", "0.3"], "x"), dpo) == ["stages.0.algorithm.objective.coefficient"]
    both = replace(ONE, stages=(replace(GRPO, algorithm=recipes.dpo, name="dpo"), GRPO))
    with pytest.raises(UserError, match=r"^--beta could be --objective.coefficient or --grpo.kl.coefficient;"):
        tune(both, ["--beta", "0.3"], "x")


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_options_shortest_name_means_it_alone(name):
    recipe = Run("x", NewModel(), (Stage(name, vars(recipes)[name], TASK, steps=1),))
    names = Options(recipe).names
    for option in names.full:
        found = names.find(names.short(option))
        assert found[0] == option, names.short(option)


@pytest.mark.parametrize("name", ["max_completion_tokens", "temperature"])
def test_how_completions_are_drawn_is_said_once_for_training_and_evaluation(name):
    def drawn(*words, file=()):
        tuned = tune(ONE, words, "x", file=file)
        return getattr(tuned.stages[0].algorithm.source, name), getattr(tuned.evaluation, name)

    before = drawn()
    assert drawn(f"--{name}", "3") == (3, 3)
    assert drawn(f"--{name}", "3", f"--evaluation.{name}", "5") == (3, 5)
    assert drawn(f"--evaluation.{name}", "5", f"--{name}", "3") == (3, 5)
    assert drawn(f"--source.{name}", "3") == (3, before[1])
    assert drawn(f"--{name}", "3", file=[Flag(f"evaluation.{name}", ("5",), "x.toml")]) == (3, 5)
    assert drawn(f"--evaluation.{name}", "5", file=[Flag(name, ("3",), "x.toml")]) == (3, 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seed 1 --seed 2", "--seed is given twice, as 1 and as 2; expected once"),
        ("--seed=1 --seed=1", "--seed is given twice, as 1 and as 1; expected once"),
        ("--group_size 4 --source.group_size 8", "--group_size 4 and --source.group_size 8 set one option; "),
        ("--max_completion_tokens 4 --source.max_completion_tokens 8", "set one option; expected one of them"),
        ("--evaluation.max_completion_tokens 4 --evaluation.max_completion_tokens 8", "is given twice"),
        ("--learner.betas 0.8 0.9 --betas 0.7 0.8", "--learner.betas 0.8 0.9 and --betas 0.7 0.8 set one option"),
        ("--learner.weight-decay 1 --learner.weight_decay 2", "is given twice, as 1 and as 2"),
    ],
)
def test_one_option_twice_is_refused_with_both_values(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        tune(ONE, words.split(), "x")


def at(value, paths):
    found = {}
    for path in paths:
        one = value
        for part in path.split("."):
            one = getattr(one, part)
        found[path] = one
    return found


def changes(ours, theirs):
    """The places where two recipes differ."""
    return [line.partition(":")[0] for line in differences(describe(ours), describe(theirs))]


def test_a_slot_that_a_recipe_file_defines_itself_has_options():
    """The class belongs to no module that could be looked up, since the file was run."""
    own = make_dataclass("Own", [("extra", float, 0.5)], bases=(ClippedRatio,), frozen=True)
    own.__module__ = RECIPE_MODULE
    stage = replace(GRPO, algorithm=replace(recipes.grpo, objective=own()))
    tuned = tune(replace(ONE, stages=(stage,)), ["--objective.extra", "0.25", "--steps", "2"], "x").stages[0]
    assert (tuned.algorithm.objective, tuned.steps) == (own(extra=0.25), 2)
    assert RECIPE_MODULE not in sys.modules


OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, Literal
from groupwise.algorithm import ClippedRatio

@dataclass(frozen=True)
class Depth:
    most: int | None = None

@dataclass(frozen=True)
class Own(ClippedRatio):
    depth: Depth = Depth()
    share: Annotated[float, "[0, 1]"] = 0.5
    kind: Literal["a", "b's"] = "a"
"""


def test_what_a_recipe_file_says_in_its_hints_is_known(tmp_path):
    """Also where they are text, as behind ``from __future__ import annotations``."""
    (tmp_path / "own.py").write_text(OWN)
    own = namespace_of(tmp_path / "own.py")["Own"]
    stage = replace(GRPO, algorithm=replace(recipes.grpo, objective=own()))
    given = ["--depth.most", "3", "--objective.share", "0.25", "--objective.kind", "b's"]
    found = tune(replace(ONE, stages=(stage,)), given, "x").stages[0].algorithm.objective
    assert (found.depth.most, found.share, found.kind) == (3, 0.25, "b's")
    with pytest.raises(UserError, match=r"objective\.share is 'x'; expected a number$"):
        tune(replace(ONE, stages=(stage,)), ["--objective.share", "x"], "x")


def test_a_hint_that_names_nothing_is_told(tmp_path):
    (tmp_path / "own.py").write_text(OWN.replace("most: int | None", "most: Elsewhere"))
    own = namespace_of(tmp_path / "own.py")["Own"]
    stage = replace(GRPO, algorithm=replace(recipes.grpo, objective=own()))
    with pytest.raises(UserError, match=r"hint that cannot be read \(name 'Elsewhere' is not defined\), .* TYPE_CHECK"):
        tune(replace(ONE, stages=(stage,)), ["--steps", "2"], "x")


def test_values_that_no_line_of_a_box_holds_are_named():
    with pytest.raises(UserError, match=r"^Error parsing --learner\.betas: .*; --help lists the options$"):
        tune(ONE, ["--learner.betas", "a\x1bq" * 30, "b'\"c"], "x")


class Bounds(NamedTuple):
    low: float = 0.1
    high: float = 0.2


@dataclass(frozen=True)
class Ordered(ClippedRatio):
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self):
        if self.high is not None and self.high < self.low:
            raise ValueError(f"high {self.high} is below low {self.low}")


def test_options_of_one_part_are_set_together():
    """What a class refuses of one alone may be right of both; what it refuses of all is one line."""
    ordered = replace(ONE, stages=(replace(GRPO, algorithm=replace(recipes.grpo, objective=Ordered(0.1, 0.2))),))
    words = ["--objective.low", "0.3", "--objective.high", "0.4", "--kl.coefficient", "0.5"]
    tuned = tune(ordered, words, "x").stages[0]
    assert tuned.algorithm.objective == Ordered(0.3, 0.4)
    assert tuned.algorithm.kl.coefficient == 0.5
    assert tuned.task is TASK
    with pytest.raises(UserError, match=r"^--algorithm\.objective\.low 0\.3: high 0\.2 is below low 0\.3; --help"):
        tune(ordered, ["--objective.low", "0.3"], "x")


def test_a_part_may_be_of_another_kind_than_a_dataclass():
    ordered = replace(ONE, stages=(replace(GRPO, algorithm=replace(recipes.grpo, objective=Ordered(0.1, 0.2))),))
    tuned = tune(ordered, ["--bounds.low", "0.05", "--steps", "3"], "x").stages[0]
    assert (tuned.algorithm.objective.bounds, tuned.steps) == (Bounds(0.05, 0.2), 3)
