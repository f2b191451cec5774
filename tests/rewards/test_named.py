from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards import FinalAnswer, Format, Math, by_name
from groupwise.types import Rollout

SOURCE = """
from groupwise.rewards import Format

def shorter(completion):
    return -len(completion)

tagged = Format("<b>.*</b>", name="tagged")
number = 3
"""


def test_the_built_in_rewards_have_names() -> None:
    assert by_name("math") == Math()
    assert by_name("answer") == FinalAnswer()


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
        ("{folder}/rewards.py", "unknown reward .*:function"),
        ("{folder}/broken.py:f", "broken.py raised ZeroDivisionError"),
    ],
)
def test_what_is_not_there_is_said_with_what_is_near(spec: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        by_name(spec.format(folder=tmp_path))
