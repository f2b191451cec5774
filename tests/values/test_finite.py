"""What a file of numbers may hold in place of one."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.comparison.notes import notes_of_numbers
from groupwise.explain import reward_scales
from groupwise.values.finite import is_finite
from groupwise.view.curves import curves, samples_per_step
from groupwise.view.facts import facts


@pytest.mark.parametrize("value", [0, -1, 2.5, 1e308, 10**300])
def test_finite_numbers(value: float) -> None:
    assert is_finite(value)


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, None, "1", [1], {}])
def test_what_is_none(value: Any) -> None:
    assert not is_finite(value)


def test_a_whole_number_beyond_all_floats_is_a_gap_in_a_curve() -> None:
    rows = [{"stage": "a", "step": step, "loss": value} for step, value in enumerate((1.0, 10**400, 2.0), 1)]
    assert curves(rows, {})["metrics"]["loss"] == [1.0, None, 2.0]
    assert list(notes_of_numbers({})) == []


@pytest.mark.parametrize("cores", ["nan", [], {}, 1.5, None, 4])
def test_a_machine_that_says_something_else_than_its_cores_has_none(tmp_path: Any, cores: Any) -> None:
    told = dict(facts(tmp_path, {"machine": {"cpu": "x", "cores": cores}}))
    assert told["Machine"] == ("x, 4 cores" if cores == 4 else "x")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"reward_scales": 3}', '{"reward_scales": {"a": []}}', "\0"])
def test_scales_of_a_damaged_record_are_none(tmp_path: Any, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert reward_scales(tmp_path, "a") == {}


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), 10**400, "x", [], None])
def test_a_recipe_that_says_no_number_of_samples_has_one(wrong: Any) -> None:
    recipe = {"stages": [{"name": "a", "prompts_per_step": 3, "algorithm": {"source": {"group_size": 4}}}]}
    assert samples_per_step({"recipe": recipe}) == {"a": 12}
    for broken in (
        {"name": "a", "prompts_per_step": wrong, "algorithm": {"source": {"group_size": 1}}},
        {"name": "a", "prompts_per_step": 1, "algorithm": {"source": {"group_size": wrong}}},
        {"name": "a", "prompts_per_step": 1, "algorithm": {"source": wrong}},
        {"name": "a", "prompts_per_step": 1, "algorithm": wrong},
    ):
        assert samples_per_step({"recipe": {"stages": [broken]}}) == {"a": 1}
