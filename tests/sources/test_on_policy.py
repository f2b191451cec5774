"""Groups sampled from the policy: what is on them, which are kept, and what a draw depends on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from groupwise import BestAndWorst, OnPolicy, informative, mixed, recipes
from groupwise.engines.transformers_engine import TransformersEngine
from groupwise.learning.collate import signals_of
from groupwise.rewards import as_reward
from groupwise.sources import DrawContext, reward_metrics, with_steps
from groupwise.sources.reward_metrics import signal_of
from groupwise.training.stage import Stage, in_stage
from groupwise.types import Example, Group, Request, Rollout, Sampling, Score, flatten

Open = Callable[..., DrawContext]
Drawn = Callable[[Sequence[Group]], list[Any]]
SHORT = OnPolicy(group_size=2, max_completion_tokens=1)


def always_right(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1.0] * len(completions)


def digit_first(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(text[:1].isdigit()) for text in completions]


def test_on_policy_groups_are_sampled_and_scored(world: Open) -> None:
    source = OnPolicy(group_size=3, max_completion_tokens=6)
    here = world(source, prompts_per_step=4)
    draw = source.draw(here, {})
    assert draw.position["prompts"] == 4
    assert [len(group.rollouts) for group in draw.groups] == [3] * 4
    rollouts = [rollout for group in draw.groups for rollout in group.rollouts]
    for rollout in rollouts:
        assert rollout.reward == len(rollout.text) == rollout.scores["length"].value
        assert list(rollout.rewards) == [rollout.last]
        assert len(rollout.tokens) <= 6
        assert rollout.finished == (rollout.tokens[-1] in here.renderer.stop_tokens)
        assert rollout.text == here.renderer.decode(rollout.tokens)
        assert all(value <= 0 for value in rollout.behavior_logprobs)
        assert rollout.support is None
    assert draw.sampled_tokens == sum(len(rollout.tokens) for rollout in rollouts)
    assert len({rollout.tokens for rollout in rollouts}) > 9
    assert draw.metrics["reward"] == pytest.approx(sum(len(r.text) for r in rollouts) / 12)
    assert draw.metrics["rewards/length/mean"] == draw.metrics["reward"]
    assert draw.metrics["groups_dropped"] == 0
    assert {group.greedy_reward for group in draw.groups} == {None}
    assert set(draw.seconds) == {"sample", "reward"}


def test_a_draw_is_a_function_of_seed_stage_and_position(world: Open, drawn: Drawn) -> None:
    """Neither the engine's batch size nor what was drawn before changes it."""
    source = OnPolicy(group_size=3, max_completion_tokens=6)
    here = world(source, prompts_per_step=4)
    expected = drawn(source.draw(here, {"prompts": 4}).groups)
    source.draw(here, {})
    assert drawn(source.draw(here, {"prompts": 4}).groups) == expected
    assert drawn(source.draw(world(source, prompts_per_step=4, max_rows=2), {"prompts": 4}).groups) == expected
    assert drawn(source.draw(replace(here, seed=8), {"prompts": 4}).groups) != expected
    assert drawn(source.draw(here, {"prompts": 14}).groups) != expected


def test_larger_groups_begin_with_the_smaller_ones(world: Open, drawn: Drawn) -> None:
    one, few, many = (OnPolicy(group_size=size, max_completion_tokens=6) for size in (1, 2, 4))
    found = [drawn(source.draw(world(source, prompts_per_step=2), {}).groups) for source in (one, few, many)]
    for size, smaller in ((1, found[0]), (2, found[1])):
        assert [(name, tokens[:size]) for name, tokens in found[2]] == smaller


def test_groups_without_signal_are_dropped_and_counted(world: Open) -> None:
    source = replace(SHORT, without_signal="drop")
    here = world(source, prompts_per_step=10)
    draw, whole = source.draw(here, {}), SHORT.draw(here, {})
    assert len(whole.groups) == 10
    assert draw.metrics["groups_dropped"] == 10 - len(draw.groups) > 0
    assert all(group.informative for group in draw.groups)
    assert draw.metrics["reward"] == whole.metrics["reward"]
    assert (draw.sampled_tokens, draw.position["prompts"]) == (whole.sampled_tokens, 10)
    assert "sampling_rounds" not in draw.metrics


