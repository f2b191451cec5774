"""Where the data comes from: real model, real engine, real rewards; which rows, in which order, and what is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from groupwise import Demonstrations, Native, OnPolicy, Stage, UserError, informative, recipes
from groupwise.engines.general import GeneralEngine
from groupwise.learners.local import LocalLearner
from groupwise.render import Renderer
from groupwise.rewards import as_reward
from groupwise.sources import World, prompt_stream, reward_metrics
from groupwise.tasks.task import Task
from groupwise.types import Example, Group, Rollout

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}", answer=f"{n + 1}") for n in range(10))
Open = Callable[..., World]


def length(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@pytest.fixture
def world(tiny_model: Path, open_learner: Callable[..., LocalLearner]) -> Open:
    """``world(source, rows, **options of Stage)``"""

    def make(source: Any, rows: Sequence[Example] = ROWS, max_rows: int = 64, **options: Any) -> World:
        learner = open_learner()
        algorithm = replace(recipes.grpo, source=source)
        stage = Stage("stage", algorithm, Task("rows", rows, (as_reward(length),)), **({"steps": 3} | options))
        renderer = Renderer(learner.tokenizer, name=str(tiny_model), eos_tokens=learner.stop_tokens)
        return World(stage, renderer, Native(max_rows=max_rows).open(learner.model), seed=7)

    return make


def drawn(groups: Sequence[Group]) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [(group.prompt.example.id, [rollout.tokens for rollout in group.rollouts]) for group in groups]


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(world: Open) -> None:
    here = world(Demonstrations(), prompts_per_step=4)
    epochs = [[example.id for example, _ in islice(prompt_stream(here, start), 10)] for start in (0, 10)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(row.id for row in ROWS)
    assert epochs[0] != epochs[1]
    middle = [example.id for example, _ in islice(prompt_stream(here, 4), 10)]
    assert middle == epochs[0][4:] + epochs[1][:4]
    assert [example.id for example, _ in islice(prompt_stream(replace(here, seed=8), 0), 10)] != epochs[0]


def test_demonstrations_go_on_where_the_last_draw_ended(world: Open) -> None:
    here = world(Demonstrations(), prompts_per_step=4)
    first = Demonstrations().draw(here, 0)
    second = Demonstrations().draw(here, first.cursor)
    assert (first.cursor, second.cursor) == (4, 8)
    order = [example.id for example, _ in islice(prompt_stream(here, 0), 10)]
    assert [group.prompt.example.id for group in (*first.groups, *second.groups)] == order[:8]
    for group in first.groups:
        (rollout,) = group.rollouts
        assert rollout.text == group.prompt.example.completion
        assert all(rollout.mask)
        assert rollout.tokens[-1] in here.renderer.stop_tokens
        assert rollout.reward is None


def test_a_row_without_a_demonstration_is_named(world: Open) -> None:
    rows = [replace(ROWS[0], completion=None, id="mine.jsonl:3")]
    with pytest.raises(UserError, match=r"mine\.jsonl:3 has no demonstration"):
        Demonstrations().draw(world(Demonstrations(), rows), 0)


def test_on_policy_groups_are_sampled_and_scored(world: Open) -> None:
    source = OnPolicy(group_size=3, max_completion_tokens=6)
    here = world(source, prompts_per_step=4)
    draw = source.draw(here, 0)
    assert draw.cursor == 4
    assert [len(group.rollouts) for group in draw.groups] == [3] * 4
    rollouts = [rollout for group in draw.groups for rollout in group.rollouts]
    for rollout in rollouts:
        assert rollout.reward == len(rollout.text) == rollout.scores["length"].value
        assert list(rollout.rewards) == [rollout.last]
        assert len(rollout.tokens) <= 6
        assert rollout.finished == (rollout.tokens[-1] in here.renderer.stop_tokens)
        assert rollout.text == here.renderer.decode(rollout.tokens)
        assert all(value <= 0 for value in rollout.behavior_logprobs)
    assert draw.sampled_tokens == sum(len(rollout.tokens) for rollout in rollouts)
    assert len({rollout.tokens for rollout in rollouts}) > 9
    assert draw.metrics["reward"] == pytest.approx(sum(len(r.text) for r in rollouts) / 12)
    assert draw.metrics["rewards/length/mean"] == draw.metrics["reward"]
    assert draw.metrics["groups_dropped"] == 0


def test_a_draw_is_a_function_of_seed_stage_and_cursor(world: Open) -> None:
    """Neither the engine's batch size nor what was drawn before changes it."""
    source = OnPolicy(group_size=3, max_completion_tokens=6)
    here = world(source, prompts_per_step=4)
    expected = drawn(source.draw(here, 4).groups)
    source.draw(here, 0)
    assert drawn(source.draw(here, 4).groups) == expected
    assert drawn(source.draw(world(source, prompts_per_step=4, max_rows=2), 4).groups) == expected
    assert drawn(source.draw(replace(here, seed=8), 4).groups) != expected
    assert drawn(source.draw(here, 14).groups) != expected


