"""A reward that is kept, weighted or asked about several answers says of itself all that the reward inside says.

The protocols are looked for in the source, so that one which is added later cannot be forgotten here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

import groupwise
from groupwise.evaluation.voting import can_vote
from groupwise.protocols import Reward, Votes
from groupwise.rewards import FinalAnswer, Math
from groupwise.rewards.alternatives import AnyAnswer, any_of
from groupwise.rewards.cache import Cached
from groupwise.rewards.verdicts import Judge, correct_at
from groupwise.rewards.weighted import Weighted, weighted
from groupwise.types import OVER, Example, Prompt, Rollout, Score

OWN = {
    "Identified": "the cache asks it of what it holds, and keeps that",
    "Streaming": "the cache asks it of what it holds, and keeps each score",
    "StreamingAt": "the cache asks it of what it holds, and keeps each score",
}
"""Protocols of rewards that are no business of whoever is around one."""


def abilities() -> Iterator[type]:
    """Every protocol of the package that says what a reward may do beside scoring."""
    for module in pkgutil.walk_packages(groupwise.__path__, "groupwise."):
        source = (Path(groupwise.__path__[0]).parent / module.name.replace(".", "/")).with_suffix(".py")
        if source.exists() and "A reward that" not in source.read_text(encoding="utf-8"):
            continue
        if "rewards" not in module.name and not source.exists():
            continue
        found = vars(importlib.import_module(module.name)).values()
        for each in found:
            is_protocol = inspect.isclass(each) and each.__dict__.get("_is_protocol", False)
            if is_protocol and each.__module__ == module.name and (each.__doc__ or "").startswith("A reward that"):
                yield each


ABILITIES = {each.__name__: each for each in abilities()}
MEMBERS = [
    (name, member)
    for name, each in ABILITIES.items()
    if name not in OWN
    for member in vars(each)
    if not member.startswith("_")
]


SAID: dict[str, Any] = {"score_at": Score(0.25)}
"""By member, where not any value can be handed on."""


class Inside:
    """A reward that can do everything, and answers with what it was asked."""

    name, weight = "inside", 1.0

    def score(self, rollouts: Any) -> Any:
        return ["score"] * len(rollouts)


def able(member: str, asked: list[Any]) -> Inside:
    """``Inside`` with that member, a method or a property as the protocol has it."""
    protocol = next(ABILITIES[name] for name, each in MEMBERS if each == member)
    if isinstance(vars(protocol)[member], property):
        return type("Able", (Inside,), {member: property(lambda self: f"own {member}")})()

    def method(self: Inside, *arguments: Any) -> Any:
        asked.append(arguments)
        return None if not arguments else [SAID.get(member, f"own {member}")] * len(arguments[0])

    return type("Able", (Inside,), {member: method})()


WRAPPERS: dict[str, Callable[[Any, Path], Any]] = {
    "Cached": lambda reward, path: Cached(reward, path / "kept.sqlite"),
    "Weighted": lambda reward, path: Weighted(reward, 0.2),
    "AnyAnswer": lambda reward, path: AnyAnswer(reward),
}
OWN_WAY = {("Cached", "prepare"), ("Cached", "score_at"), ("AnyAnswer", "score_at"), ("AnyAnswer", "unreadable")}
"""Tested by themselves: a cache keeps what it says, and several answers are asked about one by one."""


def test_the_protocols_are_found() -> None:
    assert {"StepScoring", "FollowsTraining", "Votes", "ReadsGold", "Graded", "NeedsPreparation"} <= set(ABILITIES)
    assert set(OWN) <= set(ABILITIES)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("ability", "member"), MEMBERS)
def test_what_the_reward_inside_can_do_is_handed_on(wrapper: str, ability: str, member: str, tmp_path: Path) -> None:
    asked: list[Any] = []
    outside = WRAPPERS[wrapper](able(member, asked), tmp_path)
    assert isinstance(outside, Reward)
    assert isinstance(outside, ABILITIES[ability])  # type: ignore[misc]
    if (wrapper, member) in OWN_WAY:
        return
    if isinstance(vars(ABILITIES[ability])[member], property):
        assert getattr(outside, member) == f"own {member}"
        return
    parameters = [name for name in inspect.signature(vars(ABILITIES[ability])[member]).parameters if name != "self"]
    given = [[f"the {name}"] for name in parameters]
    said = getattr(outside, member)(*given)
    assert asked == [tuple(given)]
    assert said == (None if not given else [SAID.get(member, f"own {member}")])


def test_every_wrapper_is_a_decorator() -> None:
    """Whatever has a reward inside hands on: a wrapper that is added later is looked for as well."""
    from groupwise.rewards.decorator import Decorator

    found = {each.__name__ for each in Decorator.__subclasses__() if each.__module__.startswith("groupwise")}
    assert found == set(WRAPPERS)
    assert Protocol in Decorator.__mro__


def rollout(text: str, example: Example) -> Rollout:
    return Rollout(Prompt(example, (1,)), (2,), (True,), (-1.0,), text, True, 0)


@pytest.mark.parametrize("around", [lambda r: r, lambda r: weighted(r, 0.2), lambda r: weighted(any_of(r), 0.2)])
def test_a_cached_reward_votes_reads_and_judges_as_the_reward(
    around: Callable[[Reward], Reward], tmp_path: Path
) -> None:
    plain, row = Math(), Example("a:1", "2+2=", answer="4")
    kept = around(Cached(plain, tmp_path / "kept.sqlite"))
    said = [rollout(rf"\boxed{{{text}}}", row) for text in ("4", "8/2", "5", "5.0", "x+")]
    assert isinstance(kept, Votes)
    assert can_vote(Judge.of(kept))
    assert kept.votes(said) == plain.votes(said) == Judge.of(kept).votes(said)
    assert kept.unreadable([row, Example("a:2", "q", answer="")]) == plain.unreadable(  # type: ignore[attr-defined]
        [row, Example("a:2", "q", answer="")]
    )
    assert correct_at(kept) == correct_at(plain)
    assert [score.value for score in kept.score(said[:3])] == [1.0, 1.0, 0.0]


def test_several_answers_of_a_cached_reward(tmp_path: Path) -> None:
    """Each is right, whichever is around the other."""
    row = Example("a:1", "q", answer="4", alternatives=("four", "5"))
    for reward in (any_of(Cached(FinalAnswer(), tmp_path / "a")), Cached(any_of(FinalAnswer()), tmp_path / "b")):
        scores = reward.score_at([rollout("#### 5", row), rollout("#### 6", row)], OVER)  # type: ignore[attr-defined]
        assert [score.value for score in scores] == [1.0, 0.0]


def test_a_reward_that_can_do_nothing_beside_stays_so(tmp_path: Path) -> None:
    kept = Cached(Inside(), tmp_path / "kept.sqlite")  # type: ignore[arg-type]
    assert not can_vote(Judge.of(kept))
    assert any_of(kept) is kept
    assert (kept.correct_at, kept.scores_steps) == (None, False)
    assert kept.unreadable([Example("a:1", "q", answer="x")]) == [""]
