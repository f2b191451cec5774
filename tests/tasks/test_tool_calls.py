"""Rows in which tools are called: every turn of the assistant's is learned, results are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.learners.new_model import byte_tokenizer
from groupwise.tasks.conventions import Reading, examples, recognise
from groupwise.tasks.files import read_rows
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
ADD = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
USER = {"role": "user", "content": "2+2="}
CALLS = {"role": "assistant", "content": "", "tool_calls": [ADD]}
RESULT = {"role": "tool", "content": "4"}
SAYS = {"role": "assistant", "content": "It is 4."}


def read(row: dict[str, Any], turns: Any = None) -> Example:
    rows = [("a.jsonl:1", row)]
    return examples(rows, recognise(rows, reading=Reading(turns=turns)))[0]


def learned(example: Example) -> tuple[str, str]:
    """What is learned and what is not, as the template writes it."""
    tokenizer = byte_tokenizer()
    shown = Renderer(tokenizer).demonstration(example)
    parts = [
        [token for token, own in zip(shown.tokens, shown.mask, strict=True) if own is which] for which in (True, False)
    ]
    return tuple(tokenizer.decode(part) for part in parts)  # type: ignore[return-value]


WRITTEN = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 2}}</tool_call><|end|>'


def test_every_turn_is_learned_and_no_result() -> None:
    row = read({"messages": [USER, CALLS, RESULT, SAYS], "tools": json.dumps(TOOLS)})
    assert row.prompt == (USER,)
    assert row.columns["tools"] == TOOLS
    assert learned(row) == (WRITTEN + "It is 4.<|end|>", "<|tool|>4<|assistant|>")


def test_the_last_turn_alone() -> None:
    row = read({"messages": [USER, CALLS, RESULT, SAYS]}, "last")
    assert row.prompt == (USER, CALLS, RESULT)
    assert row.completion == "It is 4."
    assert learned(row) == ("It is 4.<|end|>", "")


def test_a_turn_that_calls_is_the_last_one() -> None:
    row = read({"messages": [USER, CALLS]})
    assert row.completion == (CALLS,)
    assert learned(row) == (WRITTEN, "")


def test_weights_of_messages_go_first() -> None:
    row = read({"messages": [USER, {**CALLS, "weight": 0}, RESULT, SAYS]})
    assert row.prompt == (USER, CALLS, RESULT)
    row = read({"messages": [USER, CALLS, RESULT, {**SAYS, "weight": 0}, USER, SAYS]})
    assert row.completion == (CALLS, RESULT, SAYS, USER, SAYS)
    assert row.context_turns == (2,)


def test_a_completion_of_its_own_column() -> None:
    for prompt in ("2+2=", [USER]):
        row = read({"prompt": prompt, "completion": [CALLS, RESULT, SAYS]})
        assert (row.prompt, row.completion) == ((USER,), (CALLS, RESULT, SAYS))
        row = read({"prompt": prompt, "completion": [CALLS]})
        assert learned(row) == (WRITTEN, "")


def test_preference_rows() -> None:
    row = read({"prompt": [USER], "chosen": [CALLS, RESULT, SAYS], "rejected": [{"role": "assistant", "content": "5"}]})
    assert row.columns["chosen"] == (CALLS, RESULT, SAYS)
    assert row.columns["rejected"] == "5"
    row = read({"chosen": [USER, CALLS, RESULT, SAYS], "rejected": [USER, CALLS, RESULT, {**SAYS, "content": "5"}]})
    assert row.prompt == (USER, CALLS, RESULT)
    assert (row.columns["chosen"], row.columns["rejected"]) == ("It is 4.", "5")
    row = read({"chosen": [USER, CALLS], "rejected": [USER, SAYS]})
    assert (row.columns["chosen"], row.columns["rejected"]) == ((CALLS,), "It is 4.")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [ADD]},
        {"role": "assistant", "tool_calls": [ADD]},
        {"role": "assistant", "content": "", "tool_calls": json.dumps([ADD])},
        {"role": "assistant", "content": "", "tool_calls": [ADD["function"]]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "add", "arguments": '{"a":2,"b":2}'}}],
        },
        {"role": "assistant", "content": "", "function_call": {"name": "add", "arguments": '{"a": 2, "b": 2}'}},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 2, "c": None}}]},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2, "b": 2}}'},
        {"from": "tool_call", "value": '[{"name": "add", "arguments": {"a": 2, "b": 2}}]'},
    ],
)
def test_calls_in_any_shape(message: dict[str, Any]) -> None:
    user = {"from": "human", "value": "2+2="} if "from" in message else USER
    assert read({"conversations": [user, message]}).completion == (CALLS,)


def test_ids_are_kept_and_a_result_names_its_call() -> None:
    call, result = {**ADD, "id": "call_x"}, {**RESULT, "tool_call_id": "call_x", "name": "add"}
    row = read({"messages": [USER, {**CALLS, "tool_calls": [call]}, result, SAYS]})
    assert row.completion == ({**CALLS, "tool_calls": [call]}, result, SAYS)


def test_a_text_from_function_call_that_is_no_call_stays_text() -> None:
    row = read({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "add(2, 2)"}]})
    assert row.completion == "add(2, 2)"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({**CALLS, "tool_calls": [{}]}, r"message 1: tool_calls\[0\] is empty dict; expected"),
        ({**CALLS, "tool_calls": "add"}, "message 1: tool_calls is str 'add'; expected a list of calls"),
        (
            {**CALLS, "tool_calls": [{"name": "add", "arguments": "a=2"}]},
            r"message 1: .* \(add\): arguments is str 'a=2', which is no",
        ),
        (
            {**CALLS, "tool_calls": [{"name": "add", "arguments": [2]}]},
            r"message 1: .* \(add\): arguments is list; expected an object",
        ),
        ({**CALLS, "role": "user"}, "message 1 is by user and calls tools; only the assistant does"),
    ],
)
def test_what_is_no_call(message: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"a.jsonl:1: messages, {said}"):
        read({"messages": [USER, message]})


def test_rows_of_a_table(tmp_path: Any) -> None:
    """Arrow gives every call the arguments of all calls."""
    import pyarrow
    from pyarrow import parquet

    other = {"type": "function", "function": {"name": "neg", "arguments": {"c": 1}}}
    turns = [
        {"messages": [USER, {**CALLS, "tool_calls": [ADD]}]},
        {"messages": [USER, {**CALLS, "tool_calls": [other]}]},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(turns), tmp_path / "a.parquet")
    rows = read_rows(str(tmp_path / "a.parquet"))
    found = examples(rows, recognise(rows))
    assert [row.completion[0]["tool_calls"] for row in found] == [[ADD], [other]]  # type: ignore[index]


def test_settings_of_tools_stay_in_the_row() -> None:
    extra = {"tools_kwargs": {"add": {"create_kwargs": {"start": 1}}}}
    row = read({"prompt": [USER], "reward_model": {"ground_truth": "4"}, "data_source": "x", "extra_info": extra})
    assert row.columns["extra_info"] == extra
