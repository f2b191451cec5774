"""Tokens and runs: nothing that disguises a text changes them."""

from __future__ import annotations

import numpy
import pytest

from groupwise.corpus.grams import HASHES, grams, joined, numbers_as_one, separated, shown, unlined
from groupwise.corpus.plain_text import plain


@pytest.mark.parametrize(
    "disguised",
    [
        "Ann HAS two  half\u00a0apples",
        "Ａｎｎ ｈａｓ ｔｗｏ ｈａｌｆ ａｐｐｌｅｓ",
        "A<b>nn</b> has<br>two <!-- 7 -->half <span class='w'>app</span>les",
        "&#65;nn has t&amp;#119;o half app&lt;i&gt;les",
        "An\u200bn has two ha\u00adlf apples",
        "Ann has two ha-\n lf apples",
        "Ann\\nhas two half apples",
        "Ann — “has” two *half* apples?!",
        "<span title='a>b'>Ann</span> has two <a href=\"x>y\">half</a> apples",
        "Ann%20has%20two%20half%20apples",
        "\\x41nn has two half apples",
        "=41=6E=6E has two half =61=70=70=\n=6C=65=73",
        "\\u0041\\u006en has two half apples",
        "An\u3164n ha\U000e0041s two\u2063 ha\U000e0100lf apples",
        "\u0410nn h\u0430s tw\u043e half \u0430pples",
        "A\u0301nn h\u00e4s two half apples",
        "\\text{Ann} has \\mathbf{two} half\\quad apples",
        "Ann has two half app\\\nles",
    ],
)
def test_no_disguise_changes_the_tokens(disguised: str) -> None:
    assert separated(plain(disguised)) == ["ann", "has", "two", "half", "apples"]


def test_a_character_of_a_script_without_spaces_is_one_token() -> None:
    assert separated(plain("小明有３本书,12元")) == ["小", "明", "有", "3", "本", "书", "12", "元"]
    assert separated("りんご3個") == ["り", "ん", "ご", "3", "個"]
    assert separated("사과 3개") == ["사과", "3", "개"]  # Korean has spaces
    assert separated("25.12cm") == separated("25. 12 cm") == ["25", "12", "cm"]
    assert joined("25.12cm") == joined("25. 12 cm") == ["2512", "cm"]


def test_two_views_of_punctuation() -> None:
    assert separated("janet's $1,000") == ["janet", "s", "1", "000"]
    assert joined("janet's $1,000") == ["janets", "1000"]
    assert joined("1 2本") == ["12", "本"]


def test_numbers_of_every_script_are_ours() -> None:
    assert separated(plain("١٢ and १२ and １２")) == ["12", "and", "12", "and", "12"]
    assert separated(plain("1½ of 10² m")) == separated(plain("1 1/2 of 10^2 m"))
    assert separated(plain(r"\frac{1}{2} \times 3")) == separated(plain("1/2 × 3"))
    assert plain("50%50 a=10=20 5%") == "50%50 a=10=20 5%"


def test_numbers_as_one() -> None:
    assert numbers_as_one("twenty-five or 25, 1,000") == ["0", "or", "0"]
    assert numbers_as_one("三千米 3000米") == ["0", "米", "0", "米"]
    assert numbers_as_one("3.5 kg for $1,200 or 3/4") == ["0", "kg", "for", "0", "or", "0"]


def test_runs_are_those_of_equal_tokens() -> None:
    first, second = (grams(HASHES.of(text.split()), 3) for text in ("a b c d e", "x b c d y"))
    assert first.shape == (3,)
    assert numpy.flatnonzero(numpy.isin(first, second)).tolist() == [1]
    assert grams(HASHES.of(["a", "b"]), 3).shape == (0,)
    assert HASHES["janet"] == 6275364864285793572


def test_shown_puts_spaces_between_words_only() -> None:
    assert shown(["小", "明", "3", "元", "ab", "cd"]) == "小明 3 元 ab cd"


def test_signs_that_count_lines_are_numbers_or_words() -> None:
    assert unlined("1. a b\n2. c d\n3. e f") == ". a b\n. c d\n. e f"
    for signs in ("\u2776\u2777\u2778", "\u1369\u136a\u136b", "\u24f5\u24f6\u24f7"):
        text = "\n".join(f"{sign} a" for sign in signs)
        assert unlined(plain(text)) == plain(text)
