"""Which rows, in which order, and what is passed over; demonstrations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from groupwise import Demonstrations, FrozenPolicy, OnPolicy, Pairs, UserError
from groupwise.sources import AllRollouts, DrawContext, prompt_stream
from groupwise.types import Example

Open = Callable[..., DrawContext]


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(world: Open, rows: tuple[Example, ...]) -> None:
    here = world(Demonstrations(), prompts_per_step=4)
    epochs = [[example.id for example, _ in islice(prompt_stream(here, start), 10)] for start in (0, 10)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(row.id for row in rows)
    assert epochs[0] != epochs[1]
    middle = [example.id for example, _ in islice(prompt_stream(here, 4), 10)]
    assert middle == epochs[0][4:] + epochs[1][:4]
    assert [example.id for example, _ in islice(prompt_stream(replace(here, seed=8), 0), 10)] != epochs[0]


def test_a_step_looks_at_few_rows_twice_a_prompt_and_at_many_fifty_times(
    world: Open, rows: tuple[Example, ...]
) -> None:
    for size, looks in ((1, 2), (4, 8), (10, 20), (30, 50)):
        here = world(Demonstrations(), (rows * 3)[:size], prompts_per_step=3)
        assert len(list(prompt_stream(here, 5))) == 3 * looks


def test_demonstrations_go_on_where_the_last_draw_ended(world: Open) -> None:
    here = world(Demonstrations(), prompts_per_step=4)
    first = Demonstrations().draw(here, {})
    second = Demonstrations().draw(here, first.position)
    assert (first.position["prompts"], second.position["prompts"]) == (4, 8)
    order = [example.id for example, _ in islice(prompt_stream(here, 0), 10)]
    assert [group.prompt.example.id for group in (*first.groups, *second.groups)] == order[:8]
    for group in first.groups:
        (rollout,) = group.rollouts
        assert rollout.text == group.prompt.example.completion
        assert all(rollout.mask)
        assert rollout.tokens[-1] in here.renderer.stop_tokens
        assert rollout.reward is None


def test_a_row_without_a_demonstration_is_named(world: Open, rows: tuple[Example, ...]) -> None:
    lacking = [replace(rows[0], completion=None, id="mine.jsonl:3")]
    with pytest.raises(UserError, match=r"mine\.jsonl:3 has no demonstration"):
        Demonstrations().draw(world(Demonstrations(), lacking), {})


LONG = Example("mine.jsonl:9", "9" * 200, completion="1", columns={"chosen": "1", "rejected": "2"})
SOURCES = [
    Demonstrations(),
    OnPolicy(group_size=2, max_completion_tokens=6),
    FrozenPolicy(samples_per_prompt=2, max_completion_tokens=6, select=AllRollouts()),
    Pairs(),
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_rows_that_do_not_fit(world: Open, rows: tuple[Example, ...], source: Any) -> None:
    """Skipped and counted, or an error by option; a task of nothing else is an error."""
    short = [replace(row, columns={"chosen": "a", "rejected": "b"}) for row in rows[:4]]
    draw = source.draw(world(source, [*short, LONG], prompts_per_step=4), {})
    assert len(draw.groups) == 4
    assert LONG.id not in {group.prompt.example.id for group in draw.groups}
    assert (
        draw.metrics["prompts_too_long"] + (draw.position["prompts"] == 4 and not isinstance(source, FrozenPolicy)) == 1
    )
    with pytest.raises(UserError, match=r"mine\.jsonl:9 needs \d+ tokens"):
        source.draw(world(source, [LONG], prompts_per_step=4, long_prompts="error"), {})
    with pytest.raises(UserError, match="every row of rows that was tried is too long") as caught:
        source.draw(world(source, [LONG], prompts_per_step=4), {})
    if isinstance(source, OnPolicy | FrozenPolicy):  # its prompt alone does: fewer tokens of a completion mend nothing
        assert re.search(
            r"the shortest prompt has \d+ and max_completion_tokens is 6\); take another", str(caught.value)
        )
    with pytest.raises(UserError, match="no training rows"):
        source.draw(world(source, []), {})
