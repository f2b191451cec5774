"""Where in packed and padded rollouts the sampled tokens are, and the states that are read for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from groupwise.learners.micro_batch import MicroBatch, Support
from groupwise.types import Rollout

MakeRollout = Callable[..., Rollout]


def test_a_token_is_predicted_by_the_one_before_it(make_rollout: MakeRollout) -> None:
    """Prompts of 2 and 1; the second token of the first row is not the policy's own."""
    micro_batch = MicroBatch.of([make_rollout([5, 6], [7, 8, 9], [True, False, True]), make_rollout([4], [3])], "cpu")
    assert micro_batch.ids.tolist() == [[5, 6, 7, 8, 9], [4, 3, 0, 0, 0]]
    assert list(
        zip(micro_batch.rows.tolist(), micro_batch.places.tolist(), micro_batch.targets.tolist(), strict=True)
    ) == [
        (0, 1, 7),
        (0, 3, 9),
        (1, 0, 3),
    ]
    assert micro_batch.packing.tokens.tolist() == [5, 6, 7, 8, 4]
    assert micro_batch.where.tolist() == [1, 3, 4]
    assert micro_batch.spread(torch.tensor([1.0, 2.0, 3.0])).tolist() == [[1, 0, 2], [3, 0, 0]]
    assert micro_batch.support is None


def test_a_scorers_state_is_that_of_the_token_itself(make_rollout: MakeRollout) -> None:
    """What follows the last sampled token changes nothing, and is left out."""
    rollouts = [make_rollout([5, 6], [7, 8, 9, 1], [True, False, True, False]), make_rollout([5, 6], [3])]
    micro_batch = MicroBatch.of([*rollouts, make_rollout([4], [3], [False])], "cpu", after=True)
    assert micro_batch.packing.tokens.tolist() == [5, 6, 7, 8, 9, 3, 4]
    assert micro_batch.where.tolist() == [2, 4, 5]
    assert micro_batch.places.tolist() == [2, 4, 2]
    assert micro_batch.targets.tolist() == [7, 9, 3]


def test_support_of_sampled_tokens(make_rollout: MakeRollout) -> None:
    narrowed = replace(make_rollout([5], [1, 2, 3], [True, False, True]), support=((0, 1), (), (3,)))
    micro_batch = MicroBatch.of([narrowed, make_rollout([5], [2])], "cpu")
    assert micro_batch.support is not None
    inside = micro_batch.support.inside(4, torch.device("cpu"))
    assert inside.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]
    for start in range(3):
        part = micro_batch.support.part(slice(start, start + 2))
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
        MicroBatch.of([replace(make_rollout([5], [1, 3]), support=((1,),))], "cpu")


def test_an_episode_that_was_written_anew_is_several_sequences(make_rollout: MakeRollout) -> None:
    """The second sequence begins behind ``[1, 2]``, sees nothing of the first, and the row stays one."""
    rollout = make_rollout([5, 6], [7, 8, 1, 2, 3, 9, 4], [True, True, False, False, True, False, True])
    micro_batch = MicroBatch.of([replace(rollout, restarts=(2,)), make_rollout([5, 6], [3])], "cpu")
    assert micro_batch.ids.tolist() == [[5, 6, 7, 8, 0], [1, 2, 3, 9, 4], [5, 6, 3, 0, 0]]
    assert micro_batch.rows.tolist() == [0, 0, 1, 1, 2]
    assert micro_batch.places.tolist() == [1, 2, 1, 3, 1]
    assert micro_batch.targets.tolist() == [7, 8, 3, 4, 3]
    assert micro_batch.packing.tokens.tolist() == [5, 6, 7, 1, 2, 3, 9]
    assert micro_batch.packing.positions.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert micro_batch.where.tolist() == [1, 2, 4, 6, 1]
    spread = micro_batch.spread(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()
    assert spread == [[1, 2, 0, 0, 3, 0, 4], [5, 0, 0, 0, 0, 0, 0]]


def test_a_sequence_without_a_prompt_is_refused(make_rollout: MakeRollout) -> None:
    with pytest.raises(ValueError, match="the sequence at token 1 has no prompt"):
        MicroBatch.of([replace(make_rollout([5], [7, 8]), restarts=(1,))], "cpu")


def test_a_prompt_of_one_token_is_shared_by_nobody(make_rollout: MakeRollout) -> None:
    """Documents that begin alike stay sequences of their own."""
    micro_batch = MicroBatch.of([make_rollout([4], [7, 8]), make_rollout([4], [9, 1]), make_rollout([4], [5])], "cpu")
    assert micro_batch.packing.families == 3
    assert micro_batch.packing.tokens.tolist() == [4, 7, 4, 9, 4]
    assert micro_batch.where.tolist() == [0, 1, 2, 3, 4]
