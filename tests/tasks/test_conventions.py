"""Column conventions: what each becomes, what is said of it, and one clear line for every row that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.tasks.context_columns import ContextColumns
from groupwise.tasks.conventions import Messages, Plain, Preference, Stepwise, duplicates, examples, recognise
from groupwise.tasks.files import read_rows
from groupwise.tasks.verl_rows import Verl
from groupwise.types import Example

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
USER = {"role": "user", "content": "2+2="}
FOUR = {"role": "assistant", "content": "4"}
FIVE = {"role": "assistant", "content": "5"}
BEGUN = {"role": "assistant", "content": "<<"}


def one(row: dict, **named) -> Example:
    """The row as the only one of a file."""
    rows = [("a.jsonl:1", row)]
    (example,) = examples(rows, recognise(rows, **named))
    assert example.id == "a.jsonl:1"
    return example


def parts(example: Example) -> tuple:
    return example.prompt, example.completion, example.answer


@pytest.mark.parametrize(
    ("row", "expected", "kind"),
    [
        ({"prompt": "2+2="}, ("2+2=", None, None), Plain),
        ({"prompt": [USER]}, ((USER,), None, None), Plain),
        ({"prompt": "2+2=", "completion": "4"}, ("2+2=", "4", "4"), Plain),
        ({"prompt": [USER], "completion": [FOUR]}, ((USER,), "4", "4"), Plain),
        ({"prompt": [USER], "completion": [FOUR, USER, FIVE]}, ((USER, FOUR, USER), "5", "5"), Plain),
        ({"prompt": "2+2=", "completion": "5", "label": False}, ("2+2=", None, "5"), Plain),
        ({"prompt": "2+2=", "completion": "4", "label": True}, ("2+2=", "4", "4"), Plain),
        ({"prompt": "2+2=", "chosen": "4", "rejected": "5"}, ("2+2=", "4", None), Preference),
        ({"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE]}, ((USER,), "4", None), Preference),
        ({"chosen": [USER, FOUR], "rejected": [USER, FIVE]}, ((USER,), "4", None), Preference),
        ({"prompt": "2+2=", "chosen": [USER, FOUR], "rejected": [USER, FIVE]}, ((USER,), "4", None), Preference),
        ({"chosen": "What is 2+2? four", "rejected": "What is 2+2? five"}, ("What is 2+2?", " four", None), Preference),
        ({"prompt": "2+2=", "completions": ["2+2", "4"], "labels": [True, False]}, ("2+2=", None, None), Stepwise),
        ({"prompt": [USER], "reward_model": {"ground_truth": "4"}}, ((USER,), None, "4"), Verl),
        ({"prompt": [USER], "reward_model": {"ground_truth": 4.5}}, ((USER,), None, "4.5"), Verl),
        ({"messages": [USER, FOUR]}, ((USER,), "4", None), Messages),
        ({"messages": [USER, FOUR, USER, FIVE], "answer": 5}, ((USER, FOUR, USER), "5", "5"), Messages),
        ({"messages": [USER]}, ((USER,), None, None), Messages),
        ({"question": "2+2=", "answer": "<<2+2=4>>4\n#### 4"}, ("2+2=", "<<2+2=4>>4\n#### 4", "4"), Plain),
        ({"question": "2+2=", "answer": 4}, ("2+2=", "4", "4"), Plain),
        ({"problem": "2+2=", "solution": "2+2 is 4", "answer": "4"}, ("2+2=", "2+2 is 4", "4"), Plain),
        ({"problem": "2+2=", "solution": None, "answer": "4"}, ("2+2=", None, "4"), Plain),
        ({"instruction": "Add.", "input": "2+2", "output": "4"}, ("Add.\n\n2+2", "4", "4"), Plain),
        ({"instruction": "Add 2+2.", "input": "", "output": "4"}, ("Add 2+2.", "4", "4"), Plain),
        ({"query": "2+2=", "response": "4"}, ("2+2=", "4", "4"), Plain),
        ({"input": "2+2=", "target": ["4"]}, ("2+2=", "4", "4"), Plain),
        ({"question": "2+2=", "answer": "2+2 is 4", "ground_truth": 4}, ("2+2=", "2+2 is 4", "4"), Plain),
        ({"prompt": "2+2=", "messages": [USER, FOUR]}, ((USER,), "4", None), ContextColumns),
        ({"PROMPT": "2+2=", "Completion": "4"}, ("2+2=", "4", "4"), Plain),
        ({"prompt": [USER, {"role": "assistant", "content": "<<"}]}, ((USER, BEGUN), None, None), Plain),
        ({"problem": "2+2=", "answer": "4", "solution": ""}, ("2+2=", None, "4"), Plain),
        (
            {"problem": "2+2=", "generated_solution": "2+2 is 4", "expected_answer": "4"},
            ("2+2=", "2+2 is 4", "4"),
            Plain,
        ),
        ({"prompt": "2+2=", "verification_info": '{"ground_truth": "4"}'}, ("2+2=", None, "4"), Plain),
        ({"question": "2+2=", "answer": None, "answer_number": 4}, ("2+2=", None, "4"), Plain),
        ({"question": "2+2=", "answer": "It is 4.", "answer_number": 4}, ("2+2=", "It is 4.", "4"), Plain),
        ({"query": "2+2=", "response": "#### 4\nThe answer is: 4"}, ("2+2=", "#### 4\nThe answer is: 4", "4"), Plain),
        ({"question": "2+2=", "answer": "#### 4\n5"}, ("2+2=", "#### 4\n5", "4\n5"), Plain),
        ({"prompt": [USER], "reward_model": "{'ground_truth': '4'}"}, ((USER,), None, "4"), Verl),
        ({"question_content": "2+2="}, ("2+2=", None, None), Plain),
        ({"Question": "2+2=", "Answer": 4.0}, ("2+2=", "4.0", "4.0"), Plain),
    ],
)
def test_what_a_row_becomes(row, expected, kind):
    assert isinstance(recognise([("a.jsonl:1", row)]), kind)
    assert parts(one(row)) == expected


def test_all_columns_reach_the_rewards_by_their_names():
    row = {"question": "2+2=", "answer": "4", "unit": "apples", "nested": {"a": [1]}}
    assert one(row).columns == row


def test_a_preference_pair_keeps_what_follows_its_prompt():
    columns = one({"chosen": [USER, FOUR], "rejected": [USER, FIVE], "margin": 2}).columns
    assert columns == {"chosen": "4", "rejected": "5", "margin": 2}


def test_columns_by_name():
    row = {"Body": "Dan has $3.", "Question": "How much?", "Answer": 3, "Equation": "3"}
    named = one(row, prompt_column=("Body", "Question"), answer_column="Equation")
    assert parts(named) == ("Dan has $3.\n\nHow much?", "3", "3")
    assert parts(one(row, prompt_column="Body")) == ("Dan has $3.", "3", "3")


@pytest.mark.parametrize(
    ("row", "description"),
    [
        (
            {"question": "a", "answer": "#### 1", "Body": "b"},
            "prompt: question; completion: answer; answer: answer after ####; for rewards by name: Body",
        ),
        ({"instruction": "a", "input": "b"}, "prompt: instruction + input"),
        (
            {"prompt": "a", "completion": "b", "label": True},
            "prompt: prompt; completion: completion where label is true",
        ),
        ({"messages": [USER], "answer": "4"}, "OpenAI messages; answer: answer"),
        ({"prompt": [USER], "reward_model": {}}, "verl: prompt; answer: reward_model.ground_truth"),
        ({"chosen": "a", "rejected": "b"}, "TRL preference: chosen, rejected"),
        ({"prompt": "a", "completions": [], "labels": []}, "TRL stepwise supervision: prompt, completions, labels"),
    ],
)
def test_one_line_says_what_was_detected(row, description):
    assert recognise([("a.jsonl:1", row)]).description.startswith(description)


LONE = "a\ud800"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": None}, "a.jsonl:1: prompt is null; expected text"),
        ({"prompt": 7}, "a.jsonl:1: prompt is int '7'; expected text"),
        ({"prompt": {"a": 1}}, "a.jsonl:1: prompt is dict; expected text"),
        ({"prompt": " \n"}, "a.jsonl:1: prompt is empty; expected text"),
        ({"prompt": []}, "a.jsonl:1: prompt is empty list; expected a list of messages"),
        ({"prompt": LONE}, "a.jsonl:1: prompt holds the lone surrogate '\\ud800'"),
        ({"prompt": ["hi"]}, "a.jsonl:1: prompt, message 0 is str 'hi'; expected"),
        ({"prompt": [{"role": "user"}]}, "a.jsonl:1: prompt, message 0, content is null; expected text"),
        ({"prompt": [{"content": "a"}]}, "a.jsonl:1: prompt, message 0 is dict; expected"),
        ({"prompt": "a", "completion": ""}, "a.jsonl:1: completion is empty"),
        (
            {"prompt": [USER], "completion": [USER]},
            "a.jsonl:1: completion ends with a message by user; expected the assistant",
        ),
        ({"prompt": "a", "completion": [FOUR, USER, FIVE]}, "a.jsonl:1: completion has 3 messages; expected one"),
        ({"question": "a", "answer": None}, "a.jsonl:1: answer is null; expected the reference answer"),
        ({"messages": [FOUR]}, "a.jsonl:1: messages: has the assistant's turn only"),
        ({"messages": None}, "a.jsonl:1: messages is null; expected a list of messages"),
        ({"messages": [{**FOUR, "tool_calls": [{}]}]}, "a.jsonl:1: messages, message 0: tool_calls[0] is empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "a.jsonl:1: messages, message 0, content, part 0 is of the type image; expected text",
        ),
        ({"prompt": [USER], "reward_model": {}}, "a.jsonl:1: reward_model is empty dict; expected"),
        ({"prompt": [USER], "reward_model": {"ground_truth": None}}, "a.jsonl:1: reward_model.ground_truth is null"),
        ({"chosen": "x", "rejected": "y"}, "a.jsonl:1: the common beginning of chosen and rejected is empty"),
        ({"chosen": [USER, FOUR], "rejected": None}, "a.jsonl:1: rejected is null"),
        ({"chosen": [], "rejected": []}, "a.jsonl:1: chosen is empty list"),
        ({"prompt": "a", "completions": ["b"], "labels": [True, False]}, "a.jsonl:1: 2 labels for 1 step;"),
        ({"prompt": "a", "completions": ["b"], "labels": None}, "a.jsonl:1: labels is null for 1 step;"),
        (
            {"prompt": "a", "completions": ["b"], "labels": ["yes"]},
            "a.jsonl:1: labels[0] is str 'yes'; expected true, false or a number in 0 .. 1",
        ),
        ({"prompt": "a", "completions": [None], "labels": [True]}, "a.jsonl:1: completions[0] is null"),
        ({"prompt": "a", "completions": "b", "labels": [True]}, "a.jsonl:1: completions is str 'b'; expected a list"),
        ({"text": "a", "code": "b"}, "no prompt among the columns text, code; name it as prompt_column"),
        ({}, "no prompt among the columns"),
    ],
)
def test_what_a_row_breaks_is_said_in_one_line(row, message):
    with pytest.raises(UserError) as caught:
        one(row)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_names_the_nearest():
    with pytest.raises(UserError, match='no column "awnser", perhaps you meant "answer"; seen: question, answer'):
        one({"question": "a", "answer": "b"}, answer_column="awnser")
    rows = [("a.jsonl:1", {"question": "a", "answer": "b"}), ("a.jsonl:2", {"question": "a", "anwser": "b"})]
    with pytest.raises(UserError, match=r'a.jsonl:2: no column "answer", perhaps you meant "anwser"'):
        examples(rows, recognise(rows))


def test_a_gsm8k_answer_without_its_mark():
    rows = [(f"a.jsonl:{line}", {"question": "a", "answer": "#### 1" if line < 30 else "1"}) for line in range(1, 31)]
    with pytest.raises(UserError, match=r"a.jsonl:30: answer has no ####"):
        examples(rows, recognise(rows))


def test_messages_made_of_text_parts_are_text():
    message = {"role": "user", "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2="}]}
    assert one({"prompt": [message]}).prompt == (USER,)


def test_duplicates_are_counted():
    rows = [(f"a.jsonl:{line}", {"prompt": prompt}) for line, prompt in enumerate("abaa")]
    assert duplicates(examples(rows, recognise(rows))) == 2


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
@pytest.mark.parametrize(
    ("name", "named", "answer"),
    [
        ("gsm8k/train.jsonl", {}, "72"),
        ("gsm8k/test.jsonl", {}, "18"),
        ("svamp/SVAMP.json", {"prompt_column": ("Body", "Question")}, "51.0"),
        ("cmath/test.jsonl", {}, "18"),
        ("math-verify/cases.jsonl", {"prompt_column": "pred", "answer_column": "gold"}, "-5"),
        ("mr-gsm8k/mr_gsm8k_subset.jsonl", {"answer_column": "ground_truth_answer"}, "5"),
        ("big-bench-mistake/tracking_shuffled_objects.jsonl", {"answer_column": "target"}, "(B)"),
    ],
)
def test_real_files(name, named, answer):
    rows = read_rows(DATA / name)
    made = examples(rows, recognise(rows, **named))
    assert len(made) == len(rows)
    assert made[0].answer == answer
    assert all(example.answer and example.prompt for example in made)


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_gsm8k_keeps_its_calculator_marks():
    rows = read_rows(DATA / "gsm8k/train.jsonl")
    first = examples(rows, recognise(rows))[0]
    assert first.completion == rows[0][1]["answer"]
    assert "<<48/2=24>>" in first.completion


def test_answers_of_questions_with_a_context_are_named_where_nothing_reads_them():
    row = {"context": "Rome.", "question": "Where?", "answers": {"text": ["Rome"], "answer_start": [0]}}
    assert "not used: answers" in recognise([("a.jsonl:1", row)]).description


def test_programs_beside_answers_in_verification_info_are_none():
    rows = [({"ground_truth": "4"}), ({"test_cases": []})]
    found = recognise([(f"a:{n}", {"prompt": "?", "verification_info": row}) for n, row in enumerate(rows)])
    assert "not used: verification_info" in found.description


def test_a_context_that_is_an_object_says_what_to_do():
    row = {"context": {"title": ["a"], "sentences": [["b"]]}, "question": "Who?", "answer": "Bob"}
    with pytest.raises(
        UserError, match="fields title, sentences; expected text or a list of texts: write it out, or name"
    ):
        one(row)
