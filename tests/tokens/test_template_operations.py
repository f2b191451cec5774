"""No single operation of a chat template makes more than a template may hold."""

from __future__ import annotations

import tracemalloc

import pytest

from groupwise.errors import UserError
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.template_operations import product
from groupwise.types import Example

from .test_renderer import TEMPLATE, make_tokenizer

LARGE = [
    "'x' * 400000000",
    "400000000 * 'x'",
    "[0] * 90000000",
    "([0] * 90000000) | join",
    "'%300000000d' % 1",
    "'%*d' % (300000000, 1)",
    "10 ** 300000000",
    "2 ** 900000000",
    "'x'.center(300000000)",
    "'x'.ljust(300000000)",
    "'7'.zfill(300000000)",
    "'x' | center(300000000)",
    "'%300000000d' | format(1)",
    "'{:>300000000}'.format(1)",
    "'x' | indent(300000000, true)",
    "('a' * 9000).replace('a', 'b' * 90000)",
    "('a' * 9000) | replace('a', 'b' * 90000)",
    "('b' * 90000).join(['x'] * 9000)",
    "(['x'] * 9000) | join('b' * 90000)",
]


@pytest.mark.parametrize("expression", LARGE)
def test_a_large_operation_is_refused_before_it_is_done(expression: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"letters or items|digits"):
            Renderer(make_tokenizer(f"{{% set n = {expression} %}}" + TEMPLATE)).prompt(Example("row", "2+2="))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("expression", "text"),
    [("'ab' * 3", "ababab"), ("7 % 4", "3"), ("'%03d' % 7", "007"), ("2 ** 10", "1024"), ("'x' | center(5)", "  x  ")],
)
def test_ordinary_operations_are_done(expression: str, text: str) -> None:
    renderer = Renderer(make_tokenizer(f"<{{{{ {expression} }}}}>" + TEMPLATE))
    found = renderer.tokenizer.decode(list(renderer.prompt(Example("row", "2+2=")).tokens), skip_special_tokens=False)
    assert f"<{text}>" in found


@pytest.mark.parametrize(
    ("operator", "left", "right", "size"),
    [
        ("*", "ab", 3, 6),
        ("*", 3, [1], 3),
        ("*", "a", -2, 0),
        ("**", 8, 6, 8),
        ("%", "%123456d", 1, 123457),
        ("%", 5, 3, 0),
    ],
)
def test_what_an_operation_would_make(operator: str, left: object, right: object, size: int) -> None:
    assert product(operator, left, right) == size