def test_a_redraw_goes_on_until_every_group_has_a_signal(world: Open, drawn: Drawn) -> None:
    """The groups are those of the stream, in its order, less those without signal; metrics tell of all."""
    plain = OnPolicy(group_size=2, max_completion_tokens=2)
    source = replace(plain, without_signal="redraw", most_rounds=50)
    here = world(source, prompts_per_step=5)
    draw = source.draw(here, {})
    assert len(draw.groups) == 5
    assert all(group.informative for group in draw.groups)
    assert draw.metrics["sampling_rounds"] > 1
    assert draw.metrics["groups_short"] == 0
    assert draw.metrics["groups_dropped"] == draw.position["prompts"] - 5 > 0
    stream = plain.draw(replace(here, prompts_per_step=draw.position["prompts"]), {})
    assert drawn(draw.groups) == drawn([group for group in stream.groups if group.informative])
    timed = {"rewards/length/seconds", "groups_dropped", "sampling_rounds", "groups_short"}
    assert {name: value for name, value in draw.metrics.items() if name not in timed} == pytest.approx(
        {name: value for name, value in stream.metrics.items() if name not in timed}
    )
    assert draw.sampled_tokens == stream.sampled_tokens


def test_a_redraw_is_bounded(world: Open) -> None:
    """A task on which every answer is right ends in an empty draw, not in a hang."""
    source = replace(SHORT, without_signal="redraw", most_rounds=3)
    draw = source.draw(world(source, prompts_per_step=4, rewards=(as_reward(always_right),)), {})
    assert draw.groups == []
    assert draw.position["prompts"] == 12
    assert draw.metrics["sampling_rounds"] == 3
    assert draw.metrics["groups_short"] == 4
    assert draw.metrics["groups_dropped"] == 12
    assert draw.metrics["reward"] == 1


def test_a_greedy_completion_beside_every_group(world: Open) -> None:
    """Scored by the same rewards, outside the group and its metrics, counted among the sampled tokens."""
    source = OnPolicy(group_size=2, max_completion_tokens=6)
    here = world(source, prompts_per_step=3)
    plain, draw = source.draw(here, {}), replace(source, greedy_baseline=True).draw(here, {})
    sampling = Sampling(6, 0.0, stop_tokens=here.renderer.stop_tokens)
    tokens = 0
    for group, before in zip(draw.groups, plain.groups, strict=True):
        ((_, _, greedy),) = here.engine.generate([Request(group.prompt.tokens, (1,))], sampling)
        tokens += len(greedy.tokens)
        assert group.greedy_reward == len(here.renderer.decode(greedy.tokens))
        assert group.rollouts == before.rollouts
    assert draw.sampled_tokens == plain.sampled_tokens + tokens
    assert draw.metrics["rewards/length/mean"] == plain.metrics["rewards/length/mean"]
    assert draw.metrics["reward_greedy"] == pytest.approx(sum(g.greedy_reward or 0 for g in draw.groups) / 3)


def test_the_narrowed_choice_stays_on_the_rollout(world: Open) -> None:
    source = OnPolicy(group_size=2, max_completion_tokens=5, top_k=3)
    for group in source.draw(world(source, prompts_per_step=2), {}).groups:
        for rollout in group.rollouts:
            assert rollout.support is not None
            assert len(rollout.support) == len(rollout.tokens)
            for token, left in zip(rollout.tokens, rollout.support, strict=True):
                assert token in left
                assert len(left) == 3


@pytest.mark.parametrize("narrowed", [{"min_p": 0.5}, {"top_p": 0.3}, {"top_k": 4, "min_p": 0.9}], ids=str)
def test_every_way_to_narrow_reaches_the_rollouts(world: Open, narrowed: dict[str, float]) -> None:
    """A token was drawn from a part of the vocabulary, and its log-probability is of that part."""
    source = OnPolicy(group_size=2, max_completion_tokens=5, **narrowed)  # type: ignore[arg-type]
    here = world(source, prompts_per_step=2)
    vocabulary = len(here.renderer.tokenizer)
    for rollout in flatten(source.draw(here, {}).groups):
        assert rollout.support is not None
        for logprob, left in zip(rollout.behavior_logprobs, rollout.support, strict=True):
            assert 1 <= len(left) < vocabulary
            assert (logprob == 0) == (len(left) == 1)


def test_a_task_without_rewards(world: Open) -> None:
    source = OnPolicy(group_size=1, max_completion_tokens=4)
    draw = source.draw(world(source, prompts_per_step=3, rewards=()), {})
    assert [group.rollouts[0].rewards for group in draw.groups] == [{}] * 3
    assert set(draw.metrics) == {"prompts_too_long", "groups_dropped"}


