"""Columns whose names mean something: used, refused, or named; and labels, golds and conversations of any shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.tasks.conventions import Reading, examples, recognise
from groupwise.types import Example

USER = {"role": "user", "content": "2+2="}
FOUR = {"role": "assistant", "content": "4"}
WHY = {"role": "user", "content": "Why?"}
SO = {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "Add."}


def read(*rows: dict[str, Any], **reading: Any) -> list[Example]:
    numbered = [(f"a.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return examples(numbered, recognise(numbered, reading=Reading(**reading)))


def described(*rows: dict[str, Any]) -> str:
    return recognise([(f"a.jsonl:{number}", row) for number, row in enumerate(rows, 1)]).description


@pytest.mark.parametrize("good", [True, 1, 1.0, "1", "true", "True", "TRUE", "yes", "Yes", " y "])
@pytest.mark.parametrize("bad", [False, 0, 0.0, "0", "false", "False", "no", "n"])
def test_labels_of_any_type(good: Any, bad: Any) -> None:
    """Numbers, text of a csv and booleans, one row like this and one like that."""
    rows = [{"prompt": "2+2=", "completion": text, "label": label} for text, label in (("4", good), ("99", bad))]
    assert [example.completion for example in read(*rows)] == ["4", None]
    talks = [
        {"messages": [USER, {**FOUR, "content": text}], "label": label} for text, label in (("4", good), ("9", bad))
    ]
    assert [example.completion for example in read(*talks)] == ["4", None]


@pytest.mark.parametrize("name", ["label", "Label", "kto_tag", "is_correct"])
@pytest.mark.parametrize("label", [None, "maybe", 2, -1, 0.5, "", [True]])
def test_a_label_that_says_neither_names_its_row(name: str, label: Any) -> None:
    rows = [{"prompt": "a", "completion": "b", name: True}] * 25 + [{"prompt": "a", "completion": "b", name: label}]
    with pytest.raises(UserError, match=rf"a.jsonl:26: {name} is .*expected true or false, 1 or 0, yes or no"):
        read(*rows)
    assert read(*rows, ignored=(name,))[-1].completion == "b"


def test_every_row_is_looked_at() -> None:
    """The column that matters may begin late."""
    plain = [{"question": f"{number}+1", "answer": str(number + 1)} for number in range(40)]
    talk = read(*plain, {"question": "1+1", "answer": "2", "system": "Add."})[-1]
    assert talk.prompt == (SYSTEM, {"role": "user", "content": "1+1"})
    with pytest.raises(UserError, match=r"a.jsonl:41: image is not empty"):
        read(*plain, {"question": "1+1", "answer": "2", "image": "x.png"})
    assert described(*plain, {"question": "1+1", "answer": "2", "solution": "two"}).endswith(
        "completion: solution; answer: answer"
    )
    assert [row.completion for row in read(*plain[:1], {"question": "1+1", "answer": "2", "solution": "two"})] == [
        None,
        "two",
    ]


def test_a_row_that_differs_is_named() -> None:
    rows = [{"question": "a", "answer": "b"}] * 30
    with pytest.raises(UserError, match=r'a.jsonl:31: no column "question"; seen: text, answer'):
        read(*rows, {"text": "a", "answer": "b"})
    with pytest.raises(UserError, match=r"a.jsonl:31: question is int '7'; expected text"):
        read(*rows, {"question": 7, "answer": "b"})


def test_labels_of_mixed_types_and_answers_of_mixed_types() -> None:
    rows = [{"question": "a", "answer": value} for value in (4, "4", 4.0, True, None)]
    assert [example.answer for example in read(*rows[:4])] == ["4", "4", "4.0", "true"]
    with pytest.raises(UserError, match=r"a.jsonl:5: answer is null"):
        read(*rows)


@pytest.mark.parametrize(
    ("column", "cell", "prompt"),
    [
        ("system", "Add.", (SYSTEM, USER)),
        ("System_Prompt", "Add.", (SYSTEM, USER)),
        ("history", [["2+2=", "4"]], (USER, FOUR, USER)),
        ("history", '[["2+2=", "4"]]', (USER, FOUR, USER)),
        ("history", [USER, FOUR], (USER, FOUR, USER)),
        ("history", [{"from": "human", "value": "2+2="}, {"from": "gpt", "value": "4"}], (USER, FOUR, USER)),
        ("history", [], "2+2="),
        ("context", "C.", "C.\n\n2+2="),
        ("context", ["C.", "D."], "C.\n\nD.\n\n2+2="),
        ("context", "2+", "2+2="),
        ("context", None, "2+2="),
        ("passage", "C.", "C.\n\n2+2="),
        ("Body", "C.", "C.\n\n2+2="),
        ("images", [], "2+2="),
        ("images", None, "2+2="),
        ("tools", None, "2+2="),
    ],
)
def test_a_column_around_the_prompt(column: str, cell: Any, prompt: Any) -> None:
    assert read({"question": "2+2=", "answer": "4", column: cell})[0].prompt == prompt


def test_around_conversations_too() -> None:
    row = {"messages": [USER, FOUR], "system": "Add.", "context": "C."}
    assert read(row)[0].prompt == (SYSTEM, {"role": "user", "content": "C.\n\n2+2="})
    row = {"prompt": [USER], "reward_model": {"ground_truth": "4"}, "system": "Add."}
    assert read(row)[0].prompt == (SYSTEM, USER)


@pytest.mark.parametrize("name", ["image", "images", "video", "videos", "audio", "Images"])
@pytest.mark.parametrize("cell", ["x.png", ["x.png"], {"bytes": "x"}])
def test_what_nothing_can_show_is_refused(name: str, cell: Any) -> None:
    with pytest.raises(UserError, match=rf"a.jsonl:1: {name} is not empty, and nothing here can show it"):
        read({"question": "q", "answer": "a", name: cell})
    assert read({"question": "q", "answer": "a", name: cell}, ignored=(name,))[0].prompt == "q"


def test_tools_and_template_arguments_are_read() -> None:
    tools, arguments = [{"type": "function"}], {"enable_thinking": False}
    for write in (lambda value: value, json.dumps):
        (row,) = read({"prompt": "q", "tools": write(tools), "chat_template_kwargs": write(arguments)})
        assert row.columns["tools"] == tools
        assert row.columns["chat_template_kwargs"] == arguments
    (row,) = read({"prompt": "q", "chat_template_kwargs": {"enable_thinking": None, "thinking": True}})
    assert row.columns["chat_template_kwargs"] == {"thinking": True}
    with pytest.raises(UserError, match=r"a.jsonl:1: tools is str 'calculator'; expected a list of JSON schemas"):
        read({"prompt": "q", "tools": "calculator"})
    with pytest.raises(UserError, match=r"a.jsonl:1: chat_template_kwargs is list; expected an object"):
        read({"prompt": "q", "chat_template_kwargs": [1]})


def test_what_is_not_used_is_named() -> None:
    words = described({"prompt": "p", "question": "q", "answer": "4", "messages": [USER, FOUR], "note": "n"})
    assert words.endswith("for rewards by name: question, messages, note; not used: question, messages")
    for name in ("documents", "Article"):
        words = described({"question": "q", "answer": "B", name: ["3", "4"]})
        assert words.endswith(f"for rewards by name: {name}; not used: {name}")
    assert described({"prompt": "q", "system": "s", "completion": "c"}).endswith("system message: system")
    assert "not used" not in described({"prompt": "q", "completion": "c", "id": 1, "source": "web"})


def test_a_role_that_no_one_knows_is_named() -> None:
    with pytest.raises(
        UserError, match=r"a.jsonl:1: messages: before the assistant's turn stand only messages by usr;"
    ):
        read({"messages": [{"role": "usr", "content": "2+2="}, FOUR]})
    with pytest.raises(
        UserError, match=r"messages: has the assistant's turn only; expected a user's message before it"
    ):
        read({"messages": [FOUR]})


@pytest.mark.parametrize(
    ("role", "becomes"),
    [("human", "user"), ("gpt", "assistant"), ("chatgpt", "assistant"), ("bard", "assistant"), ("bing", "assistant"),
     ("Human", "user"), ("model", "assistant"), ("system", "system"), ("observation", "tool"), ("tool", "tool"),
     ("function_call", "assistant")],
)  # fmt: skip
def test_the_roles_of_sharegpt(role: str, becomes: str) -> None:
    talk = [{"from": "human", "value": "2+2="}, {"from": role, "value": "x"}, {"from": "human", "value": "Why?"}]
    (example,) = read({"conversations": talk})
    assert example.prompt == (USER, {"role": becomes, "content": "x"}, WHY)
    with pytest.raises(UserError, match=r"a.jsonl:1: conversations, message 1 is by 'robot'; expected one of human"):
        read({"conversations": [talk[0], {"from": "robot", "value": "x"}]})


@pytest.mark.parametrize("name", ["messages", "conversations", "conversation", "dialogue"])
def test_a_conversation_is_learned_from_its_last_turn_or_from_all(name: str) -> None:
    row = {name: [SYSTEM, USER, FOUR, WHY, SO]}
    (last,) = read(row)
    assert (last.prompt, last.completion) == ((SYSTEM, USER, FOUR, WHY), "So.")
    (every,) = read(row, turns="all")
    assert (every.prompt, every.completion) == ((SYSTEM, USER), (FOUR, WHY, SO))
    (asked,) = read({name: [USER, FOUR, WHY]}, turns="all")
    assert (asked.prompt, asked.completion) == ((USER, FOUR, WHY), None)
    (greeted,) = read({name: [{"role": "assistant", "content": "Hello."}, USER, FOUR]}, turns="all")
    assert greeted.completion == "4"


@pytest.mark.parametrize(("name", "cell"), [("turns", 3), ("conversation", "abc123"), ("messages", None)])
def test_a_column_that_holds_no_messages_is_no_conversation(name: str, cell: Any) -> None:
    row = {"prompt": "2+2=", name: cell}
    assert read(row)[0].prompt == "2+2="
    assert described(row) == f"prompt: prompt; for rewards by name: {name}; not used: {name}"


@pytest.mark.parametrize("write", [json.dumps, str, lambda value: "\n " + json.dumps(value, indent=1)])
def test_messages_written_as_text(write: Any) -> None:
    quoted = [{"role": "user", "content": "It's 2+2="}]
    assert read({"prompt": write(quoted), "answer": "4"})[0].prompt == tuple(quoted)
    assert read({"messages": write([USER, FOUR])})[0].completion == "4"
    assert read({"prompt": write([{"from": "human", "value": "2+2="}])})[0].prompt == (USER,)


@pytest.mark.parametrize("text", ["[1, 2] + [3] = ?", '[{"a": 1}] has how many items?', "[{x}]", '{"role": "user"}'])
def test_text_that_is_no_message_stays_text(text: str) -> None:
    assert read({"prompt": text})[0].prompt == text


def test_text_that_looks_like_messages_and_is_none_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a.jsonl:1: prompt looks like messages written as text, but is not JSON"):
        read({"prompt": "[{'role': 'user' 'content': 'x'}]"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"type": "text", "text": None}], "content, part 0 has the text null; expected text"),
        ([{"type": "text"}], "content, part 0 has the text null"),
        ([], "content is empty; expected text"),
        ([{"type": "text", "text": ""}], "content is empty"),
        ("", "content is empty"),
        (None, "content is null"),
        ([None], "content, part 0 is null"),
        ([{"type": "image_url", "image_url": "x"}], "content, part 0 is of the type image_url"),
    ],
)
def test_parts_that_say_nothing(content: Any, said: str) -> None:
    rows = [{"prompt": [USER]}, {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": content}]}]
    with pytest.raises(UserError) as caught:
        read(*rows)
    assert f"a.jsonl:2: prompt, message 1, {said}" in str(caught.value)


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "2+"}, {"type": "input_text", "text": "2", "image": None}, "="]
    assert read({"prompt": [{"role": "user", "content": parts}]})[0].prompt == (USER,)


def test_a_message_that_says_more_than_text() -> None:
    with pytest.raises(UserError, match="message 1 has reasoning_content; expected content only"):
        read({"messages": [USER, {**FOUR, "reasoning_content": "2 and 2"}]})
    assert read({"messages": [USER, {**FOUR, "reasoning_content": None, "tool_calls": []}]})[0].completion == "4"
