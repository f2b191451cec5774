from __future__ import annotations

from collections.abc import Callable

import pytest

from groupwise.errors import UserError
from groupwise.rewards import Format, LengthPenalty, by_name
from groupwise.types import Rollout


def test_format_matches_the_whole_completion(rollout: Callable[..., Rollout]) -> None:
    reward = Format(r"<think>.*</think>\s*<answer>.*</answer>")
    texts = ["<think>a\nb</think>\n<answer>4</answer>", "x<think></think><answer></answer>", "<answer>4</answer>", ""]
    assert [score.value for score in reward.score([rollout(text) for text in texts])] == [1.0, 0.0, 0.0, 0.0]


def test_a_broken_pattern_is_an_error_at_once() -> None:
    with pytest.raises(UserError, match=r"'\(' is not a regular expression"):
        Format("(")


def test_the_soft_overlong_punishment_is_dapos(rollout: Callable[..., Rollout]) -> None:
    golden = {0: 0.0, 16384: 0.0, 17408: -0.25, 18432: -0.5, 20480: -1.0, 20481: -1.0, 30000: -1.0}
    scores = LengthPenalty().score([rollout(tokens=tokens) for tokens in golden])
    assert [score.value for score in scores] == list(golden.values())


def test_the_penalty_counts_sampled_tokens_only(rollout: Callable[..., Rollout]) -> None:
    from dataclasses import replace

    row = replace(rollout(tokens=10), mask=(True,) * 6 + (False,) * 4)
    assert LengthPenalty(max_tokens=8, cache_tokens=4).score([row])[0].value == -0.5


@pytest.mark.parametrize(("most", "cache"), [(10, 0), (10, 11), (0, -1)])
def test_impossible_lengths_are_refused(most: int, cache: int) -> None:
    with pytest.raises(UserError, match="0 < cache_tokens <= max_tokens"):
        LengthPenalty(max_tokens=most, cache_tokens=cache)


def test_a_pattern_that_backtracks_for_ever_costs_its_own_completion(rollout: Callable[..., Rollout]) -> None:
    scores = Format(r"(a+)+b", time_limit_seconds=0.8).score([rollout("ab"), rollout("a" * 60), rollout("aab")])
    assert [(score.value, score.status) for score in scores] == [(1.0, "scored"), (None, "timeout"), (1.0, "scored")]


def test_a_missing_eos_costs_its_penalty_at_any_length(rollout: Callable[..., Rollout]) -> None:
    from dataclasses import replace

    reward = LengthPenalty(max_tokens=8, cache_tokens=4, missing_eos=0.75)
    ended = [rollout(tokens=tokens) for tokens in (2, 6, 9)]
    cut = [replace(row, finished=False) for row in ended]
    assert [score.value for score in reward.score(ended)] == [0.0, -0.5, -1.0]
    assert [score.value for score in reward.score(cut)] == [-0.75, -1.25, -1.75]
    assert [score.value for score in LengthPenalty(8, 4).score(cut)] == [0.0, -0.5, -1.0]


@pytest.mark.parametrize("penalty", [-1.0, float("inf"), float("nan")])
def test_a_penalty_that_is_none_is_refused(penalty: float) -> None:
    with pytest.raises(UserError, match="expected how much is subtracted"):
        LengthPenalty(missing_eos=penalty)


def test_the_penalty_is_the_third_number_on_the_command_line() -> None:
    assert by_name("length:512,128,1.5") == LengthPenalty(512, 128, missing_eos=1.5)
    assert by_name("length:512") == LengthPenalty(512, 102)
    for spec in ("length:512,128,x", "length:512,128,1,2", "length:5.5", "length:512,", "length:512,1.5"):
        with pytest.raises(UserError, match="length:512,128,1"):
            by_name(spec)