def test_pairs_of_the_policys_own_samples(world: Open) -> None:
    source = OnPolicy(group_size=4, max_completion_tokens=6, select=BestAndWorst())
    draw = source.draw(world(source, prompts_per_step=6), {})
    assert draw.metrics["pairs/kept"] == len(draw.groups) > 0
    assert draw.metrics["pairs/kept"] + draw.metrics["pairs/none"] == 6
    for group in draw.groups:
        chosen, rejected = (rollout.reward for rollout in group.rollouts)
        assert chosen is not None
        assert rejected is not None
        assert chosen > rejected


def test_the_stop_token_of_the_template_reaches_the_engine(world: Open) -> None:
    """Otherwise every completion would be truncated."""
    source = OnPolicy(group_size=32, max_completion_tokens=40)
    here = world(source, prompts_per_step=2)
    assert not isinstance(here.engine, TransformersEngine)
    finished = [rollout.finished for group in source.draw(here, {}).groups for rollout in group.rollouts]
    assert any(finished)


def test_mixed_reads_the_verdict_only(scored_group: Callable[..., Group]) -> None:
    def with_bonus(*attempts: tuple[float | None, float]) -> Group:
        group = scored_group(*[("", None if right is None else right + bonus) for right, bonus in attempts])
        verdicts = [None if right is None else right >= 1 for right, _ in attempts]
        rollouts = [replace(r, correct=v) for r, v in zip(group.rollouts, verdicts, strict=True)]
        return replace(group, rollouts=tuple(rollouts))

    same_answer = with_bonus((1.0, 0.0), (1.0, 0.5))
    assert informative(same_answer)
    assert not mixed(same_answer)
    assert not mixed(with_bonus((0.0, 0.0), (0.2, 1.5)))
    assert not mixed(with_bonus((1.0, 0.0), (None, 0.5)))
    assert mixed(with_bonus((1.0, -1.0), (0.0, 0.0)))
    assert mixed(with_bonus((1.0, 0.0), (-1.0, 0.0)))


def test_mixed_on_real_scores(world: Open, rows: tuple[Example, ...]) -> None:
    rewards = (
        as_reward(digit_first),
        as_reward(lambda completions, **columns: [len(t) / 100 for t in completions], name="bonus"),
    )
    source = OnPolicy(group_size=8, max_completion_tokens=2, without_signal="drop", signal=mixed)
    draw = source.draw(world(source, prompts_per_step=10, rewards=rewards), {})
    assert 0 < draw.metrics["groups_dropped"] < 10
    for group in draw.groups:
        assert len({rollout.text[:1].isdigit() for rollout in group.rollouts}) == 2


def test_reward_metrics_by_hand(make_rollout: Callable[..., Rollout]) -> None:
    def group(*rewards: float | None) -> Group:
        rollouts = [make_rollout((5,), (6,), rewards={} if r is None else {0: r}) for r in rewards]
        return Group(rollouts[0].prompt, tuple(rollouts))

    found = reward_metrics([group(1.0, 0.0), group(0.5, 0.5, None)])
    assert found == pytest.approx({"reward": 0.5, "reward_std": 0.5**0.5 / 2, "frac_reward_zero_std": 0.5})
    assert reward_metrics([group(None, None)])["frac_reward_zero_std"] == 1.0


TINY = (1e-200, 3e-200, 1e-200, 2e-200)
HUGE = (1e308, -1e308, 1e308, 1.7e308)


@pytest.mark.parametrize(
    ("rewards", "signal"),
    [
        ((0.1 + 0.2, 0.3), False),
        ((0.7 + 0.2 + 0.1, 1.0, None), False),
        ((1e17, 1e17 + 16), False),
        (TINY, True),
        (HUGE, True),
        ((0.0, 1e-200), True),
        ((1.0, None), False),
    ],
)
def test_rewards_that_differ_by_rounding_are_no_signal(
    make_rollout: Callable[..., Rollout], rewards: Sequence[float | None], signal: bool
) -> None:
    """Neither for what is dropped or redrawn, nor for a pair, nor for what the log says; nothing is infinite."""
    rollouts = [make_rollout((5,), (6,), rewards={} if r is None else {0: r}) for r in rewards]
    group = Group(rollouts[0].prompt, tuple(rollouts))
    found = reward_metrics([group])
    assert group.informative == informative(group) == signal
    assert len(BestAndWorst().select(group).groups) == signal
    assert found["frac_reward_zero_std"] == 1 - signal
    assert (found.get("reward_std", 0.0) > 0) == signal
    assert all(map(math.isfinite, found.values()))


