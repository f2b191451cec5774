"""A sign alone between tags is a part of the text."""

from __future__ import annotations

import pytest

from groupwise.corpus.extraction import Extract, text_of

WORDS = "Here are enough words before it to make it a paragraph that is worth keeping, by any measure of length. "


def line_of(markup: str, main: bool) -> str:
    """Returns the text of a paragraph behind an ordinary one."""
    page = f"<html><body><main><p>{WORDS}</p><p>{WORDS}{markup} end</p></main></body></html>"
    return text_of(page.encode(), "utf-8", Extract(main=main)).text.splitlines()[-1].removeprefix(WORDS)


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        ("<i>x</i> ∈ <i>A</i>", "x ∈ A end"),
        ("<i>x</i>&isin;<i>A</i>", "x∈A end"),
        ("<i>x</i>&#8712;<i>A</i>", "x∈A end"),
        ("<i>x</i>&#x2208;<i>A</i>", "x∈A end"),
        ("<i>f</i>: <i>X</i>→<i>Y</i>", "f: X→Y end"),
        ("<i>∀</i><i>x</i>", "∀x end"),
        ("5<span>€</span>", "5€ end"),
        ("<b>H</b><b>₂</b><b>O</b>", "H₂O end"),
        ("<i>one</i>—<i>two</i>", "one—two end"),
        ("<span>これ</span>は<span>本</span>", "これは本 end"),
        ("<i>x</i>\n<i>π</i>", "x π end"),
        ("<i>x</i>&lt;<i>y</i>", "x<y end"),
    ],
)
@pytest.mark.parametrize("main", [True, False])
def test_it_is_kept(markup: str, kept: str, main: bool) -> None:
    assert line_of(markup, main) == kept


@pytest.mark.parametrize("icon", ["\ue001", "•", "★", "▶", "&#9654;"])
def test_an_icon_is_none(icon: str) -> None:
    assert line_of(f"<i>{icon}</i>x", main=True) == "x end"


@pytest.mark.parametrize("alone", ["∞", "<b>漢</b>"])
def test_in_a_table(alone: str) -> None:
    page = f"<html><body><main><p>{WORDS}</p><table><tr><td>{alone}<td>1</table></main></body></html>"
    assert text_of(page.encode(), "utf-8", Extract()).text.split()[-2:] == [alone.strip("</b>"), "1"]


@pytest.mark.parametrize(
    "ruby",
    [
        "<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>を",
        "<ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>を",
        "<ruby><rb>漢字<rt>かんじ</ruby>を",
    ],
)
def test_readings_above_words_are_left_out(ruby: str) -> None:
    assert line_of(ruby, main=True) == "漢字を end"
