"""Exponents and indices of a page are read as such, and footnotes are not."""

from __future__ import annotations

import time

import pytest

from groupwise.corpus.extraction import Extract, text_of
from groupwise.corpus.superscripts import with_scripts

WORDS = "Here are enough words before it to make it a paragraph that is worth keeping, by any measure of length. "


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        ("10<sup>3</sup>", "10^3"),
        ("10<sup>-3</sup> m", "10^{-3} m"),
        ("10<sup>&minus;12</sup>", "10^{-12}"),
        ("6.02&times;10<SUP>23</SUP>", "6.02×10^{23}"),
        ("<i>x</i><sup>2</sup> + <i>y</i><sup>2</sup>", "x^2 + y^2"),
        ("<i>x</i><sup><i>n</i>+1</sup>", "x^{n+1}"),
        ("<var>a</var><sub><var>ij</var></sub>", "a_{ij}"),
        ("a<sub>n &minus; 1</sub>", "a_{n - 1}"),
        ("x<sub>1</sub><sup>2</sup>", "x_1^2"),
        ("(a+b)<sup>2</sup>", "(a+b)^2"),
        ("e<sup>x</sup>", "e^x"),
        ("x<sup>a</sup>", "x^a"),
        ("sin<sup>2</sup> t", "sin^2 t"),
        ("5 cm<sup>2</sup>", "5 cm^2"),
        ("H<sub>2</sub>O and CO<sub class='s'>2</sub>", "H_2O and CO_2"),
        ("log<sub>10</sub> 5", "log_{10} 5"),
        ("x\u0305<sub>1</sub> and F<sub>4, 4</sub>", "x\u0305_1 and F_{4, 4}"),
        ("f<sup>'</sup>(x)", "f^'(x)"),
        ("n<sup>i&lt;j</sup>", "ni<j"),
        ("1<sup>st</sup> and 2<sup>nd</sup> of the 7<sup>th</sup>", "1st and 2nd of the 7th"),
        ("as shown<sup>3</sup>", "as shown3"),
        ("it is so.<sup>3</sup>", "it is so.3"),
        ("x<sup><a href='#n'>3</a></sup>", "x3"),
        ("a proof<sup>[12]</sup>", "a proof[12]"),
        ("Word<sup>TM</sup> and ABC<sup>TM</sup>", "WordTM and ABCTM"),
        ("M<sup>lle</sup> Germain", "Mlle Germain"),
    ],
)
@pytest.mark.parametrize("main", [True, False])
def test_it_is_read(markup: str, kept: str, main: bool) -> None:
    page = f"<html><body><main><p>{WORDS}</p><p>{WORDS}{markup} end</p></main></body></html>"
    text = text_of(page.encode(), "utf-8", Extract(main=main)).text
    assert text.splitlines()[-1].removeprefix(WORDS) == f"{kept} end"


def test_without_formulas_a_page_is_read_as_it_is() -> None:
    page = f"<html><body><main><p>{WORDS}10<sup>3</sup></p></main></body></html>"
    assert text_of(page.encode(), "utf-8", Extract(formulas=False)).text.endswith("103")


@pytest.mark.parametrize("unit", ["<sup>", "x<sup><i>", "<sup ", "10<sup>3", "<sub>a</sub", "x<sup>" + "a " * 20])
def test_time_grows_as_the_page_does(unit: str) -> None:
    def seconds(size: int) -> float:
        page = unit * (size // len(unit))
        begun = time.process_time()
        with_scripts(page)
        return time.process_time() - begun

    assert seconds(400_000) < 2  # a square of it would take minutes
