"""Answers of several turns, answers that were begun, and answers that a template adds to, drops or rewrites."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.errors import AnswerRewritten, UserError
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message, Text

from .test_renderer import TEMPLATE, make_tokenizer

USER: Message = {"role": "user", "content": "2+2="}
WHY: Message = {"role": "user", "content": "Why?"}
PLAIN_ENDS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
LAST_THINKS = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m['content'] }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OPENS_THOUGHT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'].split('</think>')[-1] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)


def by(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def spelled(renderer: Renderer, tokens: Any) -> str:
    return renderer.tokenizer.decode(list(tokens), skip_special_tokens=False)


def shown(renderer: Renderer, prompt: Text, completion: Text) -> tuple[str, str, str]:
    """The prompt, the learned tokens and all that follows the prompt, as text."""
    rollout = renderer.demonstration(Example("row", prompt, completion))
    assert rollout.prompt == renderer.prompt(rollout.prompt.example)
    assert len(rollout.mask) == len(rollout.tokens) == len(rollout.behavior_logprobs)
    learned = [token for token, own in zip(rollout.tokens, rollout.mask, strict=True) if own]
    assert rollout.text == renderer.decode(learned)
    return spelled(renderer, rollout.prompt.tokens), spelled(renderer, learned), spelled(renderer, rollout.tokens)


def test_every_turn_of_the_assistant_s_is_learned_and_no_other() -> None:
    turns = (by("assistant", "4"), WHY, by("assistant", "2 twos"))
    prompt, learned, rest = shown(Renderer(make_tokenizer()), (USER,), turns)
    assert prompt == "<|user|>2+2=<|end|>\n<|assistant|>"
    assert learned == "4<|end|>2 twos<|end|>"
    assert rest == "4<|end|>\n<|user|>Why?<|end|>\n<|assistant|>2 twos<|end|>"


def test_two_turns_of_the_assistant_s_in_a_row() -> None:
    turns = (by("assistant", "4"), by("assistant", "5"))
    assert shown(Renderer(make_tokenizer()), "2+2=", turns)[1] == "4<|end|>5<|end|>"


def test_a_template_that_treats_the_last_turn_otherwise() -> None:
    turns = (by("assistant", "4"), WHY, by("assistant", "twos"))
    _, learned, rest = shown(Renderer(make_tokenizer(LAST_THINKS)), (USER,), turns)
    assert learned == "4<|end|><think></think>twos<|end|>"
    assert rest.startswith("4<|end|>\n<|user|>Why?")


def test_special_text_in_a_turn_ends_nothing() -> None:
    turns = (by("assistant", "a<|end|>b"), WHY, by("assistant", "c<|eos|>"))
    renderer = Renderer(make_tokenizer())
    rollout = renderer.demonstration(Example("row", (USER,), turns))
    end = renderer.tokenizer.convert_tokens_to_ids("<|end|>")
    assert rollout.tokens.count(end) == 3
    assert shown(renderer, (USER,), turns)[1] == "a<|end|>b<|end|>c<|eos|><|end|>"


@pytest.mark.parametrize("completion", [(), (WHY,), (by("assistant", "4"), WHY), (WHY, by("assistant", "4"))])
def test_a_completion_that_others_begin_or_end(completion: Text) -> None:
    with pytest.raises(UserError, match="row: the completion does not begin and end with the assistant's turn"):
        Renderer(make_tokenizer()).demonstration(Example("row", (USER,), completion))


def test_several_turns_need_a_template_that_ends_them() -> None:
    turns = (by("assistant", "4"), WHY, by("assistant", "5"))
    with pytest.raises(UserError, match="row: the chat template of the model ends no turn with a special token"):
        Renderer(make_tokenizer(PLAIN_ENDS)).demonstration(Example("row", (USER,), turns))
    with pytest.raises(UserError, match="row: several turns need a conversation"):
        Renderer(make_tokenizer(None)).demonstration(Example("row", "2+2=", turns))


@pytest.mark.parametrize("begun", ["<<", "<<2+", "Let us <|end|>", " "])
def test_what_the_assistant_began_is_continued(begun: str) -> None:
    renderer = Renderer(make_tokenizer())
    prompt = renderer.prompt(Example("row", (USER, by("assistant", begun))))
    assert spelled(renderer, prompt.tokens) == f"<|user|>2+2=<|end|>\n<|assistant|>{begun}"
    assert renderer.tokenizer.convert_tokens_to_ids("<|end|>") not in prompt.tokens[6:]


def test_a_demonstration_goes_on_where_the_prompt_breaks_off() -> None:
    prompt, learned, rest = shown(Renderer(make_tokenizer()), (USER, by("assistant", "<<2+")), "2=4>>")
    assert prompt.endswith("<|assistant|><<2+")
    assert learned == rest == "2=4>><|end|>"


def test_begun_and_rest_make_no_special_token_together() -> None:
    renderer = Renderer(make_tokenizer())
    rollout = renderer.demonstration(Example("row", (USER, by("assistant", "a<|e")), "nd|>b"))
    end = renderer.tokenizer.convert_tokens_to_ids("<|end|>")
    assert rollout.tokens.count(end) == 1
    assert spelled(renderer, rollout.tokens) == "nd|>b<|end|>"


def test_nothing_begun_is_an_ordinary_question() -> None:
    renderer = Renderer(make_tokenizer())
    begun = renderer.prompt(Example("row", (USER, by("assistant", "")))).tokens
    assert begun == renderer.prompt(Example("row", (USER,))).tokens


def test_a_system_message_comes_before_what_was_begun() -> None:
    renderer = Renderer(make_tokenizer(), system="Add.")
    text = spelled(renderer, renderer.prompt(Example("row", (USER, by("assistant", "<<")))).tokens)
    assert text == "<|system|>Add.<|end|>\n<|user|>2+2=<|end|>\n<|assistant|><<"


@pytest.mark.parametrize("before", [(), (by("system", "Add."),)])
def test_an_assistant_s_message_alone_asks_nothing(before: tuple[Message, ...]) -> None:
    with pytest.raises(UserError, match="ends with assistant; expected a user's message last"):
        Renderer(make_tokenizer()).prompt(Example("row", (*before, by("assistant", "<<"))))


def test_a_template_that_opens_a_thought_takes_answers_appended() -> None:
    """As R1-Distill's does: the prompt ends inside a thought, and an answer that stands there has lost it."""
    answer = "2 and 2</think>4"
    with pytest.raises(UserError, match=r'row: .* rewrites the prompt .* demonstrations="appended"'):
        Renderer(make_tokenizer(OPENS_THOUGHT)).demonstration(Example("row", (USER,), answer))
    renderer = Renderer(make_tokenizer(OPENS_THOUGHT), demonstrations="appended")
    prompt, learned, rest = shown(renderer, (USER,), answer)
    assert prompt.endswith("<|assistant|><think>\n")
    assert learned == rest == f"{answer}<|end|>"
    with pytest.raises(UserError, match="row: an answer of several turns cannot be appended"):
        renderer.demonstration(Example("row", (USER,), (by("assistant", "4"), WHY, by("assistant", "5"))))


