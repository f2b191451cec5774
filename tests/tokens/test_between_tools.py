"""What stands between a turn that calls tools and the next one, as each model's template writes it."""

from __future__ import annotations

import pytest

from groupwise.errors import UserError
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message

from .test_calls import CALL, FAMILY, OTHERS, TOOLS, renderer_of, said, tokenizer_of


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


WITH_IDS = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
    "[TOOL_RESULTS]{{ m.content }} of {{ m.tool_call_id }}[/TOOL_RESULTS]{% elif m.tool_calls %}[TOOL_CALLS]["
    '{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, '
    '"id": "{{ c.id }}"}{% if not loop.last %}, {% endif %}{% endfor %}]<|im_end|>{% else %}{{ m.content }}<|im_end|>'
    "{% endif %}{% endfor %}{% if tools %}{% endif %}"
)
"""As Mistral's: calls and results have ids."""


def conversation(renderer: Renderer, turns: tuple[Message, ...]) -> list[str]:
    """What an episode appends between the turns of a demonstration, each of which the model is taken to say."""
    user: Message = {"role": "user", "content": "3*4?"}
    example = Example("row", (user,), turns, columns={"tools": TOOLS})
    shown = renderer.demonstration(example)
    history: list[Message] = [user]
    found, place, rest = [], 0, list(turns)
    while rest:
        end = place + (*shown.mask[place:], False).index(False)
        history.append(renderer.turn(shown.tokens[place:end], True, example)[1])
        rest.pop(0)
        heard = [rest.pop(0) for _ in range(next((n for n, m in enumerate(rest) if m["role"] == "assistant"), 0))]
        if not heard:
            return found
        then = end + shown.mask[end:].index(True)
        ids = renderer.between.ids(example, history, heard, shown.tokens[end - 1])
        assert list(ids) == list(shown.tokens[end:then])
        found.append(renderer.tokenizer.decode(list(ids)))
        history += heard
        place = then
    return found


RESULTS = tuple({"role": "tool", "content": content} for content in ("one", "two", "three"))


@pytest.mark.parametrize(
    "name", ["new", "with ids", "mistralai-Mistral-Nemo-Instruct-2407", "moonshotai-Kimi-K2", "GLM"]
)
def test_later_results_are_appended_as_in_a_demonstration(name: str) -> None:
    """Several calls in a turn, several turns with calls: whoever numbers calls numbers them over the conversation."""
    renderer = Renderer(tokenizer_of(WITH_IDS)) if name == "with ids" else renderer_of(name)
    turns = (said(CALL, CALL), *RESULTS[:2], said(CALL), RESULTS[2], {"role": "assistant", "content": "So 12."})
    first, second = conversation(renderer, turns)
    assert first.find("one") < first.find("two")
    if name == "with ids":
        assert second == "[TOOL_RESULTS]three of call00002[/TOOL_RESULTS]"


def test_a_result_has_the_id_that_the_model_gave_its_call() -> None:
    renderer = Renderer(tokenizer_of(WITH_IDS))
    example = Example("row", ({"role": "user", "content": "q"},), columns={"tools": TOOLS})
    text = '[TOOL_CALLS][{"name": "calculate", "arguments": {}, "id": "%s"}]<|im_end|>'
    for written, answered in (("Vvv0Dy9mT", "Vvv0Dy9mT"), ("too long an id", "call00000")):
        tokens = renderer.tokenizer.encode(text % written, add_special_tokens=False)
        reply, message = renderer.turn(tokens, True, example)
        assert reply.calls[0].id == written
        ids = renderer.between.ids(example, [*example.prompt, message], [RESULTS[0]], tokens[-1])
        assert renderer.tokenizer.decode(list(ids)) == f"[TOOL_RESULTS]one of {answered}[/TOOL_RESULTS]"


STRICT = (
    "{% for m in messages %}{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
    "{{ raise_exception('a result without a call') }}{% endif %}<|{{ m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>"
    "{% endfor %}{% if tools %}{% endif %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""As gpt-oss's: a result stands behind a call, or nowhere."""


def test_a_call_that_cannot_be_read_is_answered_whatever_the_template_takes() -> None:
    renderer = Renderer(tokenizer_of(STRICT))
    user = {"role": "user", "content": "q"}
    example = Example("row", (user,), columns={"tools": TOOLS})
    broken, error = {"role": "assistant", "content": "<tool_call>x"}, {"role": "tool", "content": "error: no JSON"}
    end = renderer.stop_tokens[-1]
    ids = renderer.between.ids(example, [user, broken], [error], end)
    assert renderer.tokenizer.decode(list(ids)) == "<|tool|>error: no JSON<|im_end|><|assistant|>"
    history = [user, broken, error, said(CALL)]
    ids = renderer.between.ids(example, history, [RESULTS[0]], end)
    assert renderer.tokenizer.decode(list(ids)) == "<|tool|>one<|im_end|><|assistant|>"
    whole = renderer.tokenizer.decode(list(renderer.between.anew(example, [*history, RESULTS[0]])))
    assert "x" in whole.partition("<|tool|>")[0], "what was said stays to be read"


def test_several_answers_are_refused_where_only_the_last_one_ends_as_a_completion() -> None:
    """As gpt-oss's template: what stands between them would be learned as the first one's end."""
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' and loop.last %}<|return|>"
        "{% else %}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    renderer = Renderer(tokenizer_of(template, end="<|return|>"))
    answer = {"role": "assistant", "content": "four"}
    example = Example("row", ({"role": "user", "content": "q"},), (answer, {"role": "user", "content": "why?"}, answer))
    with pytest.raises(UserError, match=r"^row: the chat template of .* ends a turn that others follow with no token"):
        renderer.demonstration(example)
    alone = renderer.demonstration(Example("row", (*example.prompt, *example.completion[:2]), example.completion[2:]))
    assert renderer.tokenizer.decode(list(alone.tokens)) == "four<|return|>"
    assert all(alone.mask)


def test_a_template_that_drops_a_second_call_is_refused() -> None:
    """Of the same tool as well, whose name stands there once."""
    renderer = Renderer(tokenizer_of(OTHERS["Llama 3"]))
    turns = (said(CALL, CALL), *RESULTS[:2], {"role": "assistant", "content": "So 12."})
    example = Example("row", ({"role": "user", "content": "3*4?"},), turns, columns={"tools": TOOLS})
    with pytest.raises(UserError, match=r"drops or changes a part of the answer: of 'calculate, calculate' it writes"):
        renderer.demonstration(example)
