"""Published rules by their names: their numbers, and where they are stricter or laxer than ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from groupwise.errors import UserError
from groupwise.rewards import FinalAnswer, Math, MathVerify, ProgramAnswer, by_name
from groupwise.rewards.published import PRESETS
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.types import Rollout

Make = Callable[..., Rollout]


@pytest.mark.parametrize("name", PRESETS)
def test_each_has_its_name_on_the_command_line(name: str) -> None:
    assert by_name(name).name == name
    assert by_name(name) == by_name(name)


@pytest.mark.parametrize(
    ("name", "gold", "text", "value"),
    [
        ("gsm8k", "2+3=5\n#### 5", "so\n#### 5", 1.0),
        ("gsm8k", "2+3=5\n#### 1,005", "#### 1005", 1.0),
        ("gsm8k", "2+3=5\n#### 5", "\\boxed{5}", 0.0),
        ("gsm8k", "2+3=5\n#### 5", "The answer is 5", 0.0),
        ("deepseekmath", "5", "\\boxed{5.0009}", 1.0),
        ("deepseekmath", "5", "\\boxed{5.001}", 0.0),
        ("deepseekmath", "0.5", "\\boxed{50}", 1.0),
        ("deepseekmath", "7", "\\boxed{3} The final answer is $7$. I hope it is correct.", 1.0),
        ("deepseekmath", "5", "```output\n5\n```", 1.0),
        ("deepseekmath", "5", "we get 4 and then 5", 1.0),
        ("tora", "10000", "\\boxed{10001}", 1.0),
        ("tora", "10000", "\\boxed{10002}", 0.0),
        ("tora", "50", "\\boxed{0.5}", 1.0),
        ("tora", "5", "The answer is 5.", 1.0),
        ("tora", "x+1", "\\boxed{1+x}", 1.0),
        ("math_verify", "\\frac{1}{3}", "$0.333333$", 1.0),
        ("math_verify", "5", "so it is \\boxed{5}", 1.0),
        ("math_verify", "5", "so it is \\boxed{6}", 0.0),
    ],
)
def test_a_published_rule_says_what_it_says(name: str, gold: str, text: str, value: float, rollout: Make) -> None:
    assert by_name(name).score([rollout(text, answer=gold)])[0].value == value


def test_numbers_are_compared_within_a_tolerance_that_the_reward_states(rollout: Make) -> None:
    def right(reward: FinalAnswer | Math, gold: str, answer: str) -> bool:
        return reward.score([rollout(f"#### {answer}", answer=gold)])[0].value == 1.0

    for kind in (FinalAnswer, Math):
        assert not right(kind(), "3244047.0999999996", "3244047.10")
        assert right(kind(tolerance="relative 1e-9"), "3244047.0999999996", "3244047.10")
        assert right(kind(tolerance="absolute 1e-3"), "3244047.0999999996", "3244047.10")
        assert not right(kind(tolerance="relative 1e-9"), "3244047.0999999996", "3244047.11")
        assert right(kind(tolerance="percent"), "0.25", "25")
        assert not right(kind(), "0.25", "25")
    assert right(Math(tolerance="absolute 0.01"), r"\pi", "3.14")
    assert not right(Math(), r"\pi", "3.14")
    assert by_name("math:relative 1e-4") == Math(tolerance="relative 1e-4")
    assert by_name("answer:absolute 1e-3") == FinalAnswer(tolerance="absolute 1e-3")


@pytest.mark.parametrize("text", ["", "near", "absolute", "absolute x", "relative 0", "relative -1", "exact percent"])
def test_a_tolerance_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="tolerance"):
        tolerance(text)
    with pytest.raises(UserError, match="tolerance"):
        Math(tolerance=text)


def test_an_unknown_convention_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown convention 'box'; expected some of tags, hashes, finals, boxes"):
        FinalAnswer(conventions=("box",))
    with pytest.raises(UserError, match=r"several='both': expected 'any'"):
        Math(several="both")


def test_the_order_of_conventions_is_a_value(rollout: Make) -> None:
    row = rollout("#### 4\n\\boxed{5}\nThe answer is 6", answer="5")
    orders = {"hashes": 0.0, "boxes": 1.0, "phrases": 0.0}
    assert {name: FinalAnswer(conventions=(name,)).score([row])[0].value for name in orders} == orders
    assert FinalAnswer(conventions=("boxes", "hashes")).score([row])[0].value == 1.0


def test_what_runs_a_program_or_another_judge_is_its_own_class() -> None:
    assert by_name("pal") == ProgramAnswer("pal", tolerance="absolute 1e-3")
    assert by_name("math_verify") == MathVerify()
