from __future__ import annotations

from collections.abc import Callable

import pytest

from groupwise.errors import UserError
from groupwise.rewards.reasoning_gym import ReasoningGym, submitted_answer
from groupwise.types import Rollout


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("I think <answer> 1 0\n0 1 </answer> done", "1 0\n0 1"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>1</answer> <answer>2", "1"),
        ("<answer>never closed \\boxed{3}", "3"),
        ("so it is\n#### 4", "4"),
        ("  just this  ", "just this"),
        ("<answer></answer>", ""),
        ("<answer>" * 100_000, ("<answer>" * 100_000)[-200_000:]),
    ],
)
def test_the_answer_is_the_tagged_text_or_the_final_answer_or_everything(text: str, answer: str) -> None:
    assert submitted_answer(text) == answer


def test_a_row_of_another_task_is_named(rollout: Callable[..., Rollout]) -> None:
    with pytest.raises(UserError, match=r"row:1: reward 'reasoning_gym' .* no column 'reasoning_gym'"):
        ReasoningGym("countdown").score([rollout()])
