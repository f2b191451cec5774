"""A reward that judges all that was said, what programs printed included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from groupwise.rewards import by_name
from groupwise.rewards.transcript import LastOutput, TranscriptReward
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout

ROW = Example("r", "How many?", answer="12")


def rollout(*said: tuple[str, str]) -> Rollout:
    text = "\n".join(words for role, words in said if role == "assistant")
    plain = Rollout(Prompt(ROW, (1,)), (1,), (True,), (0.0,), text, True, DEMONSTRATED)
    return replace(plain, messages=tuple({"role": role, "content": words} for role, words in said))


PROGRAM = "```python\nprint(3 * 4)\n```"


def test_an_answer_that_only_a_program_printed_is_read() -> None:
    talk = rollout(("assistant", PROGRAM), ("user", "```output\n12\n```\n"), ("assistant", "Done."))
    by_rule = by_name("deepseekmath")
    assert by_rule.score([talk])[0].value == 0.0
    assert TranscriptReward(by_rule).score([talk])[0].value == 1.0
    assert TranscriptReward(by_rule).votes([talk, rollout(("assistant", "\\boxed{12}"))]) == [0, 0]


def test_a_block_that_the_model_opened_is_one_with_what_fills_it() -> None:
    talk = rollout(("assistant", f"{PROGRAM}\n```output"), ("user", "\n12\n```\n"), ("assistant", "Done."))
    assert TranscriptReward(by_name("tora")).score([talk])[0].value == 1.0


def test_a_box_goes_before_the_output_and_one_turn_stays_what_it_is() -> None:
    talk = rollout(("assistant", PROGRAM), ("user", "```output\n12\n```\n"), ("assistant", "So \\boxed{13}."))
    assert TranscriptReward(by_name("tora")).score([talk])[0].value == 0.0
    single = Rollout(Prompt(ROW, (1,)), (1,), (True,), (0.0,), "\\boxed{12}", True, DEMONSTRATED)
    assert TranscriptReward(by_name("tora")).score([single])[0].value == 1.0


def test_it_has_the_name_and_weight_of_the_reward_that_judges() -> None:
    told = TranscriptReward(by_name("math*0.5"))
    assert (told.name, told.weight) == ("math", 0.5)
    assert TranscriptReward(by_name("length:10")).votes([rollout(("assistant", "a"))]) == [None]
    assert told.unreadable([ROW]) == [""]


@pytest.mark.parametrize(
    ("printed", "answer", "right"),
    [("first\n12.0", "12", 1.0), ("12.0005", "12", 1.0), ("12.01", "12", 0.0), ("", "12", 0.0),
     ("nothing", "12", 0.0), ("4", "a solution\n#### 4", 1.0), ("1/2", "0.5", 1.0)],
)  # fmt: skip
def test_the_last_line_of_the_last_program_is_compared_with_the_answer(printed: str, answer: str, right: float) -> None:
    first, last = ("user", "\n99\n```\n"), ("user", f"\n```output\n{printed}\n```\n")
    talk = rollout(("assistant", PROGRAM), first, ("assistant", PROGRAM), last, ("assistant", "So 12."))
    talk = replace(talk, prompt=Prompt(Example("r", "q", answer=answer), (1,)))
    assert LastOutput().score([talk, replace(talk, finished=False, stop="truncated")])[0].value == right


def test_an_answer_without_a_program_has_no_output() -> None:
    assert LastOutput().score([rollout(("assistant", "12"))])[0].value == 0.0