def test_larger_groups_begin_with_the_smaller_ones(world: Open) -> None:
    small, large = (OnPolicy(group_size=size, max_completion_tokens=6) for size in (2, 4))
    few = drawn(small.draw(world(small, prompts_per_step=2), 0).groups)
    many = drawn(large.draw(world(large, prompts_per_step=2), 0).groups)
    assert [(name, tokens[:2]) for name, tokens in many] == few


def test_the_keep_rule_drops_and_counts(world: Open) -> None:
    source = OnPolicy(group_size=2, max_completion_tokens=1, keep=informative)
    here = world(source, prompts_per_step=10)
    draw = source.draw(here, 0)
    whole = replace(source, keep=lambda group: True).draw(here, 0)
    assert len(whole.groups) == 10
    assert draw.metrics["groups_dropped"] == 10 - len(draw.groups) > 0
    assert all(group.informative for group in draw.groups)
    assert draw.metrics["reward"] == whole.metrics["reward"]
    assert draw.sampled_tokens == whole.sampled_tokens


LONG = Example("mine.jsonl:9", "9" * 200, completion="1")


@pytest.mark.parametrize("source", [Demonstrations(), OnPolicy(group_size=2, max_completion_tokens=6)], ids=str)
def test_rows_that_do_not_fit(world: Open, source: Any) -> None:
    """Skipped and counted, or an error by option; a task of nothing else is an error."""
    rows = [*ROWS[:4], LONG]
    draw = source.draw(world(source, rows, prompts_per_step=4), 0)
    assert len(draw.groups) == 4
    assert LONG.id not in {group.prompt.example.id for group in draw.groups}
    assert draw.metrics["prompts_too_long"] + (draw.cursor == 4) == 1
    with pytest.raises(UserError, match=r"mine\.jsonl:9 needs \d+ tokens"):
        source.draw(world(source, [LONG], prompts_per_step=4, long_prompts="error"), 0)
    with pytest.raises(UserError, match="every row of rows that was tried is too long"):
        source.draw(world(source, [LONG], prompts_per_step=4), 0)
    with pytest.raises(UserError, match="no training rows"):
        source.draw(world(source, []), 0)


def test_the_stop_token_of_the_template_reaches_the_engine(world: Open) -> None:
    """Otherwise every completion would be truncated."""
    source = OnPolicy(group_size=32, max_completion_tokens=40)
    here = world(source, prompts_per_step=2)
    assert not isinstance(here.engine, GeneralEngine)
    finished = [rollout.finished for group in source.draw(here, 0).groups for rollout in group.rollouts]
    assert any(finished)


def test_reward_metrics_by_hand(make_rollout: Callable[..., Rollout]) -> None:
    def group(*rewards: float | None) -> Group:
        rollouts = [make_rollout((5,), (6,), rewards={} if r is None else {0: r}) for r in rewards]
        return Group(rollouts[0].prompt, tuple(rollouts))

    found = reward_metrics([group(1.0, 0.0), group(0.5, 0.5, None)])
    assert found == pytest.approx({"reward": 0.5, "reward_std": 0.5**0.5 / 2, "frac_reward_zero_std": 0.5})
    assert reward_metrics([group(None, None)])["frac_reward_zero_std"] == 1.0
