"""What a reward is made of tells it apart: partials, closures, instances, the values and helpers that it names."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from groupwise.config.describe import describe
from groupwise.config.identity import UNKNOWN, unknowns
from groupwise.errors import UserError
from groupwise.rewards import Cached, as_reward


def f(completion: str, bonus: int = 0) -> float:
    return float(bonus)


def g(completion: str, bonus: int = 0) -> float:
    return float(bonus + 1)


def closed(bonus: Any) -> Callable[[str], Any]:
    return lambda completion: bonus


def doubled(function: Callable[..., float]) -> Callable[..., float]:
    @functools.wraps(function)
    def inner(completion: str) -> float:
        return 2 * function(completion)

    return inner


class Bonus:
    def __init__(self, bonus: Any) -> None:
        self.bonus = bonus

    def __call__(self, completion: str) -> Any:
        return self.bonus

    def of(self, completion: str) -> Any:
        return self.bonus


class Slotted:
    __slots__ = ("bonus",)

    def __init__(self, bonus: Any) -> None:
        self.bonus = bonus


@dataclass(frozen=True)
class Mine:
    bonus: float = 1.0


def made_of(bonus: Any) -> dict[str, Any]:
    """Each kind of thing that can hold a value."""
    return {
        "keyword of a partial": functools.partial(f, bonus=bonus),
        "argument of a partial": functools.partial(f, "", bonus),
        "partial of a partial": functools.partial(functools.partial(f, bonus=bonus), ""),
        "closure": closed(bonus),
        "closure in a closure": closed(closed(bonus)),
        "default": eval("lambda completion, bonus=bonus: bonus", {"bonus": bonus}),
        "keyword default": eval("lambda completion, *, bonus=bonus: bonus", {"bonus": bonus}),
        "instance": Bonus(bonus),
        "instance with slots": Slotted(bonus),
        "instance in an instance": Bonus(Bonus(bonus)),
        "bound method": Bonus(bonus).of,
        "list in an instance": Bonus([bonus, {"deep": (bonus,)}]),
        "decorated": doubled(functools.partial(f, bonus=bonus)),
        "long text": Bonus("x" * 5000 + str(bonus)),
        "array": Bonus(numpy.array([0.0, float(bonus)])),
        "tensor": Bonus(torch.tensor([0.0, float(bonus)])),
        "numpy number": Bonus(numpy.float64(bonus)),
        "set": Bonus({bonus, "other"}),
        "bytes": Bonus(bytes([bonus])),
        "fraction": Bonus(Fraction(bonus, 7)),
        "decimal": Bonus(Decimal(bonus)),
        "pattern": Bonus(re.compile(f"a{bonus}")),
        "a user's dataclass": Mine(bonus),
    }


@pytest.mark.parametrize("kind", list(made_of(1)))
def test_what_it_holds_tells_it_apart(kind: str) -> None:
    one, same, other = (made_of(bonus)[kind] for bonus in (1, 1, 2))
    assert describe(one) == describe(same)
    assert describe(one) != describe(other)
    assert json.loads(json.dumps(describe(one))) == describe(one)
    assert list(unknowns(describe(one))) == []


def test_functions_and_methods_of_other_names_or_sources_differ() -> None:
    different = [f, g, Bonus(1).of, Bonus(1), functools.partial(f), functools.partial(g), math.sqrt, math.exp, Bonus]
    found = [json.dumps(describe(each), sort_keys=True) for each in different]
    assert len(set(found)) == len(found)


def module(tmp_path: Path, text: str) -> Any:
    """A reward file, read as the command line does."""
    path = tmp_path / f"reward{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "user_reward"}
    exec(compile(text, str(path), "exec"), names)
    return names["score"]


FILE = """
LIMIT = {limit}
class Scale:
    factor = {factor}
def helper(text):
    return len(text) * {scale}
def unused():
    return {unused}
def score(completion):
    return [helper(part) + Scale.factor for part in completion.split()][0] > LIMIT
