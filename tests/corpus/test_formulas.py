"""Formulas survive as LaTeX, however a page writes them."""

from __future__ import annotations

import time

import pytest

from groupwise.corpus.extraction import Extract, decoded, text_of
from groupwise.corpus.formulas import Formulas, with_latex

MATHML = "<math><msup><mi>x</mi><mn>2</mn></msup></math>"


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        (MATHML, "$x^{2}$"),
        (MATHML.replace("<math>", '<math display="block">'), "$$x^{2}$$"),
        (MATHML.replace("</", "</mml:").replace("<m", "<mml:m"), "$x^{2}$"),
        ('<script type="math/tex">x^2 &lt; 1</script>', "$x^2 < 1$"),
        ('<script type="math/tex; mode=display">\\frac12</script>', "$$\\frac12$$"),
        ('<span class="MathJax_Preview">x2</span><script type="math/tex">x^2</script>', "$x^2$"),
        ('<span class="MathJax">x2</span><script type="math/tex">x^2</script>', "$x^2$"),
        ('<div class="MathJax_Display"><span class="MathJax">x2</span></div><script type="math/tex; mode=display">x^2'
         "</script>", "$$x^2$$"),
        (f'<span class="MathJax_SVG"><svg>x2</svg><span>{MATHML}</span></span>', "$x^{2}$"),
        (f'<span class="MathJax_SVG"><svg>x2</svg><span>{MATHML}</span></span><script type="math/mml">{MATHML}'
         "</script>", "$x^{2}$"),
        ('<mjx-container class="MathJax"><mjx-math aria-hidden="true"></mjx-math><mjx-assistive-mml>' + MATHML
         + "</mjx-assistive-mml></mjx-container>", "$x^{2}$"),
        ('<script type="math/asciimath">x^2</script>', "`x^2`"),
        ('<math alttext="\\sqrt{x}"></math>', "$\\sqrt{x}$"),
        ('<span class="katex"><span class="katex-html">x√</span></span>', "x√"),
        ('<img src="https://latex.codecogs.com/gif.latex?%5Cinline%20%5Cdpi{150}%20%5Cfrac%7Ba%7D%7Bb%7D">',
         "$\\frac{a}{b}$"),
        ('<img src="/latex.php?latex=x%5E2&amp;bg=ffffff">', "$x^2$"),
        ('<img src="/cgi-bin/mathtex.cgi?\\sqrt{x}">', "$\\sqrt{x}$"),
        ('<img src="https://chart.googleapis.com/chart?cht=tx&amp;chl=x%5E2" alt="">', "$x^2$"),
        ("so \\(x^2 + 1\\) and", "\\(x^2 + 1\\)"),
        ("so $$\\sum_i x_i$$ and", "$$\\sum_i x_i$$"),
        ("so \\[x &lt; 1\\] and", "\\[x < 1\\]"),
        ("\\begin{equation} x \\end{equation}", "\\begin{equation} x \\end{equation}"),
        ('<img class="math" src="a.png" alt="\\frac{a}{b}"/>', "$\\frac{a}{b}$"),
        ('<img src="//s0.wp.com/latex.php?latex=x" alt="x^2" class="latex">', "$x^2$"),
        ('<img src="i.png" alt="$\\alpha$">', "$\\alpha$"),
        ("<img alt='\\int f' src='i.png'>", "$\\int f$"),
        ('<span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi><annotation '
         'encoding="application/x-tex">\\sqrt x</annotation></semantics></math></span><span class="katex-html" '
         'aria-hidden="true"><span>√x</span></span></span>', "$\\sqrt x$"),
        ('<span class="mwe-math-element"><span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: '
         'none;"><math alttext="{\\displaystyle e}"><semantics><mi>e</mi><annotation encoding="application/x-tex">'
         '{\\displaystyle e^{x}}</annotation></semantics></math></span><img class="mwe-math-fallback-image-inline" '
         'alt="{\\displaystyle e^{x}}"></span>', "$e^{x}$"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("main", [True, False])
def test_a_formula_is_there_once(markup: str, kept: str, main: bool) -> None:
    words = "Here are enough words before it to make it a paragraph that is worth keeping, "
    page = f"<html><body><main><p>{words}{markup} and words after it.</p></main></body></html>"
    text = text_of(page.encode(), "utf-8", Extract(main=main)).text
    assert kept in text
    assert text.count(kept) == 1
    assert "√x" not in text
    assert text.count("x2") == 0


def test_seen_and_kept_are_counted() -> None:
    count = Formulas()
    with_latex(MATHML + "<math></math>" + MATHML, count)
    assert (count.seen, count.kept) == (3, 2)


@pytest.mark.parametrize(
    "image", ['<img src="a.png" alt="A cat">', '<img src="a.png">', '<img alt="C:\\temp\\x.png">', "<img alt="]
)
def test_other_images_are_no_formulas(image: str) -> None:
    assert with_latex(image, Formulas()) == image


@pytest.mark.parametrize(
    "hostile",
    ["<math>" * 30_000, "<math" + " a" * 300_000, "<img alt=\"" * 30_000, "<script type='math/tex'>" * 20_000,
     "<" * 300_000, "<math><mi>" * 50_000, "</math>" * 50_000, "<img " + "x='" * 100_000,
     "<math><mi>x</mi>" + "&amp;" * 50_000,
     "<span mwe-math-mathml" * 20_000, "<script type=" * 50_000, "<math><annotation encoding='tex'>" * 20_000],
)  # fmt: skip
def test_hostile_markup_takes_no_time(hostile: str) -> None:
    start = time.process_time()
    with_latex(hostile, Formulas())
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("é α".encode(), ""), ("é α".encode(), "iso-8859-1"), ("\ufeffé α".encode(), "latin-1"),
        ("é α".encode("utf-16"), ""), ("é α".encode("utf-16"), "utf-8"), ("é α".encode(), "x-klingon"),
        ("é α".encode("utf-16-be").join((b"\xfe\xff", b"")), ""),
        ("é α".encode("iso-8859-7", "ignore").replace(b"\xe1", b"\xe1") and "é α".encode(), "utf8"),
    ],
)  # fmt: skip
def test_a_wrong_or_missing_charset_is_seen_through(body: bytes, charset: str) -> None:
    assert decoded(body, charset) == "é α"


def test_a_right_charset_is_believed() -> None:
    assert decoded("안녕하세요 여러분".encode("euc-kr"), "euc-kr") == "안녕하세요 여러분"
    assert decoded(b'<meta charset="euc-kr">' + "안녕하세요 여러분".encode("euc-kr"), "").endswith("안녕하세요 여러분")
    assert decoded(b"it\x92s \x93quoted\x94", "iso-8859-1") == "it\u2019s \u201cquoted\u201d"
    assert "quoted" in decoded(b"it\x92s \xff\xfe quoted", "utf-8")


def test_what_is_no_character_goes() -> None:
    text = text_of(b"<p>one\x00two \x01three &#0; &#xD800; four five six</p>", "utf-8", Extract(main=False)).text
    assert text.encode()
    assert not set(text) & set("\x00\x01\ud800")
    assert "onetwo" in text


def test_markup_in_text_comes_out_as_text() -> None:
    page = b"<p>&lt;script&gt;alert(1)&lt;/script&gt; is text here</p><script>alert(2)</script>"
    assert text_of(page, "", Extract(main=False)).text == "<script>alert(1)</script> is text here"
