"""A recipe as plain data: recipes that behave alike describe alike, and a difference has a name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from groupwise import NewModel, Run, Stage, recipes, tasks
from groupwise.config.describe import as_described_now, describe, differences
from groupwise.types import Example


def recipe(**changes: Any) -> Run:
    stage = Stage("train", recipes.grpo, tasks.stepwise(level=1), steps=3)
    return replace(Run("name", NewModel(), (stage,)), **changes)


def test_it_is_json_and_the_same_in_every_process() -> None:
    code = (
        "import json; from groupwise import NewModel, Run, Stage, recipes, tasks; "
        "from groupwise.config.describe import describe; "
        "stage = Stage('train', recipes.grpo, tasks.stepwise(level=1), steps=3); "
        "print(json.dumps(describe(Run('name', NewModel(), (stage,)))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == json.loads(json.dumps(describe(recipe())))


def test_no_difference_no_words() -> None:
    assert list(differences(describe(recipe()), describe(recipe()))) == []


def test_a_difference_is_named_by_its_path() -> None:
    changed = recipe(seed=4, stages=(replace(recipe().stages[0], learning_rate=0.5),))
    assert list(differences(describe(changed), describe(recipe()))) == [
        "stages.0.learning_rate: 0.5 (there: 1e-06)",
        "seed: 4 (there: 0)",
    ]


def test_what_is_on_one_side_only_is_a_difference() -> None:
    assert list(differences({"a": 1}, {"b": 2})) == ["a: 1 (there: None)", "b: None (there: 2)"]
    assert list(differences([1], [1, 2])) == [": [1] (there: [1, 2])"]
    assert len(next(iter(differences("x" * 500, "y" * 500)))) < 150


def test_a_value_is_more_than_its_fields() -> None:
    """Two slots with equal fields of different types are different."""

    @dataclass(frozen=True)
    class One:
        x: int = 1

    @dataclass(frozen=True)
    class Two:
        x: int = 1

    assert describe(One()) != describe(Two())
    assert describe(One()) == {"is": "One", "sha256": describe(One())["sha256"], "x": 1}  # a user's: with its source
    assert describe(recipes.grpo.kl)["is"] == "KL"
    assert "sha256" not in describe(recipes.grpo.kl)


def reward_from(tmp_path: Path, name: str, body: str) -> Callable[..., Any]:
    path = tmp_path / f"{name}.py"
    path.write_text(f"def reward(completions):\n    {body}\n")
    namespace: dict[str, Any] = {"__name__": "user"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    return namespace["reward"]  # type: ignore[no-any-return]


def test_an_edited_function_is_another_recipe(tmp_path: Path) -> None:
    first = reward_from(tmp_path, "a", "return [1.0]")
    same = reward_from(tmp_path, "b", "return [1.0]")
    edited = reward_from(tmp_path, "c", "return [2.0]")
    assert describe(first) == describe(same)
    assert describe(first) != describe(edited)


def test_rows_are_their_number_and_their_ends() -> None:
    rows = [Example(f"row:{number}", "question") for number in range(20)]
    found = describe(rows)
    assert found["rows"] == 20
    assert describe(list(rows)) == found
    assert describe(rows[:-1]) != found
    assert describe([*rows[:-1], replace(rows[-1], prompt="other")]) != found


def test_rows_made_on_demand_are_not_all_made() -> None:
    assert describe(tasks.stepwise(train_size=10**9).train)["size"] == 10**9


def test_scalars_and_paths() -> None:
    assert describe({"a": (1, 2.5, None, True), "b": Path("x/y")}) == {"a": [1, 2.5, None, True], "b": "x/y"}


@dataclass(frozen=True)
class Part:
    size: int
    later: tuple[int, ...] = ()
    made: list[int] = field(default_factory=list)
    other: float = 0.5


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    last: Part | None = None


Part.__module__ = Whole.__module__ = "groupwise.parts"


def test_what_an_earlier_version_described_has_what_came_since_at_its_default() -> None:
    now = describe(Whole((Part(1), Part(2, (3,)))))
    then = {"is": "Whole", "parts": [{"is": "Part", "size": 1}, {"is": "Part", "size": 2, "later": [3]}]}
    assert list(differences(now, then)) != []
    assert as_described_now(then, now) == now


def test_what_came_since_and_asks_for_something_is_a_difference() -> None:
    then = {"is": "Whole", "parts": [{"is": "Part", "size": 1}], "last": None}
    now = describe(Whole((Part(1, made=[4]),)))
    assert list(differences(now, as_described_now(then, now))) == ["parts.0.made: [4] (there: None)"]
    now = describe(Whole((Part(1),), Part(1)))
    assert [words.partition(":")[0] for words in differences(now, as_described_now(then, now))] == ["last"]


def test_what_was_said_is_kept_and_what_is_gone_is_a_difference() -> None:
    then = {"is": "Part", "size": 1, "later": [7], "made": [], "other": 0.25, "gone": 3}
    now = describe(Part(1, (7,)))
    found = list(differences(now, as_described_now(then, now)))
    assert found == ["other: 0.5 (there: 0.25)", "gone: None (there: 3)"]


def test_a_default_is_not_lent_to_another_class() -> None:
    then, now = {"is": "Ours", "size": 1}, describe(Part(1))
    assert "later: [] (there: None)" in list(differences(now, as_described_now(then, now)))


def test_code_of_ours_is_its_name_and_a_user_s_its_source() -> None:
    from groupwise.sources.reward_metrics import informative

    assert describe(informative) == {"function": "groupwise.sources.signal.informative"}
    then = {"signal": {"function": "groupwise.sources.signal.informative", "sha256": "e21a0f7e99144a82"}}
    assert as_described_now(then, {"signal": describe(informative)}) == {"signal": describe(informative)}
    theirs = describe(reward_from)
    assert as_described_now(theirs, theirs) == theirs
    assert "sha256" in theirs
