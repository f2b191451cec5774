from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.commands.parser import REWARDS
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards import Cached, FinalAnswer, Format, LengthPenalty, Math, by_name
from groupwise.rewards.named import BUILT_IN, SCORERS
from groupwise.rewards.verdicts import Judge
from groupwise.types import Rollout, Score

SOURCE = """
from groupwise.rewards import Cached, Format
from groupwise.types import Score

def shorter(completion):
    return -len(completion)

class Own:
    name, weight, correct_at = "own", 1.0, 0.5

    def score(self, rollouts):
        return [Score(0.75) for _ in rollouts]

    def votes(self, rollouts):
        return [len(rollout.text) for rollout in rollouts]

    def identity(self):
        return {}

own, kept = Own(), Cached(Own(), "scores.sqlite")
tagged = Format("<b>.*</b>", name="tagged")
number = 3
"""


def test_the_built_in_rewards_have_names() -> None:
    assert by_name("math") == Math()
    assert by_name("answer") == FinalAnswer()
    assert by_name("length:512") == LengthPenalty(512, 102)
    assert by_name("length: 512, 128") == LengthPenalty(512, 128)
    assert by_name("length") == LengthPenalty()
    assert by_name("format:a.*b") == Format("a.*b")


def test_format_alone_is_a_thought_and_an_answer(rollout: Callable[..., Rollout]) -> None:
    texts = ("<think>a\nb</think>\n<answer>7</answer>\n", "7", "<think>a</think>7", "<answer>7</answer>")
    assert [score.value for score in by_name("format").score([rollout(text) for text in texts])] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("math*0.2", Math(weight=0.2)),
        ("math * .5", Math(weight=0.5)),
        ("answer*-1", FinalAnswer(weight=-1.0)),
        ("math*1e-3", Math(weight=1e-3)),
        ("math*0", Math(weight=0.0)),
        ("length:64,8*-2", LengthPenalty(64, 8, weight=-2.0)),
        ("format:a.*0.5", Format("a.", weight=0.5)),
        ("format:a.*", Format("a.*")),
        ("format:(ab)*c", Format("(ab)*c")),
    ],
)
def test_a_weight_follows_a_star(spec: str, expected: Reward) -> None:
    """In a pattern a star is the pattern's, unless a number ends it."""
    assert by_name(spec) == expected


@pytest.mark.parametrize(
    "weight", ["", "nan", "inf", "-inf", "-", "+", "1e400", "0x2", "1_0", "1,5", "two", "1 2", "--1", "٣"]
)
def test_what_is_no_weight_is_said(weight: str) -> None:
    with pytest.raises(UserError, match=r"is its weight, and .* is none; expected a number after a name, such as math"):
        by_name(f"math*{weight}")


@pytest.mark.parametrize("spec", ["*0.5", "*", " *2"])
def test_a_weight_of_nothing_is_said(spec: str) -> None:
    with pytest.raises(UserError):
        by_name(spec)


@pytest.mark.parametrize("spec", ["length:", "length:x", "length:1,2,3", "length:-5", "length:0", "length:8,9"])
def test_a_length_that_is_none_is_said(spec: str) -> None:
    with pytest.raises(UserError, match="length"):
        by_name(spec)


def test_any_reward_can_be_weighted(tmp_path: Path, rollout: Callable[..., Rollout]) -> None:
    """A function, a reward of a class that takes no weight, one that is kept: and each stays what it was."""
    (tmp_path / "rewards.py").write_text(SOURCE, encoding="utf-8")
    function, own, kept = (by_name(f"{tmp_path}/rewards.py:{name}*-0.25") for name in ("shorter", "own", "kept"))
    for reward in (function, own, kept):
        assert reward.weight == -0.25
    assert function.score([rollout("four")])[0].value == -4.0
    assert own.score([rollout("four")]) == [Score(0.75)]
    assert Judge.of(own).threshold == Judge.of(kept).threshold == 0.5
    assert Judge.of(own).votes([rollout("four")]) == [4]
    assert isinstance(kept, Cached)


def test_the_help_lists_every_name() -> None:
    assert all(name in REWARDS for name in (*BUILT_IN, *SCORERS))


def test_a_function_or_a_reward_in_a_file(tmp_path: Path, rollout: Callable[..., Rollout]) -> None:
    file = tmp_path / "with space ü.py"
    file.write_text(SOURCE, encoding="utf-8")
    reward = by_name(f"{file}:shorter")
    assert reward.name == "shorter"
    assert reward.score([rollout("four")])[0].value == -4.0
    assert by_name(f"{file}:tagged") == Format("<b>.*</b>", name="tagged")


def test_a_function_in_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rollout: Callable[..., Rollout]
) -> None:
    (tmp_path / "house_of").mkdir()
    (tmp_path / "house_of/rewards.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert by_name("house_of.rewards:shorter").score([rollout("four")])[0].value == -4.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("maths", "unknown reward 'maths', perhaps you meant 'math'; expected answer, math"),
        ("", "unknown reward ''"),
        ("nothing.like.this:f", "importing nothing.like.this raised ModuleNotFoundError"),
        ("{folder}/rewardz.py:shorter", r"there is no file .*rewardz\.py, perhaps you meant 'rewards\.py'"),
        ("{folder}/rewards.py:shorted", "has no 'shorted', perhaps you meant 'shorter'"),
        ("{folder}/rewards.py:number", "must be a function, not 3"),
        (
            "{folder}/rewards.py",
            r"expected the name of a function behind the file, such as .*/rewards\.py:\w+; it has ",
        ),
        ("{folder}/rewards.py:", r"expected the name of a function behind the file"),
        ("{folder}/rewardz.py", r"there is no file .*rewardz\.py, perhaps you meant 'rewards\.py'"),
        ("{folder}/none.py", r"such as .*/none\.py:score; it has none"),
        ("{folder}/broken.py:f", "broken.py raised ZeroDivisionError"),
    ],
)
def test_what_is_not_there_is_said_with_what_is_near(spec: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    (tmp_path / "none.py").write_text("number = 3", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        by_name(spec.format(folder=tmp_path))


def test_a_file_is_read_as_it_stands_and_nothing_is_left_beside_it(
    rollout: Callable[..., Rollout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edited within a second, to the same length: compiled code that is kept would not know."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, found = tmp_path / "mine.py", []
    for value in (1, 2):
        path.write_text(f"def good(completion):\n    return {value}.0\n")
        [score] = by_name(f"{path}:good").score([rollout("text")])
        found.append(score.value)
    assert found == [1.0, 2.0]
    assert list(tmp_path.iterdir()) == [path]
