"""Every number of every recipe has a declared range; what lies outside is refused by the name of its option."""

from __future__ import annotations

import math
import runpy
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import Local, NewModel, Run, Stage, UserError, algorithm, engines, learners, recipes, sources, tasks
from groupwise.cli import main
from groupwise.config.ranges import _declared, in_words, numbers, refuse_number, refuse_numbers, refuse_options, words
from groupwise.learners.config import Lora
from groupwise.rewards import as_reward
from groupwise.runs.recipe import refuse_ranges, validate
from groupwise.training.stage import Checkpoints, HeldOut

TASK = tasks.stepwise(level=1)
NAN, INFINITE = math.nan, math.inf


def of(recipe: str) -> Run:
    return Run("mine", NewModel(), (Stage(recipe, vars(recipes)[recipe], TASK, steps=3),))


def slots() -> set[type]:
    """Every class that can stand in a recipe: those of the mathematics, the sources, learner, engine and the run."""
    found = [value for room in (algorithm, sources, learners, engines) for value in vars(room).values()]
    kinds = {kind for kind in found if isinstance(kind, type) and is_dataclass(kind)}
    return (kinds | {Run, Stage, HeldOut, Checkpoints, Lora}) - MADE


MADE = {sources.DrawContext, sources.RolloutBatch, sources.OfflineGroups, algorithm.Signals}
"""Values that nobody chooses."""


def numeric(kind: type) -> Iterator[tuple[str, str | None]]:
    """Of each field with a number its declared interval."""
    for name, (interval, kinds) in _declared(kind).items():
        if int in kinds or float in kinds:
            yield name, interval


@pytest.mark.parametrize("kind", sorted(slots(), key=str), ids=lambda kind: kind.__name__)
def test_every_number_that_can_be_chosen_declares_its_range(kind: type) -> None:
    assert [name for name, interval in numeric(kind) if interval is None] == []


def at(value: Any, path: list[str], number: Any) -> Any:
    """``value`` with ``number`` in the place that the words of ``path`` lead to."""
    name, *rest = path
    inner = getattr(value, name)
    if rest:
        return replace(value, **{name: at(inner, rest, number)})
    return replace(value, **{name: (number,) * len(inner) if isinstance(inner, tuple) else number})


def made(stage: Stage, path: list[str], number: Any) -> Stage | None:
    """None where the class itself refuses it."""
    try:
        return at(stage, path, number)
    except UserError:
        return None


def owner(stage: Stage, path: list[str]) -> type:
    """The class whose field the path ends at."""
    value: Any = stage
    for name in path[:-1]:
        value = getattr(value, name)
    return type(value)


def test_nan_and_infinity_are_refused_for_every_number_of_every_recipe() -> None:
    """An option of one class's field is looked at with the first recipe that has it."""
    known: set[tuple[str, type]] = set()
    looked_at = 0
    for run in (of(recipe) for recipe in recipes.__all__):
        refuse_ranges(run)
        for option, _, interval, whole in {each[0]: each for each in numbers(run.stages[0])}.values():
            path = option.removeprefix("--").split(".")
            number = option, owner(run.stages[0], path)
            if number in known:
                continue
            known.add(number)
            looked_at += refused(run, option, path, interval, whole)
    assert len(known) > 80
    assert looked_at > 250


def refused(run: Run, option: str, path: list[str], interval: str, whole: bool) -> int:
    """How many wrong numbers were refused there, each in the option's own words."""
    looked_at = 0
    for wrong in (NAN, INFINITE, -INFINITE, *((-1,) if interval[0] + interval[1] in ("[0", "[1", "(0") else ())):
        stage = made(run.stages[0], path, wrong)
        if stage is None:
            continue
        with pytest.raises(UserError) as caught:
            refuse_ranges(replace(run, stages=(stage,)))
        assert str(caught.value) == f"{option} is {wrong!r}; expected {in_words(interval, whole)}"
        looked_at += 1
    return looked_at


