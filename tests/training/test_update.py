"""From groups to a gradient: the same as autograd of the loss written out by hand, however the work is split."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import (
    KL,
    Aggregation,
    Algorithm,
    ClippedRatio,
    ConstantLength,
    Entropy,
    GroupTokenMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
)
from groupwise.learners.local import LocalLearner
from groupwise.learning.collate import signals_of
from groupwise.learning.record import StepRecord
from groupwise.learning.tally import mismatch
from groupwise.learning.train_batch import TrainBatch
from groupwise.tasks.task import Task
from groupwise.training.adaptive import Controls
from groupwise.training.stage import Stage
from groupwise.training.update import minibatches, prepare, update
from groupwise.types import Group, Rollout, flatten

pytestmark = pytest.mark.usefixtures("exact_norms")
Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]
TEMPERATURE = 1.0


def stage_of(algorithm: Algorithm, **options: Any) -> Stage:
    return Stage("stage", algorithm, Task("task", train=()), **({"steps": 4, "learning_rate": 1e-2} | options))


def moved(learner: LocalLearner) -> LocalLearner:
    """With a reference that is no longer the policy, so that the KL term has a gradient."""
    learner.start_stage(reference="")
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype))
    return learner


def gradient(
    learner: LocalLearner, algorithm: Algorithm, groups: Sequence[Group], old_shift: float = 0.0
) -> dict[str, Tensor]:
    """Of J, through the parts: prepare, accumulate, tally. ``old_shift`` moves π_old away from π_θ."""
    rollouts = flatten(groups)
    signals = prepare(stage_of(algorithm), learner, groups)
    if old_shift:
        signals = replace(signals, old_logprobs=old_of(learner, rollouts, old_shift))
    learner.model.zero_grad()
    tally = learner.accumulate(TrainBatch.of(algorithm, rollouts, signals), algorithm)
    return collected(learner, tally.count)


def collected(learner: LocalLearner, count: float) -> dict[str, Tensor]:
    """The gradient of what is maximised; that of what was minimised is what the parameters hold."""
    return {name: p.grad / -count for name, p in learner.model.named_parameters() if p.grad is not None}


def old_of(learner: LocalLearner, rollouts: Sequence[Rollout], shift: float) -> Tensor:
    """An anchor off by ``shift`` up and down in turn: ratios on both sides of the clip."""
    logprobs = learner.logprobs(rollouts, TEMPERATURE)
    signs = torch.tensor([1.0, -1.0, 0.3, -0.1]).double().repeat(logprobs.shape[1])[: logprobs.shape[1]]
    return torch.where(logprobs != 0, logprobs + shift * signs, 0.0)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-10) -> None:
    """Relative to the largest entry of each parameter's gradient."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        assert float((found[name] - value).abs().max()) <= relative * scale, name
    assert max(float(value.abs().max()) for value in expected.values()) > 1e-6


def row_logprobs(model: Any, rollout: Rollout) -> Tensor:
    """``[sampled tokens]`` of one rollout, alone and unpadded, from the model's own logits."""
    ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
    table = model(ids).logits[0, len(rollout.prompt.tokens) - 1 : -1].log_softmax(-1)
    return table.gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0][torch.tensor(rollout.mask)]


def test_the_gradient_is_that_of_the_loss_written_by_hand(open_learner: Open, random_groups: RandomGroups) -> None:
    """DeepSeekMath eq. 3 with π_old ≠ π_θ, in plain torch, one sequence at a time."""
    learner, groups, shift = moved(open_learner(dtype="float64")), random_groups(), 0.4
    found = gradient(learner, recipes.grpo, groups, old_shift=shift)

    old = old_of(learner, flatten(groups), shift)
    assert learner._reference is not None
    reference, model = learner._reference.model, learner.model
    objective, row = torch.zeros((), dtype=torch.float64), 0
    model.zero_grad()
    for group in groups:
        rewards = torch.tensor([rollout.reward for rollout in group.rollouts], dtype=torch.float64)
        advantages = (rewards - rewards.mean()) / rewards.std()
        for rollout, advantage in zip(group.rollouts, advantages, strict=True):
            mask = torch.tensor(rollout.mask)
            logprobs = row_logprobs(model, rollout)
            ratio = (logprobs - old[row, : len(mask)][mask]).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            x = (row_logprobs(reference, rollout).detach() - logprobs).exp()
            objective = objective + (surrogate - 0.04 * (x - x.log() - 1)).mean()
            row += 1
    objective.backward()  # undivided, as the learner does it: the norms of transformers round to float32 on the way
    assert_same(found, collected(learner, -row))


