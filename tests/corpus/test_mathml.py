"""MathML becomes LaTeX, whatever it is made of."""

from __future__ import annotations

import time

import pytest

from groupwise.corpus.mathml import DEEPEST, latex_of


@pytest.mark.parametrize(
    ("inside", "tex"),
    [
        ("<mfrac><mn>1</mn><mi>x</mi></mfrac>", r"\frac{1}{x}"),
        ("<msup><mi>x</mi><mn>2</mn></msup><mo>−</mo><mn>1</mn>", "x^{2} - 1"),
        ("<msubsup><mi>a</mi><mi>i</mi><mn>2</mn></msubsup>", "a_{i}^{2}"),
        ("<msup><mrow><mi>x</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></msup>", "{x + 1}^{2}"),
        ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", r"\sqrt{x + 1}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<mi>sin</mi><mi>θ</mi>", r"\sin \theta"),
        ("<mn>3</mn><mo>≤</mo><mi>π</mi><mo>⋅</mo><mi>∞</mi>", r"3 \le \pi \cdot \infty"),
        ("<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>",
         r"\sum_{i = 1}^{n}"),
        ("<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>", r"\lim_{x \to 0}"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
        ("<mover><mi>v</mi><mo>→</mo></mover>", r"\vec{v}"),
        ("<mtext>if </mtext><mi>x</mi>", r"\text{if} x"),
        ("<mtext>a $ of 5 % &amp; b_1</mtext>", r"\text{a \$ of 5 \% \& b\_1}"),
        ("<mi mathvariant='bold'>v</mi>", r"\mathbf{v}"),
        ("<mi mathvariant='double-struck'>R</mi>", r"\mathbb{R}"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn></mtd>"
         "</mtr></mtable>", r"\begin{matrix}1 & 0 \\ 0 & 1\end{matrix}"),
        ("<mfenced open='[' close=')'><mn>1</mn><mn>2</mn></mfenced>", "[1, 2)"),
        ("<mfenced><mi>x</mi></mfenced>", "(x)"),
        ("<mfenced open='{' close=''><mi>x</mi></mfenced>", r"\{x"),
        ("<mmultiscripts><mi>C</mi><mn>6</mn><none/><mprescripts/><none/><mn>12</mn></mmultiscripts>", "{}^{12}C_{6}"),
        ("<mn>5</mn><mo>%</mo>", r"5 \%"),
        ("<mn>−24</mn>", "-24"),
        ("<mi>x</mi><mo>&nbsp;</mo><mo>&le;</mo><mn>1</mn><mo>&lt;</mo><mi>&alpha;</mi>",
         r"x \le 1 < \alpha"),
        ("<mphantom><mi>y</mi></mphantom><mi>x</mi>", "x"),
        ("<semantics><mi>x</mi><annotation encoding='application/x-tex'>x^2 &lt; 1</annotation></semantics>",
         "x^2 < 1"),
        ("<semantics><mi>x</mi><annotation encoding='StarMath'>size 12</annotation></semantics>", "x"),
        ("<semantics><mi>x</mi><annotation encoding='application/x-tex'>{\\displaystyle xy}</annotation></semantics>",
         "xy"),
        ("<mo>±</mo><mi>x</mi><mo>≈</mo><mn>1</mn><mo>≠</mo><mn>2</mn>", r"\pm x \approx 1 \ne 2"),
    ],
)  # fmt: skip
def test_what_an_element_becomes(inside: str, tex: str) -> None:
    assert latex_of(f"<math>{inside}</math>") == tex
    prefixed = latex_of(f"<m:math>{inside.replace('</', '</m:').replace('<m', '<m:m')}</m:math>")
    assert prefixed or "annotation" in inside


@pytest.mark.parametrize(
    "broken",
    ["<math>", "<math></math>", "<math><mfrac><mn>1</mn></math>", "<math></mrow></mrow><mi>x</mi></math>", "<math><",
     "<math><mi>x</math>", "<math><msup></msup></math>", "<math>" + "<" * 1000,
     "<math><mtable><mi>x</mi></mtable></math>",
     "<math><mmultiscripts><mprescripts/></mmultiscripts></math>", "<math><mprescripts/></math>",
     "<!DOCTYPE x [<!ENTITY a 'aa'>]><math><mi>&a;&a;</mi></math>"],
)  # fmt: skip
def test_broken_markup_is_no_error(broken: str) -> None:
    assert isinstance(latex_of(broken), str)


def test_depth_and_length_cost_nothing() -> None:
    start = time.process_time()
    assert latex_of("<math>" + "<mrow>" * 3000 + "<mi>x</mi>" + "</mrow>" * 3000 + "</math>") == ""
    assert latex_of("<math>" + "<mrow>" * (DEEPEST - 5) + "<mi>x</mi>" + "</math>") == "x"
    assert "a" in latex_of("<math>" + "<mi>a</mi>" * 20000 + "</math>")
    assert len(latex_of("<math " + "<a " * 20000)) < 100_000
    assert time.process_time() - start < 5
