"""A segmentation finds the steps of any text, and the token at which each of them ends, however the text was cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.tokens.segmentation import Delimiter, Lines, Segmentation, Sentences, step_ends

TEXTS = st.text(alphabet=st.sampled_from('ab1 .\n\r\t!?。！…)"\u2028\x0c你😀x#'), max_size=40) | st.text(max_size=20)
SEGMENTATIONS = st.sampled_from([Lines(), Sentences(), Delimiter("\n\n"), Delimiter("x"), Delimiter(". ")])


def steps_of(segmentation: Segmentation, text: str) -> list[str]:
    ends = (0, *segmentation.ends(text))
    return [text[start:end] for start, end in pairwise(ends)]


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """The text cut anywhere; tokens that show nothing (parts of characters, EOS) among the pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    bounds = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(bounds)] + [""]


@given(data=st.data(), text=TEXTS, segmentation=SEGMENTATIONS)
def test_every_end_holds_for_every_text_and_every_split(
    data: st.DataObject, text: str, segmentation: Segmentation
) -> None:
    ends = segmentation.ends(text)
    assert list(ends) == sorted(set(ends))
    assert all(0 < end <= len(text) and not text[end - 1].isspace() for end in ends)
    pieces = data.draw(pieces_of(text))
    tokens = step_ends(pieces, ends)
    assert list(tokens) == sorted(set(tokens))
    assert len(tokens) <= len(ends)
    assert all(0 <= token < len(pieces) and pieces[token] for token in tokens)
    shown = ["".join(pieces[: token + 1]) for token in tokens]
    for end in ends:
        holding = next(beginning for beginning in shown if len(beginning) >= end)  # the first that has it ...
        token = tokens[shown.index(holding)]
        assert len("".join(pieces[:token])) < end  # ... and the token before has not


@given(text=TEXTS)
@example(text="x x1")
@example(text="1xx x")
def test_steps_leave_no_visible_character_out(text: str) -> None:
    for segmentation in (Lines(), Sentences()):
        assert "".join("".join(steps_of(segmentation, text)).split()) == "".join(text.split())
    assert [step.strip() for step in steps_of(Lines(), text)] == [
        line.strip() for line in text.splitlines() if line.strip()
    ]
    # A step of delimited text is what stands between two of them; blank parts before it belong to it.
    steps = [step.split("x") for step in steps_of(Delimiter("x"), text)]
    assert [parts[-1].strip() for parts in steps] == [part.strip() for part in text.split("x") if part.strip()]
    assert not any(part.strip() for parts in steps for part in parts[:-1])


@pytest.mark.parametrize("segmentation", [Lines(), Delimiter("\n"), Sentences()])
@pytest.mark.parametrize("text", ["", " ", "\n\n \t\n"])
def test_a_blank_text_has_no_steps(segmentation: Segmentation, text: str) -> None:
    assert segmentation.ends(text) == ()
    assert step_ends([*text], ()) == ()


def test_the_documents_own_example() -> None:
    text = "2+2=4\n\n#### 4"
    assert Lines().ends(text) == (5, 13)
    assert step_ends(["2", "+2", "=", "4\n", "\n", "####", " 4", ""], (5, 13)) == (3, 6)


def test_two_steps_in_one_token_are_one() -> None:
    assert step_ends(["a", "b\nc\n", "d"], Lines().ends("ab\nc\nd")) == (1, 2)


def test_an_end_beyond_the_tokens_is_no_token() -> None:
    with pytest.raises(ValueError, match="ends at character 4, and the tokens hold 3"):
        step_ends(["abc", ""], (4,))


def test_delimiters() -> None:
    assert steps_of(Delimiter(" ки"), "one ки two ки") == ["one", " ки two"]
    assert Delimiter("\n\n").ends("a\nb\n\n\n\nc") == (3, 8)
    with pytest.raises(UserError, match="text is empty"):
        Delimiter("")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Half of 3.14 is 1.57. So it is!", ["Half of 3.14 is 1.57.", "So it is!"]),
        ("1. Add 2.\n2. Done", ["1. Add 2.", "2. Done"]),
        ("Dr. Who has 3 (i.e. three) cats.", ["Dr. Who has 3 (i.e. three) cats."]),
        ('He said "no." Then he left... and', ['He said "no."', "Then he left...", "and"]),
        ("二加二等于四。所以！答案", ["二加二等于四。", "所以！", "答案"]),
        ("no stop\r\nsecond line", ["no stop", "second line"]),
        ("The answer is 12. 13 is not.", ["The answer is 12.", "13 is not."]),
        ("?!", ["?!"]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [step.strip() for step in steps_of(Sentences(), text)] == sentences


@pytest.mark.parametrize(
    "text", ["." * 200_000, ".x" * 100_000, "1" * 200_000 + ".", '."' * 100_000 + "x", "。" * 200_000]
)
def test_no_text_takes_long(text: str) -> None:
    assert len(Sentences().ends(text)) >= 1
