"""Lists and objects that csv holds as text, as JSON and as Python writes them, and texts that only look so."""

from __future__ import annotations

import time

import pytest

from groupwise.values.spelled import structure_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ("{'ground_truth': '4', 'n': None, 'ok': True}", {"ground_truth": "4", "n": None, "ok": True}),
        ("[{'text': 'a', 'rank': 1.0}]", [{"text": "a", "rank": 1.0}]),
        ("[True, None]", [True, None]),
        ("[1, 2]", [1, 2]),
        ("[1, 2)", "[1, 2)"),
        ("[a]", "[a]"),
        ("{'a'}", "{'a'}"),
        ("['a', f()]", "['a', f()]"),
        ("{x: 1}", "{x: 1}"),
        ("[5 apples]", "[5 apples]"),
        ("['3' '4']", "['3' '4']"),
        ("['3'\n '4']", "['3'\n '4']"),
        ("[...]", "[...]"),
        ("{'a': {1}}", "{'a': {1}}"),
        (r"['\frac12']", r"['\frac12']"),
        (r"['\theta']", r"['\theta']"),
        (r"['\\frac12', '\\theta']", [r"\frac12", r"\theta"]),
        (r"['a\nb', 'it\'s']", ["a\nb", "it's"]),
        ("text", "text"),
        (5, 5),
        (None, None),
    ],
)
def test_a_text_is_what_it_spells_and_nothing_of_it_is_run(text, value):
    assert structure_of(text) == value


@pytest.mark.parametrize("unit", ["[", "{'", "['", "[{", "[1,", "['a',", "['\\\\"])
def test_long_texts_take_little_time(unit):
    started = time.process_time()
    assert structure_of(unit * 20_000) == unit * 20_000
    assert time.process_time() - started < 2.0
