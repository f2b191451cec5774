"""Words as actions of Gymnasium's spaces: of its own ones, where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from groupwise.environments.forms.spaces import action_of, has_words

spaces = pytest.importorskip("gymnasium").spaces


def pair() -> Any:
    return spaces.Box(-1, 1, (2,), numpy.float32)


def several() -> Any:
    return spaces.Dict(move=spaces.Discrete(2), force=spaces.Tuple((pair(), spaces.Text(3))))


MEANT: list[tuple[Callable[[], Any], str, Any]] = [
    (lambda: spaces.Discrete(4), "not 1 but 2", 2),
    (lambda: spaces.Discrete(4), "2.0", 2),
    (lambda: spaces.Discrete(4, start=-2), "back: -2", -2),
    (lambda: spaces.MultiDiscrete([3, 4]), "2 and 3", [2, 3]),
    (lambda: spaces.MultiDiscrete(numpy.array([[2, 2], [3, 3]])), "[[0, 1], [2, 0]]", [[0, 1], [2, 0]]),
    (lambda: spaces.MultiBinary(3), "1, 0, 1", [1, 0, 1]),
    (lambda: spaces.MultiBinary((1, 2)), "0 1", [[0, 1]]),
    (pair, "push 0.5, then -1", [0.5, -1]),
    (pair, "[5e-1, 0]", [0.5, 0]),
    (pair, ".5 -.25", [0.5, -0.25]),
    (pair, "\u22120.5, \u2212.25", [-0.5, -0.25]),
    (lambda: spaces.Discrete(4), "door 1.2.3", 3),
    (lambda: spaces.Box(-1, 1, (), numpy.float32), "0.5", 0.5),
    (lambda: spaces.Box(0, 255, (2,), numpy.uint8), "0 255", [0, 255]),
    (lambda: spaces.Text(3), "abc", "abc"),
]


@pytest.mark.parametrize(("space", "text", "meant"), MEANT)
def test_what_words_mean(space: Callable[[], Any], text: str, meant: Any) -> None:
    made = space()
    action = action_of(made, text)
    assert made.contains(action)
    assert numpy.asarray(action).tolist() == meant
    assert has_words(made)


def test_several_spaces_are_said_in_json() -> None:
    action = action_of(several(), '{"force": [[0.5, -1], "abc"], "move": 1}')
    assert several().contains(action)
    assert (action["move"], action["force"][1]) == (1, "abc")
    assert action["force"][0].tolist() == [0.5, -1]


WRONG: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: spaces.Discrete(4), "2.5", "2.5; expected a number from 0 to 3"),
    (lambda: spaces.Discrete(4), "4", "4; expected a number from 0 to 3"),
    (lambda: spaces.Discrete(4), "9" * 400, "expected a number from 0 to 3"),
    (pair, "0.5", "'0.5' has 1 numbers; expected 2, of Box"),
    (pair, "2 0", "is not of Box"),
    (pair, "nan nan", "has 0 numbers"),
    (lambda: spaces.Box(0, 255, (2,), numpy.uint8), "0.5 1", "is not of Box(0, 255, (2,), uint8)"),
    (lambda: spaces.Box(0, 255, (2,), numpy.uint8), "256 1", "is not of Box(0, 255, (2,), uint8)"),
    (lambda: spaces.MultiBinary(2), "1 2", "is not of MultiBinary(2)"),
    (several, "1 0.5", "expected JSON for Dict("),
    (several, f'{{"move": 1{"0" * 400}, "force": []}}', "expected a number from 0 to 1"),
    (several, '{"move": 1}', "expected an object with move, force"),
    (several, '{"move": true, "force": [[0, 0], "a"]}', "True; expected a number from 0 to 1"),
    (several, '{"move": 1, "force": [[0, 0]]}', "expected a list of 2"),
    (several, '{"move": 1, "force": [["x", 0], "a"]}', "expected numbers of Box"),
    (several, '{"move": 1, "force": [[NaN, 0], "a"]}', "is not of Box"),
    (several, '{"move": 1, "force": [[0, 0], 5]}', "is not of Text"),
    (several, f'{{"move": 1, "force": [[1{"0" * 400}, 0], "a"]}}', "expected numbers of Box"),
    (lambda: spaces.Box(0, 255, (2,), numpy.uint8), "1e300 0", "is not of Box(0, 255, (2,), uint8)"),
    (lambda: spaces.MultiBinary(2), "1e999 0", "is not of MultiBinary(2)"),
    (several, "[" * 100_000, "expected JSON for Dict("),
]


@pytest.mark.parametrize(("space", "text", "said"), WRONG)
def test_what_means_nothing_is_said(space: Callable[[], Any], text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        action_of(space(), text)


def test_spaces_that_nobody_has_words_for() -> None:
    one_of = spaces.OneOf((spaces.Discrete(2), spaces.Text(3)))
    unspoken = [spaces.Sequence(spaces.Discrete(2)), one_of, spaces.Graph(pair(), None), spaces.Tuple((one_of,)), None]
    assert not any(map(has_words, unspoken))