def test_supervised_gradient_is_that_of_the_mean_log_likelihood(
    open_learner: Open, random_groups: RandomGroups
) -> None:
    learner, groups = open_learner(dtype="float64"), random_groups(groups=4, size=1)
    found = gradient(learner, recipes.sft, groups)
    learner.model.zero_grad()
    rollouts = flatten(groups)
    torch.stack([row_logprobs(learner.model, rollout).mean() for rollout in rollouts]).sum().backward()
    assert_same(found, collected(learner, -len(rollouts)))


ALGORITHMS = {
    "sequence mean": recipes.grpo,
    "token mean": replace(recipes.grpo, aggregation=TokenMean(), objective=ClippedRatio(0.2, 0.28)),
    "group token mean": replace(recipes.grpo, aggregation=GroupTokenMean(), kl=KL(0.1, weight="live")),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_micro_batches_and_padding_change_nothing(open_learner: Open, random_groups: RandomGroups, name: str) -> None:
    """Every row alone and unpadded; a few; all in one rectangle as wide as the longest."""
    groups, algorithm = random_groups(), ALGORITHMS[name]
    whole = gradient(moved(open_learner(dtype="float64")), algorithm, groups, old_shift=0.4)
    for budget in (1, 25, 60):
        learner = moved(open_learner(dtype="float64", tokens_per_micro_batch=budget))
        assert_same(gradient(learner, algorithm, groups, old_shift=0.4), whole)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_order_changes_nothing(open_learner: Open, random_groups: RandomGroups, name: str) -> None:
    groups, learner = random_groups(), moved(open_learner(dtype="float64", tokens_per_micro_batch=60))
    shuffled = [replace(group, rollouts=group.rollouts[1:] + group.rollouts[:1]) for group in groups[::-1]]
    straight = gradient(learner, ALGORITHMS[name], groups)
    assert_same(gradient(learner, ALGORITHMS[name], shuffled), straight)


def conversations(make_rollout: Callable[..., Rollout]) -> list[Group]:
    """Two groups of three episodes with one to four turns, and rewards at turns' ends."""
    draw, groups = random.Random(5), []
    for _ in range(2):
        prompt, rollouts = draw.choices(range(2, 97), k=draw.randint(2, 5)), []
        for turns in draw.choices(range(1, 5), k=3):
            mask: list[bool] = []
            for turn in range(turns):
                mask += [False] * draw.randint(1, 4) * (turn > 0) + [True] * draw.randint(1, 5)
            rewards = {len(mask) - 1: draw.random(), mask.index(True): draw.random()}
            rollouts.append(make_rollout(prompt, draw.choices(range(2, 97), k=len(mask)), mask, rewards=rewards))
        groups.append(Group(rollouts[0].prompt, tuple(replace(each, prompt=rollouts[0].prompt) for each in rollouts)))
    return groups


@pytest.mark.parametrize("name", ALGORITHMS)
def test_turns_are_learned_alike_in_any_micro_batches_and_order(
    open_learner: Open, make_rollout: Callable[..., Rollout], name: str
) -> None:
    groups, algorithm = conversations(make_rollout), ALGORITHMS[name]
    whole = gradient(moved(open_learner(dtype="float64")), algorithm, groups)
    shuffled = [replace(group, rollouts=group.rollouts[1:] + group.rollouts[:1]) for group in groups[::-1]]
    for budget in (1, 25, 60):
        learner = moved(open_learner(dtype="float64", tokens_per_micro_batch=budget))
        assert_same(gradient(learner, algorithm, groups), whole)
        assert_same(gradient(learner, algorithm, shuffled), whole)


def test_an_episode_is_its_turns_each_behind_its_prefix(
    open_learner: Open, make_rollout: Callable[..., Rollout]
) -> None:
    algorithm, learner = replace(recipes.sft, aggregation=TokenMean()), open_learner(dtype="float64")
    groups = conversations(make_rollout)
    apart: list[Group] = []
    for each in flatten(groups):
        start = 0
        for own, run in itertools.groupby(each.mask):
            end = start + len(list(run))
            if own:
                turn = make_rollout((*each.prompt.tokens, *each.tokens[:start]), each.tokens[start:end])
                apart.append(Group(turn.prompt, (turn,)))
            start = end
    assert len(apart) > 6
    assert_same(gradient(learner, algorithm, apart), gradient(learner, algorithm, groups))


def test_a_longer_neighbour_changes_nothing(
    open_learner: Open, random_groups: RandomGroups, make_rollout: Callable[..., Rollout]
) -> None:
    """A row without a reward, far longer than the others, pads them all; under a token mean it adds only its count."""
    algorithm = replace(recipes.grpo, aggregation=TokenMean(), kl=KL(0.0))
    learner, groups = open_learner(dtype="float64"), random_groups()
    long = make_rollout((5, 6, 7), range(10, 90))
    before = gradient(learner, algorithm, groups)
    after = gradient(learner, algorithm, [*groups, Group(long.prompt, (long,))])
    tokens = sum(sum(rollout.mask) for rollout in flatten(groups))
    assert_same({name: value * (tokens + 80) / tokens for name, value in after.items()}, before)


def test_minibatches_hold_whole_groups(open_learner: Open, random_groups: RandomGroups) -> None:
    """As many optimiser updates as minibatches times epochs, each divided by its own count."""
    learner, groups = open_learner(), random_groups(groups=4)
    stage = stage_of(recipes.grpo, minibatches=2, epochs=3)
    learner.start_stage(reference="")
    record, metrics = update(stage, learner, groups, prepare(stage, learner, groups), step=0, seed=0)
    assert learner.version == 6
    assert metrics["skipped_updates"] == 0
    assert record.step == 1
    assert metrics["learning_rate"] == pytest.approx(1e-2)
    assert record.coefficients.shape == record.signals.mask.shape
    assert (record.coefficients[~record.signals.mask] == 0).all()


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8), parts=st.integers(1, 8), seed=st.integers(0, 99))
def test_minibatches_partition_the_rows(sizes: list[int], parts: int, seed: int) -> None:
    group = [number for number, size in enumerate(sizes) for _ in range(size)]
    found = minibatches(group, parts, random.Random(seed))
    assert sorted(row for rows in found for row in rows) == list(range(len(group)))
    assert len(found) == min(parts, len(sizes))
    owners = [{group[row] for row in rows} for rows in found]
    assert sum(len(owner) for owner in owners) == len(sizes)
    assert max(map(len, owners)) - min(map(len, owners)) <= 1