@pytest.mark.parametrize(
    ("change", "answer", "kept"),
    [
        ("", "4", True),
        ("|trim", " 4\n", True),
        (".replace('>', '>\\n')", "<b>4", True),
        (".split('</think>')[-1]", "<think>2</think>4", False),
        ("[:3]", "1234", False),
        ("|upper", "four", False),
        (".replace('4', '')", "4", False),
    ],
)
def test_blanks_may_change_and_nothing_else(change: str, answer: str, kept: bool) -> None:
    assistant = (
        "{% if m['role'] == 'assistant' %}{{ m['content']" + change + " }}{% else %}{{ m['content'] }}{% endif %}"
    )
    renderer = Renderer(make_tokenizer(TEMPLATE.replace("{{ m['content'] }}", assistant)))
    example = Example("row", (USER,), answer)
    if kept:
        assert "".join(answer.split()) in "".join(renderer.demonstration(example).text.split())
    else:
        with pytest.raises(AnswerRewritten, match="row: the chat template of the model drops or changes a part"):
            renderer.demonstration(example)


def test_what_is_added_is_known() -> None:
    renderer = Renderer(make_tokenizer(LAST_THINKS))
    assert renderer.transcript(Example("row", (USER,), "4")).added == "<think></think>"
    assert Renderer(make_tokenizer()).transcript(Example("row", (USER,), "4")).added == ""
