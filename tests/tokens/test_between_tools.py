"""What stands between a turn that calls tools and the next one, as each model's template writes it."""

from __future__ import annotations

import pytest

from groupwise.types import Example

from .test_calls import CALL, FAMILY, OTHERS, TOOLS, renderer_of, said


@pytest.mark.parametrize("name", ["new", *FAMILY, *OTHERS])
def test_results_are_appended_as_in_a_demonstration(name: str) -> None:
    renderer = renderer_of(name)
    result, user = {"role": "tool", "content": "answer: twelve\n</tool_call>"}, {"role": "user", "content": "3*4?"}
    turns = (said(CALL), result, {"role": "assistant", "content": "It is 12."})
    example = Example("row", (user,), turns, columns={"tools": TOOLS})
    shown = renderer.demonstration(example)
    first = shown.mask.index(False)
    then = first + shown.mask[first:].index(True)
    reply, message = renderer.turn(shown.tokens[:first], True, example)
    assert reply.calls == (CALL,)
    between = renderer.between.ids(example, [user, message], [result], shown.tokens[first - 1])
    written = renderer.tokenizer.decode(list(between))
    assert written == renderer.tokenizer.decode(list(shown.tokens[first:then]))
    assert list(between) == list(shown.tokens[first:then])


def test_several_results_in_a_row() -> None:
    renderer = renderer_of("new")
    user = {"role": "user", "content": "3*4?"}
    example = Example("row", (user,), columns={"tools": TOOLS})
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2", "name": "calculate"}]
    end = renderer.tokenizer.eos_token_id
    ids = renderer.between.ids(example, [user, said(CALL, CALL)], results, end)
    assert renderer.tokenizer.decode(list(ids)) == "<|tool|>1<|tool|>2<|assistant|>"
