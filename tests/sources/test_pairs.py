"""Preference pairs from rows, whatever shape they came in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import Pairs, UserError, tasks
from groupwise.sources import DrawContext
from groupwise.types import DEMONSTRATED, Example

Open = Callable[..., DrawContext]
USER = {"role": "user", "content": "2+2="}
FOUR, FIVE = ({"role": "assistant", "content": text} for text in "45")
SHAPES = {
    "explicit": {"prompt": "2+2=", "chosen": "4", "rejected": "5"},
    "messages": {"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE]},
    "implicit messages": {"chosen": [USER, FOUR], "rejected": [USER, FIVE]},
}


def of_file(path: Path, *rows: dict[str, Any]) -> list[Example]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(tasks.from_file(path, held_out_fraction=0.0).train)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_group_is_chosen_then_rejected(world: Open, tmp_path: Path, shape: str) -> None:
    rows = of_file(tmp_path / "pairs.jsonl", SHAPES[shape])
    here = world(Pairs(), rows, prompts_per_step=1, rewards=())
    draw = Pairs().draw(here, {})
    ((chosen, rejected),) = (group.rollouts for group in draw.groups)
    assert (chosen.text, rejected.text) == ("4", "5")
    for rollout in (chosen, rejected):
        assert rollout.prompt == draw.groups[0].prompt == here.renderer.prompt(rows[0])
        assert all(rollout.mask)
        assert rollout.tokens[-1] in here.renderer.stop_tokens
        assert rollout.version == DEMONSTRATED
        assert rollout.reward is None
    assert chosen == here.renderer.demonstration(rows[0])
    assert draw.metrics == {"prompts_too_long": 0, "pairs_equal": 0}


def test_an_implicit_prompt_is_what_both_texts_begin_with(world: Open, tmp_path: Path) -> None:
    rows = of_file(tmp_path / "pairs.jsonl", {"chosen": "two and two is four", "rejected": "two and two is five"})
    (group,) = Pairs().draw(world(Pairs(), rows, prompts_per_step=1, rewards=()), {}).groups
    assert group.prompt.example.prompt == "two and two is"
    assert [rollout.text.strip() for rollout in group.rollouts] == ["four", "five"]


def test_hand_made_examples_may_bring_messages(world: Open) -> None:
    row = Example("mine:0", (USER,), columns={"chosen": (FOUR,), "rejected": (FIVE,)})
    (group,) = Pairs().draw(world(Pairs(), [row], prompts_per_step=1, rewards=()), {}).groups
    assert [rollout.text for rollout in group.rollouts] == ["4", "5"]
    assert group.prompt.example == row


def test_sides_that_part_early_are_learned_from_all_turns_after_it(world: Open, tmp_path: Path) -> None:
    """What the user says in between differs from side to side, and is learned in neither."""
    why, how = ({"role": "user", "content": text} for text in ("why?", "how so?"))
    row = {"chosen": [USER, FOUR, why, FOUR], "rejected": [USER, FIVE, how, FIVE]}
    rows = of_file(tmp_path / "pairs.jsonl", row)
    here = world(Pairs(), rows, prompts_per_step=1, rewards=())
    (group,) = Pairs().draw(here, {}).groups
    assert group.prompt.example.prompt == (USER,)
    decode = here.renderer.tokenizer.decode
    for rollout, answer, other in zip(group.rollouts, "45", ("why?", "how so?"), strict=True):
        assert rollout.text == answer * 2
        learned = [token for token, own in zip(rollout.tokens, rollout.mask, strict=True) if own]
        assert [token in here.renderer.stop_tokens for token in learned] == [False, True] * 2
        assert other in decode([token for token, own in zip(rollout.tokens, rollout.mask, strict=True) if not own])
        assert rollout.mask[-1]
        assert rollout.prompt == here.renderer.prompt(rows[0])


def test_equal_sides_are_passed_over_and_counted(world: Open, tmp_path: Path) -> None:
    same = {"prompt": "1+1=", "chosen": "2", "rejected": "2"}
    rows = of_file(tmp_path / "pairs.jsonl", same, SHAPES["explicit"], same)
    draw = Pairs().draw(world(Pairs(), rows, prompts_per_step=2, rewards=()), {})
    assert [group.prompt.example.id for group in draw.groups] == [rows[1].id] * 2
    assert draw.metrics["pairs_equal"] + draw.metrics["prompts_too_long"] == draw.position["prompts"] - 2 > 0
    with pytest.raises(UserError, match="can be used: 2 with equal sides"):
        Pairs().draw(world(Pairs(), [rows[0]], prompts_per_step=1, rewards=()), {})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "stage: row mine:0 has no chosen; .*seen: none"),
        ({"chosen": "4"}, "stage: row mine:0 has no rejected; .*seen: chosen"),
        ({"chosen": 4, "rejected": "5"}, "stage: row mine:0: chosen is int '4'"),
        ({"chosen": [USER], "rejected": [FIVE]}, "chosen ends with a message by user"),
        ({"chosen": [USER, FIVE, USER, FOUR], "rejected": [FIVE]}, "chosen begins with a message by user"),
    ],
)
def test_a_row_without_a_pair_is_named(world: Open, columns: dict[str, Any], said: str) -> None:
    row = replace(Example("mine:0", (USER,)), columns=columns)
    with pytest.raises(UserError, match=said) as error:
        Pairs().draw(world(Pairs(), [row], prompts_per_step=1, rewards=()), {})
    assert "\n" not in str(error.value)
