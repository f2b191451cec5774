"""Whose tokens are whose, by the places where turns end."""

from __future__ import annotations

import pytest

from groupwise.output.conversation import Part, conversation, shortened

USER, MODEL = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}


def test_turns_have_their_tokens_and_others_have_none() -> None:
    mask = (True, True, False, False, False, True)
    opening, parts = conversation([USER, MODEL, USER, MODEL], mask, (1, 5))
    assert opening == [Part("user", "hi")]
    assert parts == [
        Part("assistant", "yes", begin=0, end=2),
        Part("user", "hi"),
        Part("assistant", "yes", begin=5, end=6),
    ]
    assert [part.is_sampled for part in parts] == [True, False, True]


def test_turns_that_nobody_spoke_between_stay_apart() -> None:
    _, parts = conversation([MODEL, MODEL], (True, True, True, True), (1, 3))
    assert [(part.begin, part.end) for part in parts] == [(0, 2), (2, 4)]


def test_turns_of_the_prompt_are_no_turns_of_the_model() -> None:
    opening, parts = conversation([USER, MODEL, USER, MODEL], (True,), (0,))
    assert [part.role for part in opening] == ["user", "assistant", "user"]
    assert parts == [Part("assistant", "yes", begin=0, end=1)]
    assert conversation([USER, MODEL], (), ()) == ([Part("user", "hi"), Part("assistant", "yes")], [])


@pytest.mark.parametrize("content", [None, "", [{"type": "text", "text": "x"}]])
def test_a_tools_result_names_it_and_may_say_anything(content: object) -> None:
    result = {"role": "tool", "name": "add", "content": content}
    [part] = conversation([result], (), ())[0]
    assert (part.role, part.tool) == ("tool", "add")
    assert isinstance(part.text, str)


def test_secrets_are_masked_and_long_texts_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "a-rather-long-secret")
    opening, _ = conversation([{"role": "user", "content": "a-rather-long-secret"}], (), ())
    assert opening[0].text == "***"
    assert shortened("a" * 10, 10) == "a" * 10
    assert shortened("a" * 6 + "b" * 6, 4) == "aa\n… 8 letters left out …\nbb"
