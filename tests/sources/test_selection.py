"""What of a group is trained on: everything, a pair, the distinct right answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from groupwise import OnPolicy, Run, Stage, recipes
from groupwise.sources import AllRollouts, BestAndWorst, DistinctPaths
from groupwise.sources.selection import select_from
from groupwise.tasks.task import Task
from groupwise.types import Group

MakeGroup = Callable[..., Group]


def texts(groups: list[Group]) -> list[str]:
    assert all(len(group.rollouts) == 1 for group in groups)
    return [group.rollouts[0].text for group in groups]


def test_all_rollouts_is_the_group(scored_group: MakeGroup) -> None:
    group = scored_group(("a", 1.0), ("b", None))
    assert AllRollouts().select(group).groups == [group]


@pytest.mark.parametrize(
    ("rewards", "pair"),
    [
        ([0.0, 1.0, 0.5], (1, 0)),
        ([0.5, 1.0, 1.0, 0.5], (1, 0)),
        ([None, 0.0, None, 0.2], (3, 1)),
        ([1.0, 1.0], None),
        ([1.0], None),
        ([1.0, None], None),
        ([None, None], None),
        ([0.1 + 0.2, 0.3], None),
        ([0.3, 0.0, 0.1 + 0.2, 0.1 + 0.2 - 0.3 + 1e-20, 0.0], (0, 1)),
        ([1e-200, 2e-200], (1, 0)),
        ([1e308, -1e308], (0, 1)),
    ],
)
def test_the_best_then_the_worst(scored_group: MakeGroup, rewards: list[float], pair: tuple[int, int] | None) -> None:
    """The first of equals."""
    group = scored_group(*[(str(number), reward) for number, reward in enumerate(rewards)])
    groups, counts = BestAndWorst().select(group)
    assert [tuple(int(r.text) for r in found.rollouts) for found in groups] == ([pair] if pair else [])
    assert counts == {"pairs/kept": len(groups), "pairs/none": 1 - len(groups)}


def test_a_pair_must_differ_by_more_than_the_margin(scored_group: MakeGroup) -> None:
    group = scored_group(("a", 0.5), ("b", 1.0))
    assert BestAndWorst(margin=0.5).select(group).groups == []
    assert len(BestAndWorst(margin=0.49).select(group).groups) == 1
    assert BestAndWorst(margin=0.1).select(scored_group(("a", 0.3), ("b", 0.4))).groups == []  # 0.10000000000000003


def test_wrong_truncated_and_miscalculated_answers_are_dropped(scored_group: MakeGroup) -> None:
    group = scored_group(
        ("<<1+1=2>>", 1.0),
        ("<<1+1=3>> yet right", 1.0),
        ("<<1+2=3>>", 0.5),
        ("<<1+2=3>>", None),
        ("<<1+3=4>>", 0.7 + 0.2 + 0.1),
        ("<<four>>", 1.0),
    )
    cut = scored_group(("<<2+2=4>>", 1.0), finished=False)
    group = replace(group, rollouts=(*group.rollouts, *cut.rollouts))
    groups, counts = DistinctPaths().select(group)
    assert texts(groups) == ["<<1+1=2>>", "<<1+3=4>>"]
    assert counts == {
        "paths/truncated": 1,
        "paths/wrong": 2,
        "paths/false_calculation": 2,
        "paths/duplicate": 0,
        "paths/kept": 2,
    }
    assert len(DistinctPaths(calculations=False).select(group).groups) == 4
    assert DistinctPaths().asks_verdict()


def test_one_path_for_each_list_of_equations(scored_group: MakeGroup) -> None:
    """Spaces do not matter; the order of operands and of equations does."""
    group = scored_group(
        ("a <<3+4=7>> b <<7*2=14>>", 1.0),
        ("a <<3 + 4 = 7>> b <<7*2=14>>", 1.0),
        ("a <<4+3=7>> b <<7*2=14>>", 1.0),
        ("a <<7*2=14>> b <<3+4=7>>", 1.0),
        ("none", 1.0),
        ("none at all", 1.0),
    )
    groups, counts = DistinctPaths().select(group)
    assert counts["paths/kept"] == len(groups) == 4
    assert counts["paths/duplicate"] == 2


def test_of_two_alike_the_one_farther_from_the_others_stays(scored_group: MakeGroup) -> None:
    """Two digits differ; beyond that the first path lacks one of the other's four x, the second all of them."""
    first, second, other = ("<<1=1>>xxx", 1.0), ("<<1=1>>", 1.0), ("<<2=2>>xxxx", 1.0)
    select = DistinctPaths().select
    assert texts(select(scored_group(first, second)).groups) == [first[0]]
    assert texts(select(scored_group(second, first)).groups) == [second[0]]
    # distance(first, other) = 2 + 1, distance(second, other) = 2 + 4: the second replaces the first, never the reverse.
    assert texts(select(scored_group(first, other, second)).groups) == [second[0], other[0]]
    assert texts(select(scored_group(second, other, first)).groups) == [second[0], other[0]]
    # Greedy: when the second comes there is nothing to be far from yet.
    assert texts(select(scored_group(first, second, other)).groups) == [first[0], other[0]]


def test_equally_far_is_not_farther(scored_group: MakeGroup) -> None:
    first, other, second = ("<<1=1>>a", 1.0), ("<<2=2>>c", 1.0), ("<<1=1>>b", 1.0)
    assert texts(DistinctPaths().select(scored_group(first, other, second)).groups) == ["<<1=1>>a", "<<2=2>>c"]


@pytest.mark.parametrize(("duplicates", "kept"), [("keep", 4), ("text", 3), ("equations", 2)])
def test_what_counts_as_a_duplicate(scored_group: MakeGroup, duplicates: str, kept: int) -> None:
    group = scored_group(("<<1=1>>", 1.0), ("<<1=1>>", 1.0), ("so <<1=1>>", 1.0), ("<<2=2>>", 1.0))
    groups, counts = DistinctPaths(duplicates=duplicates).select(group)  # type: ignore[arg-type]
    assert len(groups) == counts["paths/kept"] == kept
    assert counts["paths/duplicate"] == 4 - kept


def test_its_numbers_are_options() -> None:
    from groupwise.commands.options import tune

    stage = Stage("s", replace(recipes.grpo, source=OnPolicy(select=DistinctPaths())), Task("t", ()), 1)
    tuned = tune(Run("r", "model", (stage,)), ["--algorithm.source.select.calculations", "False"], "x")
    assert tuned.stages[0].algorithm.source == OnPolicy(select=DistinctPaths(calculations=False))


def test_counts_of_several_groups_add_up(scored_group: MakeGroup) -> None:
    groups, counts = select_from([scored_group(("a", 1.0)), scored_group(("a", 0.0), ("b", 1.0))], DistinctPaths())
    assert texts(groups) == ["a", "b"]
    assert (counts["paths/kept"], counts["paths/wrong"]) == (2.0, 1.0)