def test_a_method_of_steps_sees_a_signal_in_steps(make_rollout: Callable[..., Rollout]) -> None:
    """Totals are alike and steps differ, or the other way round: what counts is what the advantage normalises."""

    def group(*steps: dict[int, float]) -> Group:
        rollouts = [make_rollout((5,), (6, 7, 8), rewards=scores) for scores in steps]
        return Group(rollouts[0].prompt, tuple(rollouts))

    alike_in_sum = group({0: 0.2, 2: 0.8}, {0: 0.6, 2: 0.4})
    alike_in_steps = group({0: 1.0}, {0: 1.0, 2: 1.0})
    for number, (process, outcome) in enumerate(((True, False), (False, True))):
        given = (alike_in_sum, alike_in_steps)[number]
        assert signal_of(recipes.grpo_process)(given) is process
        assert signal_of(recipes.grpo)(given) is outcome
        advantages = recipes.grpo_process.advantage.advantages(signals_of([given]))
        assert bool((advantages != 0).any()) is process
    assert not signal_of(recipes.grpo_process)(group({0: 0.1 + 0.2}, {0: 0.3}))
    stated = OnPolicy(without_signal="drop", signal=mixed)
    assert not stated.keeps(alike_in_sum, signal_of(recipes.grpo_process))  # what is stated counts alone
    assert replace(stated, signal=informative).keeps(alike_in_sum, signal_of(recipes.grpo_process))


def test_a_method_of_several_rewards_sees_a_signal_in_one_of_them(scored_group: Callable[..., Group]) -> None:
    """Three rewards whose sums are alike: each is normalised by itself, so the first completion is the better one."""
    rows = ((1.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.0, 1.0, 0.0))
    group = scored_group(*[("", sum(row)) for row in rows])
    parts = [{f"r{place}": Score(value) for place, value in enumerate(row)} for row in rows]
    group = replace(group, rollouts=tuple(replace(r, scores=s) for r, s in zip(group.rollouts, parts, strict=True)))
    assert not group.informative
    assert signal_of(recipes.gdpo)(group)
    signals = signals_of([group], {"r0": 1.0, "r1": 1.0, "r2": 1.0})
    assert bool((recipes.gdpo.advantage.advantages(signals) != 0).any())


@pytest.mark.parametrize("needed", [True, False])
def test_the_referee_is_asked_in_training_only_where_a_verdict_is_needed(world: Open, needed: bool) -> None:
    """Its score is a verdict and a metric; the reward that is learned from does not contain it."""
    pleased = as_reward(lambda completions, **columns: [0.25 for _ in completions], name="pleased", isolated=False)
    rule = as_reward(digit_first, name="rule")
    source = OnPolicy(group_size=8, max_completion_tokens=2)
    here = world(source, prompts_per_step=4, rewards=(pleased,))
    algorithm = replace(recipes.online_rft if needed else recipes.grpo, source=source)
    task = replace(here.task, referee=(rule,))
    draw = source.draw(in_stage(Stage("stage", algorithm, task, 3, 4), here), {})
    rollouts = flatten(draw.groups)
    assert {rollout.reward for rollout in rollouts} == {0.25}
    verdicts = [rollout.text[:1].isdigit() if needed else None for rollout in rollouts]
    assert [rollout.correct for rollout in rollouts] == verdicts
    assert ("rewards/rule/mean" in draw.metrics) == needed
    if needed:
        accepted = algorithm.advantage.advantages(signals_of(draw.groups)).max(dim=1).values
        assert accepted.tolist() == [float(bool(verdict)) for verdict in verdicts]
        assert 0 < sum(accepted.tolist()) < len(rollouts)


class Characters:
    """Each visible character is a step."""

    def ends(self, text: str) -> tuple[int, ...]:
        return tuple(end for end, character in enumerate(text, start=1) if not character.isspace())


def test_steps_are_found_where_tokens_are_made(world: Open) -> None:
    """With the task's segmentation; without one nobody looks. EOS and parts of characters show nothing."""
    source = replace(SHORT, max_completion_tokens=24)
    here = world(source, prompts_per_step=4)
    plain = flatten(source.draw(here, {}).groups)
    assert all(rollout.steps == () for rollout in plain)
    here = replace(here, task=replace(here.task, steps=Characters()))
    rollouts = flatten(source.draw(here, {}).groups)
    assert [replace(rollout, steps=()) for rollout in rollouts] == plain
    for rollout in rollouts:
        pieces = here.renderer.pieces(rollout.tokens)
        assert rollout.steps == tuple(place for place, piece in enumerate(pieces) if piece.strip())
        assert 0 < len(rollout.steps) <= len(rollout.text)
        assert with_steps(replace(rollout, steps=()), here.renderer, Characters()) == rollout
