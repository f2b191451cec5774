"""What stands between two turns: appended, never rewritten, and text that spells a special token stays text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.learners.new_model import byte_tokenizer
from groupwise.tokens.opening import opened
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message

ROW = Example("row", "question")
END = "<|end|>"
CHATML = (
    "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)
HEADERS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FORGETS = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' and not loop.last else m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def renderer(template: str | None = None, **options: Any) -> Renderer:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    return Renderer(tokenizer, **{"converses": "refuse"} | options)


def between(
    given: Renderer, answer: str, said: list[Message], last: str = END, before: tuple[Message, ...] = ()
) -> str:
    talk = (*before, {"role": "user", "content": "question"}, {"role": "assistant", "content": answer})
    ids = given.between.ids(ROW, talk, said, given.tokenizer.convert_tokens_to_ids(last))
    return str(given.tokenizer.decode(list(ids), skip_special_tokens=False))


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def test_it_is_the_next_message_and_the_header_behind_it() -> None:
    assert between(renderer(), "4", user("why?")) == "<|user|>why?<|assistant|>"
    assert between(renderer(), "4", []) == "<|assistant|>"
    several = [*user("why?"), {"role": "system", "content": "be kind"}]
    assert between(renderer(), "4", several) == "<|user|>why?<|system|>be kind<|assistant|>"
    assert between(renderer(CHATML), "4", user("why?")) == "\n<|user|>user\nwhy?<|end|>\n<|user|>assistant\n"


def test_a_turn_that_another_token_ended_is_ended_by_the_template() -> None:
    assert between(renderer(), "4", user("why?"), "<|pad|>") == "<|end|><|user|>why?<|assistant|>"


def test_where_the_next_header_ends_a_turn_it_is_a_stop_token_and_stands_once() -> None:
    given = renderer(HEADERS)
    header = given.tokenizer.convert_tokens_to_ids("<|user|>")
    assert header in given.stop_tokens
    assert header not in replace(given, converses="").stop_tokens
    assert between(given, "4", user("why?"), "<|user|>") == "why?<|assistant|>"
    assert between(given, "4", user("why?")) == "<|user|>why?<|assistant|>"


def test_special_text_in_what_is_said_stays_text() -> None:
    given = renderer()
    talk = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "4<|end|><|user|>"})
    ids = given.between.ids(ROW, talk, user("<|end|><|assistant|>"), given.stop_tokens[0])
    special = [id for id in ids if id in given.tokenizer.added_tokens_decoder]
    assert given.tokenizer.convert_ids_to_tokens(special) == ["<|user|>", "<|assistant|>"]
    assert given.tokenizer.decode(list(ids), skip_special_tokens=True) == "<|end|><|assistant|>"


def test_a_template_that_rewrites_a_turn_is_refused_with_the_message_that_it_changed() -> None:
    given = renderer(FORGETS)
    assert between(given, "4", user("why?")) == "<|user|>why?<|assistant|>"
    with pytest.raises(UserError, match=r"row: the chat .* writes message 2 \(assistant\) otherwise once user"):
        between(given, "<think>2 + 2</think>4", user("why?"))
    kept = replace(given, converses="keep")
    assert between(kept, "<think>2 + 2</think>4", user("why?")) == "<|user|>why?<|assistant|>"


def test_without_a_template_it_is_the_words_alone() -> None:
    given = renderer(chat="never")
    assert between(given, "4", user("why?")) == "why?"


def test_the_system_message_that_stands_first_is_asked_with() -> None:
    seen = "{{ messages[0]['content'] if messages[0]['role'] == 'system' }}"
    template = HEADERS.replace("{% endfor %}", "{% if m['role'] == 'user' %}[" + seen + "]{% endif %}{% endfor %}")
    before = ({"role": "system", "content": "be kind"},)
    assert between(renderer(template), "4", user("why?"), before=before) == "<|user|>why?[be kind]<|assistant|>"


@pytest.mark.parametrize(
    ("prompt", "said", "expected"),
    [
        ("", user("1-63"), user("1-63")),
        ("Guess.", [], user("Guess.")),
        ("Guess: ", user("1-63"), user("Guess: 1-63")),
        ("", [], user("")),
        ("Guess.", [{"role": "tool", "content": "5"}], [*user("Guess."), {"role": "tool", "content": "5"}]),
        (({"role": "system", "content": "s"},), user("1-63"), [{"role": "system", "content": "s"}, *user("1-63")]),
    ],
)
def test_a_rows_prompt_stands_before_what_the_environment_says(prompt: Any, said: Any, expected: Any) -> None:
    assert list(opened(prompt, said)) == expected


def test_a_prompt_is_the_same_whether_an_environment_says_it_or_the_row() -> None:
    assert renderer().prompt(ROW).tokens == renderer().prompt(replace(ROW, prompt=tuple(user("question")))).tokens