def test_one_update_a_draw_is_on_policy(open_learner: Open, random_groups: RandomGroups) -> None:
    """Without old log-probabilities the ratio is 1, nothing is clipped, and the recorded GC is A_i/(B·|o_i|)."""
    learner, groups = open_learner(dtype="float64"), random_groups()
    stage = stage_of(replace(recipes.grpo, kl=KL(0.0)))
    signals = prepare(stage, learner, groups)
    assert signals.old_logprobs is None
    record, metrics = update(stage, learner, groups, signals, step=0, seed=0)
    assert metrics["clip_ratio/low_mean"] == metrics["clip_ratio/high_mean"] == 0
    assert signals.advantages is not None
    lengths = signals.mask.sum(dim=1, keepdim=True)
    expected = signals.advantages / (len(signals.mask) * lengths)
    torch.testing.assert_close(record.coefficients.double(), expected, atol=1e-7, rtol=1e-5)


def test_metrics_are_means_over_tokens(open_learner: Open, make_rollout: Callable[..., Rollout]) -> None:
    """The gap between engine and learner, the entropy and the KL, each over the sampled tokens of the draw."""
    learner = open_learner()
    rollouts = tuple(make_rollout((5, 6), (7, 8, 9)[: 2 + index], rewards={0: float(index)}) for index in range(2))
    groups = [Group(rollouts[0].prompt, rollouts)]
    learner.start_stage(reference="")
    stage = stage_of(recipes.grpo)
    logprobs = learner.logprobs(rollouts, 1.0)
    _, metrics = update(stage, learner, groups, prepare(stage, learner, groups), step=0, seed=0)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert metrics["engine_learner_gap"] == pytest.approx(float((logprobs + 1.0).abs()[mask].mean()), rel=1e-5)
    assert metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert 0 < metrics["entropy"] < torch.tensor(261.0).log()
    assert metrics["loss"] == pytest.approx(-metrics["objective"])


def test_signals_of_ragged_rollouts(make_rollout: Callable[..., Rollout]) -> None:
    first = make_rollout(
        (5,), (6, 7, 8), mask=(True, False, True), behavior=(-0.1, 0.0, -0.3), rewards={0: 0.5, 2: 1.0}
    )
    second = make_rollout((5,), (6,), behavior=(-0.4,), rewards={0: 0.0})
    third = make_rollout((9,), (6, 7))
    signals = signals_of([Group(first.prompt, (first, second)), Group(third.prompt, (third,))])
    assert signals.mask.tolist() == [[True, False, True], [True, False, False], [True, True, False]]
    assert signals.group.tolist() == [0, 0, 1]
    assert signals.rewards.tolist() == [[0.5, 0, 1.0], [0, 0, 0], [0, 0, 0]]
    assert signals.scored.tolist() == [True, True, False]
    assert signals.outcome.tolist() == [1.5, 0, 0]
    assert signals.behavior_logprobs is not None
    assert signals.behavior_logprobs[0].tolist() == [-0.1, 0.0, -0.3]


