"""Draws made ahead come back from a checkpoint as they were; that a run goes on with them: test_ahead.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise import OnPolicy
from groupwise.errors import UserError
from groupwise.sources import Demonstrations, DrawContext
from groupwise.sources.pending import read_pending, restore_pending, write_pending
from groupwise.training.loop import Progress
from groupwise.types import Example

Open = Callable[..., DrawContext]
INNER = OnPolicy(group_size=3, max_completion_tokens=6)


def test_draws_come_back_as_they_were(world: Open, tmp_path: Path) -> None:
    here = world(INNER, prompts_per_step=2)
    draws = [INNER.draw(here, {"prompts": 4}), INNER.draw(here, {"prompts": 6})]
    write_pending(tmp_path, here, {"prompts": 4}, draws)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pending-000001.jsonl", "pending-000002.jsonl"]
    found = read_pending(tmp_path, here, 2)
    assert found == draws
    assert [group.prompt.example for draw in found for group in draw.groups] == [
        group.prompt.example for draw in draws for group in draw.groups
    ]


def test_rows_are_found_wherever_they_stand(world: Open, tmp_path: Path) -> None:
    """Also those that the stream brings much later, or brought before."""
    here = world(INNER, prompts_per_step=1)
    draw = INNER.draw(here, {})
    write_pending(tmp_path, here, {"prompts": 999}, [draw])
    assert read_pending(tmp_path, here, 1) == [draw]


def test_what_is_missing_damaged_or_strange_is_named(world: Open, tmp_path: Path) -> None:
    here = world(INNER, prompts_per_step=2)
    write_pending(tmp_path, here, {}, [INNER.draw(here, {})])
    with pytest.raises(UserError, match=r"pending-000002\.jsonl: draw 2 of 2 .* is missing"):
        read_pending(tmp_path, here, 2)
    with pytest.raises(UserError, match="was gathered from other rows"):
        read_pending(tmp_path, world(INNER, [Example("else", "x")]), 1)
    path = tmp_path / "pending-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(UserError, match="is damaged"):
        read_pending(tmp_path, here, 1)


@pytest.mark.parametrize("source", [INNER, Demonstrations()], ids=["OnPolicy", "Demonstrations"])
def test_a_source_that_draws_nothing_ahead_has_none(source: Any, world: Open, tmp_path: Path) -> None:
    here = world(source, prompts_per_step=2)
    draw = source.draw(here, {})
    assert list(source.pending(here, draw.position)) == []
    restore_pending(source, here, draw.position, tmp_path, 0)
    write_pending(tmp_path, here, {}, [draw])
    with pytest.raises(UserError, match=rf"holds 1 draws .* {type(source).__name__} does not take them up"):
        restore_pending(source, here, {}, tmp_path, 1)


def test_a_checkpoint_of_before_positions_were_mappings_is_read() -> None:
    """As they were written: a number of prompts, and nothing of pending draws."""
    old = {
        "step": 3,
        "cursor": 24,
        "num_tokens": 999,
        "kl_coefficient": None,
        "entropy_coefficient": None,
        "skipped": 0,
    }
    assert Progress.of(old) == Progress(step=3, position={"prompts": 24}, num_tokens=999)
    assert Progress.of({**old, "cursor": 0}).position == {"prompts": 0}
    new = Progress(4, {"prompts": 32, "own": {"a": [1, "b"]}}, 7, pending=2)
    assert Progress.of(json.loads(json.dumps(new.plain()))) == new
