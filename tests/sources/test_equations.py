"""Inline calculations are read, never run: what is true, what is not, and that no text can do harm."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.sources.equations import calculations, calculations_hold, holds, value_of


@pytest.mark.parametrize(
    "calculation",
    [
        "48/2=24",
        " 48 + 24 = 72 ",
        "10/3=3.333",
        "0.1+0.2=.3",
        "1,000*2=2,000",
        "2**10=1024",
        "-(3-5)=2",
        "5=5",
        "3+4=7=14/2",
        "7//2=3",
        "7%4=3",
        "1e3/10=100",
        "50*.01=.5",
    ],
)
def test_what_holds(calculation: str) -> None:
    assert holds(calculation)


@pytest.mark.parametrize(
    "calculation",
    [
        "48/2=25",
        "48/2",
        "",
        "=",
        "3+4=",
        "=7",
        "10/3=3.33",
        "x+1=2",
        "5 apples=5",
        "1/0=0",
        "3+4=7=8",
        "1 2=12",
        "(3+4=7",
        "3+4)=7",
        "3++=3",
        "2^3=8",
        "10,00=1000",
        "nan=nan",
        "1e999=1e999",
        "__import__('os')=0",
    ],
)
def test_what_does_not(calculation: str) -> None:
    assert not holds(calculation)


def test_the_tolerance_is_a_thousandth() -> None:
    assert holds("1=1.00099")
    assert not holds("1=1.0011")


def test_all_calculations_of_a_solution() -> None:
    text = "Half of 48 is <<48/2=24>>24. Together <<48 + 24 = 72>>72."
    assert calculations(text) == ("48/2=24", "48+24=72")
    assert calculations_hold(text)
    assert not calculations_hold(text + " So <<72+1=74>>74.")
    assert calculations("nothing to see") == ()
    assert calculations_hold("nothing to see; 2+2=5 << 3")


OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
NUMBERS = st.one_of(st.integers(0, 99).map(str), st.floats(0, 99).map(lambda x: f"{x:.3f}"))
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, OPERATORS, inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
        inner.map(lambda text: f"+ {text}"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_it_agrees_with_python(expression: str) -> None:
    """On expressions that this test made; numbers are floats here, so Python gets them as floats, too."""
    floats = "".join(f"{float(part)!r}" if part[:1].isdigit() else part for part in _pieces(expression))
    try:
        expected = eval(floats, {"__builtins__": {}})
    except (ZeroDivisionError, OverflowError):
        expected = None
    if isinstance(expected, complex) or (expected is not None and not math.isfinite(expected)):
        expected = None
    found = value_of(expression)
    assert found == expected or found == pytest.approx(expected)


def _pieces(expression: str) -> list[str]:
    pieces: list[str] = [""]
    for letter in expression:
        same = pieces[-1][:1].isdigit() and (letter.isdigit() or letter == ".")
        pieces[-1:] = [pieces[-1] + letter] if same else [pieces[-1], letter]
    return pieces


@given(st.text(alphabet="0123456789.,+-*/%()eE ×'x=<>_[]", max_size=40))
def test_any_text_has_a_finite_value_or_none(text: str) -> None:
    found = value_of(text)
    assert found is None or math.isfinite(found)
    assert isinstance(holds(text), bool)


@pytest.mark.parametrize(
    "bomb",
    [
        "9**9**9**9",
        "2**999999999",
        "9" * 400,
        "(" * 400,
        "-" * 400 + "1",
        "(" * 200 + "1" + ")" * 200,
        "1+" * 100_000,
        "2**" * 150 + "2",
        "1," * 200,
        "<<" * 200,
    ],
)
def test_no_text_takes_long(bomb: str) -> None:
    started = time.process_time()
    assert value_of(bomb) is None
    assert time.process_time() - started < 2.0
