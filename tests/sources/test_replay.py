"""A share of what is learned from is drawn from what earlier stages gathered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise import AllRollouts, FrozenPolicy, UserError
from groupwise.sources import DrawContext, MonteCarloSteps
from groupwise.types import Example, Group

Open = Callable[..., DrawContext]
SOURCE = FrozenPolicy(samples_per_prompt=2, max_completion_tokens=4, select=AllRollouts(), prompts=9)
MORE = replace(SOURCE, replay_from=("first",))


def stage(world: DrawContext, name: str, **options: object) -> DrawContext:
    return replace(world, name=name, **options)


@pytest.fixture
def first(world: Open, tmp_path: Path) -> tuple[DrawContext, list[Group]]:
    """A world in which a stage has left ten groups, and those."""
    source = replace(SOURCE, prompts=10)
    here = stage(replace(world(source, prompts_per_step=10), store=tmp_path), "first")
    return here, source.draw(here, {}).groups


def tokens(groups: Sequence[Group]) -> list[tuple[tuple[int, ...], ...]]:
    return sorted(tuple(rollout.tokens for rollout in group.rollouts) for group in groups)


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.25, 3), (0.5, 9)])
def test_the_share_is_of_the_final_mix_and_none_comes_twice(
    first: tuple[DrawContext, list[Group]], share: float, count: int
) -> None:
    """Nine new ones: n_old = share / (1 - share) · 9, rounded."""
    here, old = first
    source = replace(MORE, replay=share)
    draw = source.draw(stage(here, "second", prompts_per_step=9 + count), {})
    assert draw.metrics["replay/groups"] == count
    assert draw.metrics["gathered_groups"] == 9 + count
    replayed = [group for group in draw.groups if group in old]
    assert len(replayed) == count
    assert len(set(tokens(replayed))) == count


def test_a_small_buffer_is_used_up_before_it_repeats(first: tuple[DrawContext, list[Group]]) -> None:
    here, old = first
    source = replace(MORE, replay=0.75)  # 27 of 10: each twice, seven of them three times
    draw = source.draw(stage(here, "second", prompts_per_step=36), {})
    times = sorted(sum(group == one for group in draw.groups) for one in old)
    assert times == [2, 2, 2, *[3] * 7]


def test_a_resumed_stage_replays_the_same_groups(first: tuple[DrawContext, list[Group]], tmp_path: Path) -> None:
    here, _ = first
    source = replace(MORE, replay=0.3)
    second = stage(here, "second", prompts_per_step=5)
    draws = [source.draw(second, {"prompts": taken}) for taken in (0, 5, 10)]
    again = stage(here, "second", prompts_per_step=5)
    assert [source.draw(again, {"prompts": taken}).groups for taken in (0, 5, 10)] == [draw.groups for draw in draws]
    other = replace(again, seed=8, store=tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "first.jsonl").write_bytes((tmp_path / "first.jsonl").read_bytes())
    assert source.draw(other, {}).groups != draws[0].groups


def test_no_share_or_no_stage_replays_nothing(first: tuple[DrawContext, list[Group]]) -> None:
    here, _ = first
    for place, source in enumerate([MORE, replace(MORE, replay=0.1, replay_from=())]):
        assert "replay/groups" not in source.draw(stage(here, f"stage-{place}"), {}).metrics


def test_a_stage_that_left_nothing_is_named_before_anything_is_sampled(
    first: tuple[DrawContext, list[Group]], world: Open, tmp_path: Path
) -> None:
    here, _ = first
    phases: list[str] = []
    watched = replace(stage(here, "second"), on_phase=lambda name, *_: phases.append(name))
    for name in ("never", "second"):
        with pytest.raises(UserError, match=f"second: nothing to replay from {name}"):
            replace(MORE, replay=0.1, replay_from=(name,)).draw(watched, {})
    assert phases == []
    with pytest.raises(UserError, match="nothing of it is kept"):
        replace(MORE, replay=0.1).draw(stage(world(SOURCE), "second"), {})
    rows = [Example("another", "1 =")]
    with pytest.raises(UserError, match="gathered from other rows"):
        replace(MORE, replay=0.1).draw(stage(replace(world(SOURCE, rows), store=tmp_path), "second"), {})


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_no_mix_can_have(share: float) -> None:
    for source in (FrozenPolicy, MonteCarloSteps):
        with pytest.raises(UserError, match="expected a share of the mix"):
            source(replay=share)
