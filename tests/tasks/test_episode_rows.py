"""Rows of a task with tools: every row that anybody asks for shows its model the same tools."""

from __future__ import annotations

from groupwise.learners.new_model import byte_tokenizer
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example


def double(number: int) -> int:
    """Doubles a number.

    Args:
        number: Any.
    """
    return 2 * number


def talk(row, random):
    yield "hello"
    return 1.0


ROWS = [Example(f"row:{place}", f"{place} twice?", f"{2 * place}") for place in range(3)]


def test_a_demonstration_and_a_prompt_show_the_same_tools():
    task = Task("twice", ROWS, held_out=ROWS[:1], tools=(double,))
    renderer = Renderer(byte_tokenizer(), converses="refuse")
    shown = renderer.tokenizer.decode(renderer.demonstration(task.train[2]).prompt.tokens)
    assert shown == "<|system|>double(number: integer)\n<|user|>2 twice?<|assistant|>"
    assert renderer.prompt(task.train[2]).tokens == renderer.demonstration(task.train[2]).prompt.tokens
    assert [row.columns["tools"][0]["function"]["name"] for row in (*task.train, *task.held_out)] == ["double"] * 4


def test_rows_keep_their_order_number_and_slices():
    task = Task("twice", ROWS, tools=(double,))
    assert len(task.train) == 3
    assert [row.id for row in task.train] == [row.id for row in ROWS]
    assert [row.id for row in task.train[1:]] == ["row:1", "row:2"]
    assert [row.id for row in task.with_rows([True, False, True]).train] == ["row:0", "row:2"]


def test_an_environment_without_tools_leaves_rows_as_they_are():
    task = Task("talk", ROWS, environment=talk)
    assert list(task.train) == ROWS
    assert "tools" not in task.train[0].columns


def test_tools_beside_an_environment_are_shown_too():
    task = Task("both", ROWS, environment=talk, tools=(double,))
    assert task.train[0].columns["tools"][0]["function"]["name"] == "double"
