"""Where two recipes differ: stages beside each other, contents under one name."""

from __future__ import annotations

from typing import Any

from groupwise.view.recipes import differing_parts


def recipe(*stages: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"seed": 0, "stages": list(stages), **others}


def test_stages_of_two_methods_stand_beside_each_other() -> None:
    first = recipe({"name": "sft", "steps": 9}, {"name": "grpo", "steps": 20})
    other = recipe({"name": "sft", "steps": 9}, {"name": "gspo", "steps": 30}, seed=1)
    found = list(differing_parts(first, other))
    assert found == [("seed", 0, 1), ("grpo.name", "grpo", "gspo"), ("grpo.steps", 20, 30)]
    assert next(differing_parts(first, other, ("seed",)))[0] == "grpo.name"


def test_a_stage_that_was_added_makes_no_other_differ() -> None:
    first, other = recipe({"name": "grpo", "steps": 20}), recipe({"name": "sft"}, {"name": "grpo", "steps": 20})
    assert list(differing_parts(first, other)) == [("sft", None, {"name": "sft"})]


def test_a_content_that_changed_under_its_name_is_named() -> None:
    first = recipe({"name": "a", "data": {"rows": 9, "sha256": "x"}, "reward": {"function": "f", "sha256": "1"}})
    other = recipe({"name": "a", "data": {"rows": 9, "sha256": "y"}, "reward": {"function": "g", "sha256": "2"}})
    assert list(differing_parts(first, other)) == [("a.data (content)", "x", "y"), ("a.reward.function", "f", "g")]


def test_an_option_that_came_since_and_asks_for_nothing_is_no_difference() -> None:
    """Of two versions: one knows no dropout, and records a hash of a function of the package."""
    of_ours = {"function": "groupwise.sources.signal.informative"}
    old = recipe({"name": "a", "lora": {"is": "Lora", "rank": 4}, "signal": of_ours | {"sha256": "x"}})
    new = {"name": "a", "lora": {"is": "Lora", "rank": 4, "dropout": 0.0, "saved": []}, "signal": of_ours}
    assert list(differing_parts(old, recipe(new))) == list(differing_parts(recipe(new), old)) == []
    new["lora"] = {"is": "Lora", "rank": 8, "dropout": 0.1}
    assert list(differing_parts(old, recipe(new))) == [("a.lora.rank", 4, 8), ("a.lora.dropout", None, 0.1)]
    assert list(differing_parts(recipe(new), old)) == [("a.lora.rank", 8, 4), ("a.lora.dropout", 0.1, None)]


def test_another_part_is_told_with_what_it_has() -> None:
    """Of two classes, nothing says that what only one of them knows is as good as not there."""
    kl, none = recipe({"name": "a", "kl": {"is": "KL", "beta": 0.0}}), recipe({"name": "a", "kl": {"is": "None"}})
    assert [place for place, _, _ in differing_parts(kl, none)] == ["a.kl.is", "a.kl.beta"]