"""


@pytest.mark.parametrize("edited", ["limit", "scale", "factor"])
def test_what_a_function_names_in_its_own_file_is_part_of_it(edited: str, tmp_path: Path) -> None:
    plain = {"limit": 1, "scale": 1, "factor": 1, "unused": 1}
    first, same, unused, other = (
        module(tmp_path, FILE.format(**plain | change)) for change in ({}, {}, {"unused": 2}, {edited: 2})
    )
    assert describe(first) == describe(same)
    assert describe(first) == describe(unused)
    assert describe(first) != describe(other)


def test_a_function_that_names_itself_has_an_end() -> None:
    def forth(depth: int) -> Any:
        return depth and back(depth - 1)

    def back(depth: int) -> Any:
        return depth and forth(depth - 1)

    held = Bonus(1)
    held.bonus = held
    assert describe(forth) == describe(forth)
    assert "itself" in json.dumps(describe(held))


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, completion: str) -> float:
        return 1.0


def test_what_cannot_be_compared_says_so_and_is_not_cached(tmp_path: Path) -> None:
    assert list(unknowns(describe(Locked()))) == [("attributes.lock", "_thread.lock")]
    with (tmp_path / "file").open("w") as file:
        assert list(unknowns(describe(closed(file))))
    assert list(unknowns(describe(object()))) == [("", "builtins.object")]
    assert UNKNOWN in describe(object())
    reward = Cached(as_reward(Locked(), name="mine", isolated=False), tmp_path / "scores.db")
    with pytest.raises(UserError, match=r"'mine' cannot be cached: .*lock holds a _thread\.lock"):
        reward.prepare()


@pytest.mark.parametrize("kind", ["keyword of a partial", "closure", "instance", "bound method"])
def test_two_rewards_in_one_cache_get_their_own_scores(kind: str, make_rollout: Any, tmp_path: Path) -> None:
    rollout = make_rollout([1], [2])
    for bonus in (1, 2, 1):
        reward = as_reward(made_of(bonus)[kind], name="same", isolated=False)
        (score,) = Cached(reward, tmp_path / "scores.db").score([rollout])
        assert score.value == bonus


def test_what_a_reward_keeps_from_call_to_call_is_no_part_of_it(make_rollout: Any, tmp_path: Path) -> None:
    seen: list[str] = []

    def mine(completion: str) -> float:
        seen.append(completion)
        return 1.0

    reward = Cached(as_reward(mine, isolated=False), tmp_path / "scores.db")
    rollout = make_rollout([1], [2])
    assert [reward.score([rollout])[0].cached for _ in range(3)] == [False, True, True]


PROGRAM = """
import functools, json, sys
sys.path.insert(0, sys.argv[1])
from groupwise.config.describe import describe
class Held:
    def __init__(self):
        self.words, self.more = {"one", "two", "three", "four"}, frozenset("abcdef")
def score(completion, held=Held()):
    return 0.0
print(json.dumps(describe([score, functools.partial(score, held={"x", "y", "z"}), Held()])))
"""


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    found = {
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_a_run_whose_reward_cannot_be_compared_says_so_and_is_not_continued(tiny_model: Path, tmp_path: Path) -> None:
    from groupwise import Local, Run, Stage, recipes, run
    from groupwise.runs.recipe import validate
    from groupwise.tasks.task import Task
    from groupwise.types import Example

    task = Task("sums", [Example("row:0", "1 + 1 = ?", answer="2")], (as_reward(Locked(), name="mine"),))
    source = replace(recipes.grpo.source, group_size=2, max_completion_tokens=2)
    stage = Stage("grpo", replace(recipes.grpo, source=source), task, steps=1, prompts_per_step=1)
    recipe = Run("mine", str(tiny_model), (stage,), Local(device="cpu", threads=1))
    (said,) = [line for line in validate(recipe) if "_thread.lock" in line]
    assert "cannot be continued after a stop" in said
    run(recipe, tmp_path / "out", sinks=[])
    with pytest.raises(UserError, match=r"holds a _thread\.lock, .* so the run cannot be continued"):
        run(recipe, tmp_path / "out", sinks=[])
