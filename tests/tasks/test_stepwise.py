"""Stepwise arithmetic: right demonstrations, disjoint splits, rows made on demand, steps judged truly."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.tasks.stepwise import (
    LEVELS,
    Difficulty,
    StepRule,
    StepwiseArithmetic,
    check_lines,
    check_steps,
    demonstrate,
    split_of,
    stepwise,
)
from groupwise.tokens.segmentation import Lines, step_ends
from groupwise.types import Example, Prompt, Rollout, Score

QUESTION = "37 + 58 - 46 = ?"
levels = st.sampled_from(sorted(LEVELS))
splits = st.sampled_from(["train", "held_out"])
seeds = st.integers(0, 10**9)


def test_the_worked_example():
    assert demonstrate(QUESTION) == "<<37+58=95>>\n<<95-46=49>>\n#### 49"


def test_a_leading_product_keeps_the_usual_precedence():
    assert demonstrate("12 * 3 - 6 = ?") == "<<12*3=36>>\n<<36-6=30>>\n#### 30"


def test_these_rows_never_change():
    rows = StepwiseArithmetic(level=2, seed=0)
    assert [row.prompt for row in rows[:3]] == ["29 - 5 + 55 = ?", "79 + 9 - 24 = ?", "17 - 12 + 5 = ?"]
    assert rows[1].id == "train:1"
    assert rows[1].answer == "64"
    assert rows[1].completion == "<<79+9=88>>\n<<88-24=64>>\n#### 64"
    assert rows[1].columns == {"question": "79 + 9 - 24 = ?"}


@given(level=levels, seed=seeds, split=splits, row=st.integers(0, 10**6))
def test_every_row_keeps_to_its_level_and_its_split(level, seed, split, row):
    difficulty = LEVELS[level]
    example = StepwiseArithmetic(level, seed, 10**6 + 1, split)[row]
    left_side = example.prompt.removesuffix(" = ?")
    numbers = [int(number) for number in re.findall("[0-9]+", left_side)]
    results = [int(result) for result in re.findall("=([0-9]+)>>", example.completion)]
    assert split_of(example.prompt) == split
    assert difficulty.operands[0] <= len(numbers) <= difficulty.operands[1]
    assert all(0 <= number <= difficulty.largest for number in numbers + results)
    assert set(re.findall("[-+*]", left_side)) <= set(difficulty.operators)
    assert example.answer == str(eval(left_side)) == str(results[-1])  # our own digits and signs, usual precedence
    assert check_steps(example.prompt, example.completion) == [True] * (len(numbers) - 1)


@given(first=seeds, second=seeds, level=levels)
def test_train_and_held_out_share_no_question_whatever_the_seeds(first, second, level):
    train = {row.prompt for row in StepwiseArithmetic(level, first, 50, "train")}
    held_out = {row.prompt for row in StepwiseArithmetic(level, second, 20, "held_out")}
    assert not train & held_out


@given(seed=seeds, row=st.integers(0, 99))
def test_a_row_depends_on_its_own_number_only(seed, row):
    rows = StepwiseArithmetic(seed=seed, size=100)
    assert rows[row] == StepwiseArithmetic(seed=seed, size=10**6)[row] == list(rows)[row] == rows[row - 100]


def test_seeds_give_different_rows():
    assert StepwiseArithmetic(seed=0, size=20)[:] != StepwiseArithmetic(seed=1, size=20)[:]


def test_about_one_question_in_ten_is_held_out():
    held_out = sum(split_of(f"{a} + {b} = ?") == "held_out" for a in range(50) for b in range(50))
    assert 200 < held_out < 300


def test_it_is_a_sequence_of_its_size():
    rows = StepwiseArithmetic(size=3)
    assert len(rows) == len(list(rows)) == 3
    with pytest.raises(IndexError):
        rows[3]


def test_a_difficulty_of_ones_own():
    rows = StepwiseArithmetic(Difficulty(operands=(6, 6), largest=9, operators="+-"), size=20)
    assert all(len(re.findall("[0-9]", row.prompt)) == 6 for row in rows)


@pytest.mark.parametrize(
    ("completion", "verdicts"),
    [
        ("<<37+58=95>>\n<<95-46=49>>\n#### 49", [True, True]),
        ("<<37+58=94>>\n<<94-46=48>>\n#### 48", [False, True]),
        ("<<37+58=95>>\n<<94-46=48>>\n#### 48", [True, False]),
        ("<<37+58=95>>\n<<95+46=141>>\n#### 141", [True, False]),
        ("<<37+58=95>>\n<<95-45=50>>\n#### 50", [True, False]),
        ("<<37+58=95>>\n<<95-46=49>>\n<<49-0=49>>\n#### 49", [True, True, False]),
        ("<<37+58=95>>\n#### 49", [True]),
        ("<<37+58=95\n<<95-46=49>>\n#### 49", [False, False]),
        ("thirty-seven\n\n<<37+58=95>>\n<<95-46=49>>", [False, False, False]),
        ("<< 37 + 58 = 95 >>\r\n<<95-46=49>>\r\n#### 49\n<<1+1=3>>", [True, True]),
        ("<<37+58=" + "9" * 5000 + ">>", [False]),
        ("<<37**99999999=1>>", [False]),
        ("#### 49", []),
        ("", []),
    ],
)
def test_steps_are_judged_one_by_one(completion, verdicts):
    assert check_steps(QUESTION, completion) == verdicts


@given(st.text())
def test_any_text_is_judged_without_an_error(completion):
    assert True not in check_steps(QUESTION, completion.replace("<<", ""))


@given(row=st.integers(0, 1000), slip=st.integers(1, 50))
def test_one_slip_carried_on_is_one_wrong_step(row, slip):
    question = StepwiseArithmetic(level=2)[row].prompt
    first, sign, second, last_sign, last = question.removesuffix(" = ?").split()
    wrong = (int(first) + int(second) if sign == "+" else int(first) - int(second)) + slip
    final = wrong + int(last) if last_sign == "+" else wrong - int(last)
    assume(final >= 0)
    completion = f"<<{first}{sign}{second}={wrong}>>\n<<{wrong}{last_sign}{last}={final}>>\n#### {final}"
    assert check_steps(question, completion) == [False, True]


def test_the_task_is_rewarded_by_its_final_answer():
    pytest.importorskip("groupwise.rewards.answers", reason="the answer rewards are not there")
    task = stepwise(level=1, seed=3, train_size=7, held_out_size=5)
    assert (len(task.train), len(task.held_out), task.name) == (7, 5, "stepwise")
    assert [reward.name for reward in task.rewards] == [task.rewards[0].name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: StepwiseArithmetic(level=9), r"level is 9; expected one of \[1, 2, 3, 4, 5\]"),
        (lambda: StepwiseArithmetic(size=-1), "size is -1"),
        (lambda: Difficulty(operands=(3, 2)), r"operands is \(3, 2\)"),
        (lambda: Difficulty(largest=1), "largest is 1"),
        (lambda: Difficulty(operators="*"), r'operators is "\*"'),
        (lambda: check_steps("How many?", ""), '"How many\\?" is not a question of this task'),
    ],
)
def test_errors_say_what_was_seen(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("completion", "alone", "so_far"),
    [
        ("<<37+58=95>>\n<<95-46=49>>\n#### 49", [1, 1, 1], [1, 1, 1]),
        ("<<37+58=96>>\n<<96-46=50>>\n#### 50", [0, 1, 1], [0, 0, 0]),
        ("<<37+58=95>>\n\n<<95-46=49>>\n#### 50\nand so on", [1, 1, 0, 0], [1, 1, 0, 0]),
        ("<<37+58=95>>\n#### 95", [1, 0], [1, 0]),
        ("#### 49", [0], [0]),
        ("nonsense", [0], [0]),
        ("<<37+58=95>>\n<<95-46=49>>\n####", [1, 1, 0], [1, 1, 0]),
    ],
)
def test_every_line_is_a_step_that_the_rule_scores(completion, alone, so_far):
    assert check_lines(QUESTION, completion) == [bool(verdict) for verdict in alone]
    ends = Lines().ends(completion)
    rollout = characters(QUESTION, completion)
    for rule, expected in ((StepRule(), alone), (StepRule(so_far=True), so_far)):
        (score,) = rule.score([rollout])
        assert score == Score(
            float(all(expected)), steps={end - 1: float(v) for end, v in zip(ends, expected, strict=True)}
        )


@given(level=levels, row=st.integers(0, 10**6), slips=st.sampled_from([0.0, 0.3]))
def test_right_so_far_to_the_end_is_the_right_answer(level, row, slips):
    example = StepwiseArithmetic(level, 0, 10**6 + 1, slips=slips)[row]
    (score,) = StepRule(so_far=True).score([characters(example.prompt, example.completion)])
    assert score.value == float(example.completion == demonstrate(example.prompt))
    assert len(score.steps) == len(check_steps(example.prompt, example.completion)) + 1


@given(completion=st.text(alphabet="<>=+-#0123 \n\r\u2028\x0b\x1c", max_size=30))
def test_lines_and_the_referee_see_the_same_steps(completion):
    assert len(check_lines(QUESTION, completion)) == len(Lines().ends(completion))


def test_a_step_rule_says_what_it_misses():
    nothing, merged = characters(QUESTION, " \n"), replace(characters(QUESTION, "<<1+1=2>>\n#### 2"), steps=(3,))
    assert StepRule().score([nothing, merged]) == [Score(0.0, "unparseable")] * 2
    with pytest.raises(UserError, match=r"'steps' needs to know the steps; give the task steps=Lines\(\)"):
        StepRule().score([replace(merged, steps=())])
    with pytest.raises(UserError, match="is not a question of this task"):
        StepRule().score([characters("2 + 2", "4")])
    assert stepwise(1).steps == Lines()


def characters(question, completion):
    """One character a token."""
    return Rollout(
        prompt=Prompt(Example("row", question), (0,)),
        tokens=tuple(map(ord, completion)),
        mask=(True,) * len(completion),
        behavior_logprobs=(0.0,) * len(completion),
        text=completion,
        finished=True,
        version=0,
        steps=step_ends(completion, Lines().ends(completion)),
    )