@pytest.mark.parametrize(("factor", "moves"), [(0.0, False), (5.0, True)])
def test_the_critic_has_a_learning_rate_of_its_own(
    open_learner: Open, random_groups: RandomGroups, factor: float, moves: bool
) -> None:
    """Its factor times the stage's; 0 leaves its values where they began, while the policy learns."""
    critic = replace(recipes.ppo.critic, learning_rate_factor=factor)
    stage = stage_of(replace(recipes.ppo, critic=critic))
    learner, groups = open_learner(), random_groups()
    learner.start_stage("", "own")
    before = learner.logprobs(flatten(groups), TEMPERATURE)
    update(stage, learner, groups, prepare(stage, learner, groups), step=0, seed=0)
    assert bool(learner.values(flatten(groups)).any()) == moves
    assert not torch.equal(learner.logprobs(flatten(groups), TEMPERATURE), before)


def truncated(groups: Sequence[Group], prompts: set[int]) -> list[Group]:
    """The same, with every completion of some prompts cut off."""
    return [
        replace(group, rollouts=tuple(replace(rollout, finished=number not in prompts) for rollout in group.rollouts))
        for number, group in enumerate(groups)
    ]


@pytest.mark.parametrize(
    "aggregation",
    [
        TokenMean(),
        SequenceMean(),
        SequenceMean(count_empty=False),
        GroupTokenMean(),
        ConstantLength(8.0),
        SequenceSum(),
    ],
    ids=repr,
)
def test_an_update_with_nothing_to_learn_from_is_counted_and_not_made(
    open_learner: Open, random_groups: RandomGroups, aggregation: Aggregation
) -> None:
    """Every completion of one minibatch is masked: the update of the other one is made, with its own numbers alone."""
    algorithm = replace(recipes.grpo, aggregation=aggregation, truncated="mask", kl=KL(0.0))
    groups = random_groups(groups=2)
    draws = [truncated(groups, prompts) for prompts in (set(), {0}, {0, 1})]
    plan = stage_of(algorithm, minibatches=2)
    learners = [open_learner() for _ in draws]
    for learner in learners:
        learner.start_stage(None)
    found = [
        update(plan, learner, draw, prepare(plan, learner, draw), 0, 0)
        for learner, draw in zip(learners, draws, strict=True)
    ]
    assert [metrics.get("empty_updates") for _, metrics in found] == [None, 1.0, 2.0]
    assert [learner.version for learner in learners] == [2, 1, 0]
    (record, metrics), (nothing, none) = found[1:]
    assert not record.coefficients[: len(groups[0].rollouts)].any()
    assert record.coefficients[len(groups[0].rollouts) :].any()
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    assert none == {"learning_rate": 1e-2, "skipped_updates": 0.0, "empty_updates": 2.0}
    assert not nothing.bad
    said = learners[2].logprobs(flatten(groups), algorithm.source.temperature)
    torch.testing.assert_close(nothing.logprobs, said, rtol=1e-5, atol=1e-5)  # the ledger shows what the policy says
    fresh = open_learner()
    for name, tensor in learners[2].weights():
        assert torch.equal(tensor, dict(fresh.weights())[name]), name


def test_adaptive_coefficients_stay_where_nothing_was_learned_from(random_groups: RandomGroups) -> None:
    algorithm = replace(recipes.grpo, kl=KL(0.1, target=0.1), entropy=Entropy(0.01, target=2.0))
    groups = random_groups(groups=1)
    record = StepRecord.empty(groups, signals_of(groups), 0)
    assert Controls(0.3, 0.2).after(algorithm, record, {"empty_updates": 1.0}) == Controls(0.3, 0.2)


def test_a_failed_greedy_baseline_costs_its_group_and_not_the_draw(random_groups: RandomGroups) -> None:
    groups = [
        replace(group, greedy_reward=reward) for group, reward in zip(random_groups(), (1.0, None, 2.0), strict=True)
    ]
    signals = replace(recipes.remax, kl=KL(0.0)).prepare(signals_of(groups))
    assert signals.advantages is not None
    with_signal = signals.advantages.abs().sum(dim=1) > 0
    assert not with_signal[signals.group == 1].any()
    assert with_signal[signals.group != 1].any()
    nobody = [replace(group, greedy_reward=None) for group in groups]
    found = replace(recipes.remax, kl=KL(0.0)).prepare(signals_of(nobody)).advantages
    assert found is not None
    assert not found.any()


def test_the_mismatch_of_engine_and_learner_by_hand() -> None:
    """Ratios 2 and ½ on sampled tokens; a masked token counts nowhere."""
    engine = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64)
    learner = engine + torch.tensor([[2.0, 0.5, 9.0]], dtype=torch.float64).log()
    found = mismatch(learner, engine, torch.tensor([[True, True, False]]))
    log = math.log(2)
    assert float(found["engine_learner_gap"]) == pytest.approx(2 * log)
    assert float(found["engine_learner_kl"]) == pytest.approx((2 - 1 - log) + (0.5 - 1 + log))
    assert float(found["engine_learner_chi2"]) == pytest.approx(1 + 0.25)
