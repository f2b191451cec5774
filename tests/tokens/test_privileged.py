"""What a teacher reads of a row in the place of its prompt."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.tokens.privileged import names_in, privileged
from groupwise.types import Example

ROW = Example("rows:1", "2+2={", "four", answer="4}", columns={"hint": "{prompt}", "level": 3, "empty": None})


def test_names_stand_for_what_the_row_has() -> None:
    """Braces of the row are text; those that are written twice, one."""
    shown = privileged(ROW, "{{{prompt} {answer} {completion} {hint} {level}}}")
    assert shown.prompt == "{2+2={ 4} four {prompt} 3}"
    assert (shown.id, shown.answer, shown.columns) == (ROW.id, ROW.answer, ROW.columns)


def test_of_a_conversation_the_last_message_of_the_users_is_replaced() -> None:
    prompt = (
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    )
    said = (
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "y"},
    )
    asked = (*prompt, {"role": "user", "content": "c"})
    shown = privileged(Example("r", asked, said, answer="4"), "{prompt}: {answer} {completion}")
    assert shown.prompt == (*prompt, {"role": "user", "content": "c: 4 x\ny"})
    begun = privileged(Example("r", prompt, answer="4"), "{prompt}{answer}")
    assert begun.prompt == (prompt[0], {"role": "user", "content": "a4"}, prompt[2])


@pytest.mark.parametrize(
    ("row", "words", "message"),
    [
        (Example("rows:7", "q"), "{prompt}{answer}", r"rows:7: reference.sees names \{answer\}, and the row has none"),
        (ROW, "{prompt}{other}", r"names \{other\}, .* none; it has answer, completion, hint, level, prompt"),
        (ROW, "{prompt}{empty}", r"names \{empty\}, and the row has none"),
        (ROW, "{answer}", r"has no \{prompt\}"),
        (ROW, "", r"has no \{prompt\}"),
        (ROW, "{prompt}{", "braces? .*brace itself is written twice|brace itself is written twice"),
        (ROW, "{prompt}}", "brace itself is written twice"),
        (ROW, "{prompt}{}", "braces hold names"),
        (ROW, "{prompt}{0}", "braces hold names"),
        (ROW, "{prompt}{answer.__class__}", "braces hold names"),
        (ROW, "{prompt}{answer[0]}", "braces hold names"),
        (ROW, "{prompt}{answer!r}", "braces hold names"),
        (ROW, "{prompt}{level:>9999999999}", "braces hold names"),
        (Example("r", ({"role": "system", "content": "s"},), answer="4"), "{prompt}{answer}", "the row has none"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(row: Example, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        privileged(row, words)


@pytest.mark.parametrize("words", ["{prompt}", "{{}} {prompt} {hint}"])
def test_words_may_be_asked_before_there_is_a_row(words: str) -> Any:
    assert "prompt" in names_in(words)
