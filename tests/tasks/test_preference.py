"""Preference rows: the question by any of its usual names, and never a prompt that only looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.tasks.conventions import examples, recognise
from groupwise.tasks.preference import common_prompt
from groupwise.types import Example

CHOSEN, REJECTED = "#### 5", "#### 99"
USER = {"role": "user", "content": "2+3 = ?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def said(*texts: str) -> list[dict[str, str]]:
    """The user and the assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def one(row: dict[str, Any]) -> Example:
    rows = [("a.jsonl:1", row)]
    (example,) = examples(rows, recognise(rows))
    return example


def sides(example: Example) -> tuple[Any, Any]:
    assert example.completion == example.columns["chosen"]
    return example.columns["chosen"], example.columns["rejected"]


@pytest.mark.parametrize(
    "name",
    ["prompt", "question", "problem", "instruction", "query", "input", "Question", "user_prompt", "problem_statement"],
)
def test_the_question_by_its_usual_names(name: str) -> None:
    example = one({name: "2+3 = ?", "chosen": CHOSEN, "rejected": REJECTED})
    assert example.prompt == "2+3 = ?"
    assert sides(example) == (CHOSEN, REJECTED)


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({"system": "Be brief.", "question": "2+3 = ?"}, (SYSTEM, USER)),
        ({"system_prompt": "Be brief.", "question": "2+3 = ?"}, (SYSTEM, USER)),
        ({"system": "", "question": "2+3 = ?"}, "2+3 = ?"),
        ({"system": None, "question": "2+3 = ?"}, "2+3 = ?"),
        ({"system": "Be brief.", "prompt": [SYSTEM, USER]}, (SYSTEM, USER)),
        ({"instruction": "Add.", "input": "2+3"}, "Add.\n\n2+3"),
        ({"context": "Numbers are decimal.", "question": "2+3 = ?"}, "Numbers are decimal.\n\n2+3 = ?"),
        ({"messages": [USER]}, (USER,)),
        ({"conversations": [{"from": "human", "value": "2+3 = ?"}]}, (USER,)),
        ({"history": [["1+1", "2"]], "question": "2+3 = ?"}, (*said("1+1", "2"), USER)),
        ({"history": said("1+1", "2"), "question": "2+3 = ?"}, (*said("1+1", "2"), USER)),
    ],
)
def test_what_stands_around_the_question(asked: dict[str, Any], prompt: Any) -> None:
    assert one({**asked, "chosen": CHOSEN, "rejected": REJECTED}).prompt == prompt


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ({"chosen": said("q", "a"), "rejected": said("q", "b")}, ("a", "b")),
        ({"chosen_response": "a", "rejected_response": "b", "prompt": "q"}, ("a", "b")),
        (
            {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}, "prompt": "q"},
            ("a", "b"),
        ),
        (
            {"chosen": said("q", "a", "why?", "so"), "rejected": said("q", "b")},
            (tuple(said("q", "a", "why?", "so")[1:]), "b"),
        ),
        ({"chosen": said("1", "1", "q", "a"), "rejected": said("1", "1", "q", "b")}, ("a", "b")),
        ({"chosen": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]',
          "rejected": "[{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}]"}, ("a", "b")),
    ],
)  # fmt: skip
def test_the_sides(pair: dict[str, Any], expected: tuple[Any, Any]) -> None:
    assert sides(one(pair)) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "another", "chosen": said("q", "a"), "rejected": said("q", "b")},
            "a.jsonl:1: prompt is not what the conversations ask",
        ),
        (
            {"chosen": said("q", "a", "z", "c"), "rejected": said("q", "a", "y", "b")},
            "chosen and rejected part at message 2, which is not the assistant's",
        ),
        (
            {"system": "Be long.", "chosen": [SYSTEM, *said("q", "a")], "rejected": [SYSTEM, *said("q", "b")]},
            "a.jsonl:1: system: the conversation has another system message already",
        ),
        ({"question": None, "chosen": "a", "rejected": "b"}, "a.jsonl:1: question is null; expected text"),
        (
            {"question": "q", "history": "a post", "chosen": "a", "rejected": "b"},
            "a.jsonl:1: history is str 'a post'; expected messages, or pairs",
        ),
        ({"question": "q", "images": ["x.png"], "chosen": "a", "rejected": "b"}, "a.jsonl:1: images is not empty"),
    ],
)
def test_what_would_change_the_question_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        one(row)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_named_by_the_caller_is_the_prompt_of_pairs_too() -> None:
    rows = [("a.jsonl:1", {"frage": "2+3 = ?", "system": "Be brief.", "chosen": CHOSEN, "rejected": REJECTED})]
    (example,) = examples(rows, recognise(rows, prompt_column="frage"))
    assert example.prompt == (SYSTEM, USER)
    assert sides(example) == (CHOSEN, REJECTED)


def test_the_line_of_what_was_read_names_the_rest() -> None:
    row = {"question": "q", "prompt": "p", "chosen": "a", "rejected": "b", "score": 3}
    words = recognise([("a.jsonl:1", row)]).description
    assert words == "TRL preference: chosen, rejected; prompt: prompt; not used: question"


def test_a_dialogue_as_text_is_cut_where_the_answer_begins_though_both_begin_with_the_same_words() -> None:
    sides = [f"\n\nHuman: hi\n\nAssistant: yo\n\nHuman: more\n\nAssistant: I am {word}" for word in ("good", "bad")]
    prompt, chosen, rejected = common_prompt(*sides, "row")
    assert prompt == "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: more\n\nAssistant:"
    assert (chosen, rejected) == (" I am good", " I am bad")
    assert common_prompt("Say: I am good", "Say: I am bad", "row")[0] == "Say: I am"