@pytest.mark.parametrize("part", [Local(), HeldOut(), Checkpoints(), NewModel(), recipes.grpo])
def test_each_part_of_a_run(part: Any) -> None:
    for option, _, _, _ in numbers(part):
        with pytest.raises(UserError, match=f"{option} is nan; expected"):
            refuse_numbers(at(part, option.removeprefix("--").split("."), NAN), "--")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("learning_rate", "nan", "a number, at least 0 and at most 1"),
        ("learning_rate", "-1", "a number, at least 0 and at most 1"),
        ("algorithm.source.max_completion_tokens", "0", "a whole number, at least 1"),
        ("algorithm.source.top_p", "0", "a number, more than 0 and at most 1"),
        ("algorithm.source.top_p", "2", "a number, more than 0 and at most 1"),
        ("algorithm.source.temperature", "0", "a number, more than 0"),
        ("algorithm.kl.coefficient", "-0.1", "a number, at least 0"),
        ("algorithm.advantage.epsilon", "inf", "a number, at least 0"),
        ("algorithm.advantage.ddof", "2", "a whole number, at least 0 and at most 1"),
        ("algorithm.entropy.coefficient", "nan", "a finite number"),
        ("learner.max_grad_norm", "-1", "a number, at least 0"),
        ("learner.tokens_per_micro_batch", "0", "a whole number, at least 1"),
        ("learner.lora.alpha", "0", "a number, more than 0"),
        ("engine.max_rows", "0", "a whole number, at least 1"),
        ("evaluation.samples", "0", "a whole number, at least 1"),
        ("evaluation.temperature", "inf", "a number, more than 0"),
        ("most_unscored", "1.5", "a number, at least 0 and at most 1"),
        ("steps", "-3", "a whole number, at least 1"),
    ],
)
def test_on_the_command_line(
    option: str, value: str, said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1 = ?", "answer": "2"}\n' * 3)
    NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=32, context_tokens=64).save(tmp_path / "model")
    words = ["grpo", "--model", "model", "--data", "rows.jsonl", "--reward", "math", f"--{option}", value]
    for command in (["run"], ["run", "--dry_run"]):
        assert main([command[0], *words, *command[1:]]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert f"--{option} is " in line
        assert line.endswith(f"expected {said}")
    assert not (tmp_path / "runs").exists()


def test_a_reward_weighs_a_finite_number() -> None:
    task = replace(TASK, rewards=(as_reward(lambda completion: 1.0, name="odd", weight=NAN),))
    with pytest.raises(UserError, match="the weight of reward 'odd' is nan; expected a finite number"):
        validate(replace(of("grpo"), stages=(Stage("rl", recipes.grpo, task, 2),)))


def test_a_class_of_the_users_own_has_finite_numbers() -> None:
    @dataclass(frozen=True)
    class Mine:
        shift: float = 0.0
        names: tuple[str, ...] = ("a",)

    refuse_numbers(Mine(3.0), "--")
    with pytest.raises(UserError, match=r"--mine\.shift is inf; expected a finite number"):
        refuse_numbers(Mine(INFINITE), "--mine.")


OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, Literal
from groupwise.algorithm import ClippedRatio

@dataclass(frozen=True)
class Own(ClippedRatio):
    share: Annotated[float, "[0, 1]"] = 0.5
    kind: Literal["one", "other"] = "one"
    nowhere: Elsewhere = None
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"low": -5.0}, "--low is -5.0; expected a number, at least 0"),
        ({"share": 2.0}, "--share is 2.0; expected a number, at least 0 and at most 1"),
        ({"kind": "two"}, "--kind is 'two'.* expected one or other"),
    ],
)
def test_a_class_of_a_file_that_was_run_has_its_ranges(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """Its hints are text, and the file is no module; that of one field names nothing."""
    (tmp_path / "own.py").write_text(OWN)
    own = runpy.run_path(str(tmp_path / "own.py"), run_name="a_file")["Own"]
    refuse_options(own(), "--")
    with pytest.raises(UserError, match=said):
        refuse_options(own(**given), "--")


def test_ends_of_an_interval() -> None:
    assert in_words("[0, 1)") == "a number, at least 0 and less than 1"
    assert in_words("(-inf, 3]", whole=True) == "a whole number, at most 3"
    for value, interval, whole in [(0, "[0, 1)", False), (1, "(0, 1]", True), (-5, "(-inf, inf)", True)]:
        refuse_number("--x", value, interval, whole)
    for value, interval, whole in [
        (1, "[0, 1)", False),
        (0, "(0, 1]", True),
        (0.5, "[0, 1]", True),
        ("1", "[0, 2]", False),
    ]:
        with pytest.raises(UserError, match="--x is"):
            refuse_number("--x", value, interval, whole)
    with pytest.raises(ValueError, match="no interval"):
        refuse_number("--x", 1, "0..1")


WORDS: list[tuple[Any, list[str], Any, str]] = [
    (recipes.grpo, ["kl", "place"], "rewards", "objective, reward or advantage"),
    (recipes.grpo, ["kl", "estimator"], "k4", "k1, k2, k3 or exact"),
    (recipes.grpo, ["truncated"], "masked", "learn or mask"),
    (recipes.grpo, ["advantage", "scale"], "std", "group, batch, none or mean"),
    (recipes.ppo, ["critic", "network"], None, ""),
    (Local(), ["dtype"], "bf16", "float32, float64 or bfloat16"),
    (Local(), ["optimizer_bits"], "8", "32 or 8"),
    (Local(), ["optimizer_bits"], 8.0, "32 or 8"),
    (Local(), ["checkpointing"], "false", "true or false"),
    (Local(), ["checkpointing"], 0, "true or false"),
    (Stage("s", recipes.grpo, TASK, steps=3), ["schedule"], "cosin", "perhaps you meant cosine"),
    (Stage("s", recipes.grpo, TASK, steps=3), ["long_prompts"], "drop", "skip or error"),
    (Stage("s", recipes.grpo, TASK, steps=3), ["task", "chat"], "sometimes", "auto, always or never"),
]


def test_a_word_that_is_no_choice_is_refused_by_the_name_of_its_option() -> None:
    """In Python a typo would otherwise choose whatever stands last."""
    for value, path, word, said in WORDS:
        wrong = at(value, path, word)
        if not said:
            refuse_options(wrong, "--")
            continue
        with pytest.raises(UserError) as caught:
            refuse_options(wrong, "--")
        assert f"--{'.'.join(path)} is {word!r}" in str(caught.value)
        assert said in str(caught.value)


def test_every_choice_of_every_recipe_is_one_of_its_words() -> None:
    for name in recipes.__all__:
        if isinstance(vars(recipes).get(name), algorithm.Algorithm):
            assert len(list(words(vars(recipes)[name]))) > 2
            refuse_ranges(of(name))


def test_a_whole_number_beyond_every_float_is_refused() -> None:
    with pytest.raises(UserError, match="--steps is 1000"):
        refuse_number("--steps", 10**400, "[1, inf)", whole=True)
