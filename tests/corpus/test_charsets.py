"""A page is read by the encoding that it has, whatever is said of it."""

from __future__ import annotations

import pytest

from groupwise.corpus.charsets import decoded

CHINESE = "数学是研究数量、结构以及空间等概念的一门学科。小明有三个苹果，小红有五个苹果，一共有多少个苹果？"
JAPANESE = "数学は量と構造と空間について研究する学問です。りんごが三つあります。"
KOREAN = "수학은 수와 양과 공간을 연구하는 학문이다. 사과가 세 개 있다."
RUSSIAN = "Математика изучает числа, величины и пространство. У Маши три яблока."
FRENCH = "L'été dernier, l'élève a étudié les mathématiques à l'école. Où était-il né ? "


def page(text: str, head: str = "") -> str:
    return f"<html><head>{head}</head><body><p>{text * 20}</p></body></html>"


@pytest.mark.parametrize(
    ("text", "encoding", "header"),
    [
        (CHINESE, "gb18030", "gb2312"),
        (CHINESE, "gbk", ""),
        (CHINESE, "gbk", "iso-8859-1"),
        (CHINESE, "gbk", "utf-8"),
        (CHINESE, "utf-8", "latin1"),
        (CHINESE, "utf-8-sig", "gbk"),
        (CHINESE, "utf-16", "utf-8"),
        (CHINESE, "utf-16-le", "utf-16le"),
        (CHINESE, "utf-32", ""),
        (CHINESE, "utf-8", "klingon"),
        (JAPANESE, "shift_jis", "Shift_JIS"),
        (JAPANESE, "shift_jis", "utf-8"),
        (JAPANESE, "euc-jp", ""),
        (JAPANESE, "iso-2022-jp", "iso-2022-jp"),
        (KOREAN, "euc-kr", "euc-kr"),
        (KOREAN, "euc-kr", ""),
        (KOREAN, "cp949", "latin-1"),
        (RUSSIAN, "cp1251", ""),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (RUSSIAN, "cp1251", "latin-1"),
        (FRENCH, "cp1252", "iso-8859-1"),
        (FRENCH, "latin-1", ""),
        (FRENCH, "cp1252", "utf-8"),
        ("no letter beyond ASCII", "ascii", "utf-8"),
    ],
)
def test_whatever_the_header_says(text: str, encoding: str, header: str) -> None:
    assert decoded(page(text).encode(encoding), header) == page(text)


def test_markup_that_says_it_late_or_against_the_header() -> None:
    late = page(JAPANESE, f"<!--{'x' * 900}--><meta charset=shift_jis>")
    assert decoded(late.encode("shift_jis"), "") == late
    assert decoded(late.encode("shift_jis"), "utf-8") == late


def test_a_letter_that_is_broken_breaks_no_other() -> None:
    body = page(CHINESE).encode()
    assert decoded(body[:3000] + b"\xff" + body[3000:], "").count("\ufffd") < 4
    assert CHINESE * 15 in decoded(body[:-30], "")
    assert decoded("price: £5".encode("cp1252"), "utf-8") == "price: £5"
    assert decoded(b"\xff\xfe\xfa", "utf-8")
