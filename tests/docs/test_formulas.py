"""The plain signs of the methods' formulas become LaTeX."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "docs"))

from formulas import block, latex  # noqa: E402

sys.path.pop(0)


def squeezed(line: str) -> str:
    return latex(line).replace(" ", "")


@pytest.mark.parametrize(
    ("plain", "drawn"),
    [
        ("A_i = r_i - mean(r)", r"A_{i}=r_{i}-\operatorname{mean}(r)"),
        ("o_<t", r"o_{<t}"),
        ("Σ_{u≥t} R_u", r"\sum_{u\get}R_{u}"),
        ("π_θ/π_old", r"\pi_{\theta}/\pi_{\text{old}}"),
        ("E_π_old [ w A ]", r"E_{\pi_{\text{old}}}[wA]"),
        ("(1/|o_i|) Σ_t", r"\frac{1}{|o_{i}|}\sum_{t}"),
        ("γ^(l-k) r_l", r"\gamma^{(l-k)}r_{l}"),
        ("k3_{i,t}", r"\operatorname{k3}_{i,t}"),
        ("std(r) + 1e-09", r"\operatorname{std}(r)+1\cdot10^{-9}"),
        ("½ (V - G)²", r"\tfrac{1}{2}(V-G)^2"),
        ("{ x }", r"\{x\}"),
        ("0.5% of x", r"0.5\%\text{of}x"),
        ("A_i = 1 if o_i is right, else 0", r"A_{i}=1\text{if}o_{i}\text{isright,else}0"),
        ("h(chosen)", r"h(\text{chosen})"),
        ("J = x        (eq. 3)", r"J=x\qquad(\text{eq.}3)"),
    ],
)
def test_a_formula(plain: str, drawn: str) -> None:
    assert squeezed(plain) == drawn


def test_a_line_that_goes_on_belongs_to_the_one_before_and_definitions_stand_further_in() -> None:
    text = "J = x\n  - 1 · y }\n\n    r = a / b\n"
    assert block(text) == [(True, "J = x - 1 · y }"), (False, "r = a / b")]


def test_every_formula_of_the_methods_is_one_to_the_converter() -> None:
    convert = pytest.importorskip("latex2mathml.converter").convert
    shown = 0
    for page in sorted((ROOT / "docs" / "methods").glob("[a-z]*.md")):
        objective = re.search(r"\n## Objective\n(.*?)\n## ", page.read_text(), re.DOTALL)
        for text in re.findall(r"```text\n(.*?)```", objective[1] if objective else "", re.DOTALL):
            for _, line in block(text):
                assert convert(latex(line)).startswith("<math"), line
                shown += 1
    assert shown > 200
