"""Which rows go through the network together, and where in them the sampled tokens are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groupwise.learners.layout import Layout, Support, micro_batches
from groupwise.types import Example, Prompt, Rollout

MakeRollout = Callable[..., Rollout]
LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20)


def row_of(prompt: int, tokens: int) -> Rollout:
    return Rollout(
        Prompt(Example("", ""), (5,) * prompt), (6,) * tokens, (True,) * tokens, (0.0,) * tokens, "", True, 0
    )


def rectangle(batch: list[int], lengths: list[tuple[int, int]]) -> int:
    return len(batch) * max(sum(lengths[row]) for row in batch)


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_micro_batches_hold_every_row_once_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    """A row that exceeds the budget by itself goes alone."""
    batches = list(micro_batches([row_of(prompt, tokens) for prompt, tokens in lengths], budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or rectangle(batch, lengths) <= budget


@given(lengths=LENGTHS, budget=st.integers(1, 200), data=st.data())
def test_what_belongs_together_stays_together(lengths: list[tuple[int, int]], budget: int, data: st.DataObject) -> None:
    """A set that exceeds the budget by itself goes alone; no other micro-batch exceeds it."""
    together = data.draw(st.lists(st.integers(-2, 5), min_size=len(lengths), max_size=len(lengths)))
    batches = list(micro_batches([row_of(prompt, tokens) for prompt, tokens in lengths], budget, together))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    homes = {(together[row], number) for number, batch in enumerate(batches) for row in batch}
    assert len(homes) == len(set(together))
    for batch in batches:
        assert len({together[row] for row in batch}) == 1 or rectangle(batch, lengths) <= budget


def test_pairs_by_hand() -> None:
    """Sequence lengths 4, 2, 3, 4 with a budget of two rows of four: each pair fills one."""
    rollouts = [row_of(1, tokens) for tokens in (3, 1, 2, 3)]
    assert list(micro_batches(rollouts, 8)) == [[0, 3], [2, 1]]
    assert list(micro_batches(rollouts, 8, together=[7, 7, 9, 9])) == [[0, 1], [3, 2]]
    assert list(micro_batches(rollouts, 3, together=[7, 7, 9, 9])) == [[0, 1], [3, 2]]
    assert list(micro_batches(rollouts, 16, together=[7, 7, 9, 9])) == [[0, 1, 3, 2]]
    assert list(micro_batches([], 8)) == []


def test_a_token_is_predicted_by_the_one_before_it(make_rollout: MakeRollout) -> None:
    """Prompts of 2 and 1; the second token of the first row is not the policy's own."""
    layout = Layout.of([make_rollout([5, 6], [7, 8, 9], [True, False, True]), make_rollout([4], [3])], "cpu")
    assert layout.ids.tolist() == [[5, 6, 7, 8, 9], [4, 3, 0, 0, 0]]
    assert list(zip(layout.rows.tolist(), layout.places.tolist(), layout.targets.tolist(), strict=True)) == [
        (0, 1, 7),
        (0, 3, 9),
        (1, 0, 3),
    ]
    assert layout.spread(torch.tensor([1.0, 2.0, 3.0])).tolist() == [[1, 0, 2], [3, 0, 0]]
    assert layout.support is None


def test_support_of_sampled_tokens(make_rollout: MakeRollout) -> None:
    narrowed = replace(make_rollout([5], [1, 2, 3], [True, False, True]), support=((0, 1), (), (3,)))
    layout = Layout.of([narrowed, make_rollout([5], [2])], "cpu")
    assert layout.support is not None
    inside = layout.support.inside(4, torch.device("cpu"))
    assert inside.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]
    for start in range(3):
        part = layout.support.part(slice(start, start + 2))
        assert torch.equal(part.inside(4, torch.device("cpu")), inside[start : start + 2])


@pytest.mark.parametrize("support", [((0, 2), (3,)), ((0, 1), (2,))])
def test_a_token_outside_its_own_support_is_refused(
    make_rollout: MakeRollout, support: tuple[tuple[int, ...], ...]
) -> None:
    rollout = make_rollout([5], [1, 3])
    with pytest.raises(ValueError, match=r"token [13] is not in the support"):
        Support.of([replace(rollout, support=support)], torch.tensor([1, 3]))


def test_a_support_of_another_length_is_refused(make_rollout: MakeRollout) -> None:
    with pytest.raises(ValueError, match="zip"):
        Layout.of([replace(make_rollout([5], [1, 3]), support=((1,),))], "cpu")
