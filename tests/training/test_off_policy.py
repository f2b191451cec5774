"""Completions that another policy drew: who is off-policy is said by their versions, and what weighs them by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import (
    KL,
    Accepted,
    Algorithm,
    Constant,
    GeometricReject,
    LogLikelihood,
    OffPolicySequenceMask,
    TeacherGap,
    TruncateMismatch,
)
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.runs.recipe import validate
from groupwise.sinks import Sinks
from groupwise.sources import AllRollouts, BestAndWorst, FrozenPolicy
from groupwise.tasks.task import Task
from groupwise.training.metrics import policy_metrics, staleness
from groupwise.training.stage import Stage
from groupwise.training.update import prepare, update
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Example, Group, Rollout

Open = Callable[..., LocalLearner]
Make = Callable[..., Rollout]
PLAIN = replace(recipes.grpo, kl=KL(0.0))
FROZEN = FrozenPolicy(samples_per_prompt=4, sampling_temperature=1.0, max_completion_tokens=6, select=AllRollouts())
SHIFTS = {2: (0.1, -0.05), 3: (0.5, -0.5, 0.0)}  # log π_θ - log π_sampler of each token, by the number of tokens


def stage_of(algorithm: Algorithm, **options: Any) -> Stage:
    return Stage("stage", algorithm, Task("task", train=()), **({"steps": 4, "learning_rate": 1e-2} | options))


def drawn(learner: LocalLearner, make: Make, *versions: int) -> list[Group]:
    """Two completions of one prompt, rewards 0 and 1, whose sampler was off by ``SHIFTS``."""
    rows = [make((5, 6), (7, 8), rewards={1: 0.0}), make((5, 6), (9, 7, 8), rewards={2: 1.0})]
    said = learner.logprobs(rows, 1.0).double()
    done = []
    for number, (row, version) in enumerate(zip(rows, versions, strict=True)):
        shifts = SHIFTS[len(row.tokens)]
        behavior = [float(said[number, place]) - shift for place, shift in enumerate(shifts)]
        done.append(replace(row, behavior_logprobs=tuple(behavior), version=version, correct=True))
    return [Group(done[0].prompt, tuple(done))]


def coefficients(learner: LocalLearner, algorithm: Algorithm, groups: list[Group], **options: Any) -> list[list[float]]:
    stage = stage_of(algorithm, **options)
    record, _ = update(stage, learner, groups, prepare(stage, learner, groups), step=0, seed=0)
    return record.coefficients.double().tolist()


A = math.sqrt(0.5)  # of rewards 0 and 1 with Bessel's correction


def test_the_ratio_to_the_sampler_is_the_weight_and_is_clipped(open_learner: Open, make_rollout: Make) -> None:
    """Row 0 has A = -0.7071 in two tokens, row 1 A = 0.7071 in three: e^0.5 is above the clip, e^-0.5 is kept (min)."""
    learner = open_learner(dtype="float64")
    found = coefficients(learner, PLAIN, drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY))
    expected = [
        [-A * math.exp(0.1) / 4, -A * math.exp(-0.05) / 4, 0.0],
        [0.0, A * math.exp(-0.5) / 6, A / 6],
    ]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("version", [ANOTHER_POLICY, -7, 3])
def test_each_row_is_weighed_by_its_own_version(version: int, open_learner: Open, make_rollout: Make) -> None:
    """The learner is at version 0: row 0 is its own, with ratio 1 whatever rounding the engine had."""
    learner = open_learner(dtype="float64")
    found = coefficients(learner, PLAIN, drawn(learner, make_rollout, 0, version))
    expected = [[-A / 4, -A / 4, 0.0], [0.0, A * math.exp(-0.5) / 6, A / 6]]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


def test_what_the_learner_drew_has_ratio_1_and_asks_no_forward_pass(open_learner: Open, make_rollout: Make) -> None:
    learner = open_learner(dtype="float64")
    groups = drawn(learner, make_rollout, 0, 0)
    assert prepare(stage_of(PLAIN), learner, groups).old_logprobs is None
    found = coefficients(learner, PLAIN, groups)
    expected = [[-A / 4, -A / 4, 0.0], [A / 6] * 3]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


def test_a_draw_that_is_learned_from_later_is_another_policys(open_learner: Open, make_rollout: Make) -> None:
    """The same completions after an update: nothing of their source was asked."""
    learner = open_learner(dtype="float64")
    groups = drawn(learner, make_rollout, 0, 0)
    coefficients(learner, PLAIN, groups)
    assert learner.version == 1
    signals = prepare(stage_of(PLAIN), learner, groups)
    assert signals.off_policy is not None
    assert torch.equal(signals.off_policy, signals.mask)
    torch.testing.assert_close(signals.old_logprobs, signals.behavior_logprobs)


def test_each_token_is_weighed_by_its_own_version(open_learner: Open, make_rollout: Make) -> None:
    """Row 1 was begun by version 1 of a learner that now stands at 3: only its first token has a weight, e^0.5, which
    the clip leaves without gradient; the two that the present weights drew have ratio 1. So has row 0."""
    learner = open_learner(dtype="float64")
    learner.version = 3
    [group] = drawn(learner, make_rollout, 3, 1)
    mixed = replace(group.rollouts[1], versions=((1, 1), (3, 3)))
    groups = [replace(group, rollouts=(group.rollouts[0], mixed))]
    signals = prepare(stage_of(PLAIN), learner, groups)
    assert signals.off_policy is not None
    assert signals.off_policy.tolist() == [[False] * 3, [True, False, False]]
    found = coefficients(learner, PLAIN, groups)
    expected = [[-A / 4, -A / 4, 0.0], [0.0, A / 6, A / 6]]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("objective", [PLAIN.objective, LogLikelihood()], ids=["ratio", "no ratio"])
def test_a_correction_weighs_them_around_an_anchor_of_now(
    objective: Any, open_learner: Open, make_rollout: Make
) -> None:
    """π_old is the learner before the update, so the ratio is 1, and min(ρ, 1.2) the weight: e^0.5 is cut to 1.2."""
    learner = open_learner(dtype="float64")
    algorithm = replace(PLAIN, correction=TruncateMismatch(cap=1.2), objective=objective)
    found = coefficients(learner, algorithm, drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY))
    expected = [
        [-A * math.exp(0.1) / 4, -A * math.exp(-0.05) / 4, 0.0],
        [A * 1.2 / 6, A * math.exp(-0.5) / 6, A / 6],
    ]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


def test_a_mask_on_the_sampler_leaves_the_weight_to_the_ratio(open_learner: Open, make_rollout: Make) -> None:
    """OffPolicySequenceMask drops rows and weighs none; row 0 has gone 0.025 nats a token, which a delta of 1 keeps."""
    learner = open_learner(dtype="float64")
    groups = drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY)
    masked = coefficients(learner, replace(PLAIN, correction=OffPolicySequenceMask(delta=1.0)), groups)
    assert masked == coefficients(open_learner(dtype="float64"), PLAIN, groups)
    geometric = replace(PLAIN, correction=GeometricReject(0.9, 1.01))
    kept = torch.tensor(coefficients(open_learner(dtype="float64"), geometric, groups))
    assert (kept[0] == 0).all()  # e^0.025 is more than 1.01
    assert (kept[1] != 0).all()  # the mean of 0.5, -0.5 and 0 is 0, and the anchor's ratio is 1


def test_the_penalty_in_the_reward_is_that_of_the_policy_as_it_is(open_learner: Open, make_rollout: Make) -> None:
    """The reference is the policy itself, so that the penalty is 0 whatever the sampler was."""
    learner = open_learner(dtype="float64")
    learner.start_stage(reference="")
    groups = drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY)
    penalised = replace(PLAIN, kl=KL(1.0, "k1", place="reward"))
    found, plain = (prepare(stage_of(each), learner, groups) for each in (penalised, PLAIN))
    torch.testing.assert_close(found.advantages, plain.advantages)
    torch.testing.assert_close(found.old_logprobs, plain.old_logprobs)


def test_demonstrations_have_no_sampler_to_correct_for(open_learner: Open, make_rollout: Make) -> None:
    learner = open_learner(dtype="float64")
    algorithm = replace(recipes.rft, correction=TruncateMismatch())
    groups = drawn(learner, make_rollout, ANOTHER_POLICY, DEMONSTRATED)
    found = coefficients(learner, algorithm, groups)
    assert found[1] == pytest.approx([found[1][0]] * 3)
    assert found[0][0] / found[0][1] == pytest.approx(math.exp(0.15))


@pytest.mark.parametrize("recipe", [recipes.rft, recipes.sft], ids=["rft", "sft"])
def test_what_is_copied_has_no_weight(recipe: Algorithm, open_learner: Open, make_rollout: Make) -> None:
    learner = open_learner(dtype="float64")
    groups = drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY)
    assert prepare(stage_of(recipe), learner, groups).old_logprobs is None
    rows = [[value for value in row if value] for row in coefficients(learner, recipe, groups)]
    assert [row == pytest.approx([row[0]] * len(row)) for row in rows] == [True, True]


def test_pairs_of_a_frozen_policy_are_learned_as_pairs(open_learner: Open, make_rollout: Make) -> None:
    """DPO's gradient at π_θ = π_ref is σ(0) β, over the pair, whoever drew it."""
    learner = open_learner(dtype="float64")
    learner.start_stage(reference="")
    [group] = drawn(learner, make_rollout, ANOTHER_POLICY, ANOTHER_POLICY)
    groups = [Group(group.prompt, group.rollouts[::-1])]
    stage = stage_of(recipes.dpo)
    signals = prepare(stage, learner, groups)
    own = prepare(stage, learner, [Group(group.prompt, tuple(replace(r, version=0) for r in groups[0].rollouts))])
    assert signals.old_logprobs is own.old_logprobs is None
    record, _ = update(stage, learner, groups, signals, step=0, seed=0)
    expected = [[0.5, 0.5, 0.5], [-0.5, -0.5, 0.0]]
    found = record.coefficients / record.coefficients[0, 0] * 0.5
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-4)


# Before a run starts


def recipe(algorithm: Algorithm, **plan: Any) -> gw.Run:
    stage = Stage("train", algorithm, gw.tasks.stepwise(level=1), **({"steps": 3} | plan))
    return gw.Run("mine", gw.NewModel(), (stage,))


REFUSED: dict[str, Algorithm] = {
    "rloo": recipes.rloo,
    "remax without its baseline": replace(recipes.reinforce_plus_plus, objective=LogLikelihood()),
    "likelihood": replace(PLAIN, objective=LogLikelihood()),
    "a mask alone": replace(PLAIN, objective=LogLikelihood(), correction=OffPolicySequenceMask()),
    "a teacher": replace(recipes.on_policy_distillation, advantage=TeacherGap(), objective=LogLikelihood()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_weight_at_all_is_refused_by_name(name: str, open_learner: Open, make_rollout: Make) -> None:
    algorithm = replace(REFUSED[name], source=FROZEN)
    with pytest.raises(UserError, match=r"FrozenPolicy draws completions of another policy.*TruncateMismatch"):
        validate(recipe(algorithm))
    learner = open_learner()
    with pytest.raises(UserError, match=r"1 of 2 completions were drawn by another policy.*OnPolicy\(\)"):
        prepare(stage_of(algorithm), learner, drawn(learner, make_rollout, 0, 3))


ACCEPTED: dict[str, Algorithm] = {
    "rft": replace(recipes.rft, source=FROZEN),
    "right ones": replace(recipes.online_rft, source=FROZEN),
    "dpo": replace(recipes.dpo, source=replace(FROZEN, select=BestAndWorst())),
    "weighed": replace(PLAIN, objective=LogLikelihood(), correction=TruncateMismatch(), source=FROZEN),
    "constant": replace(recipes.sft, advantage=Constant(), source=FROZEN),
    "accepted": replace(recipes.sft, advantage=Accepted(), source=FROZEN),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_others_pass_in_silence(name: str) -> None:
    assert not [line for line in validate(recipe(ACCEPTED[name])) if "another policy" in line]


def test_a_ratio_that_weighs_is_named() -> None:
    [said] = [line for line in validate(recipe(replace(PLAIN, source=FROZEN))) if "another policy" in line]
    assert "π_old is that sampler" in said
    weighed = replace(PLAIN, source=FROZEN, correction=TruncateMismatch())
    [said] = [line for line in validate(recipe(weighed)) if "another policy" in line]
    assert "the correction is their importance weight" in said
    assert not [line for line in validate(recipe(weighed)) if "never apply" in line or "correction is 1" in line]


# Metrics


def test_metrics_follow_versions(open_learner: Open, make_rollout: Make) -> None:
    """The gap between engine and learner is of the learner's own tokens alone: 0.1 and 0.05 of row 0."""
    learner = open_learner(dtype="float64")
    stage, groups = stage_of(PLAIN), drawn(learner, make_rollout, 0, ANOTHER_POLICY)
    signals = prepare(stage, learner, groups)
    told = policy_metrics(stage, 0, groups[0].rollouts, signals)
    assert (told["staleness"], told["off_policy_ratio"]) == (0.0, 0.5)
    _, metrics = update(stage, learner, groups, signals, step=0, seed=0)
    assert metrics["engine_learner_gap"] == pytest.approx(0.075, rel=1e-5)
    half = math.exp(0.5) - 1 - 0.5 + math.exp(-0.5) - 1 + 0.5
    assert metrics["off_policy_kl"] == pytest.approx(half / 3, rel=1e-5)  # of row 1: 0.5, -0.5 and 0

    old = [replace(rollout, version=-3) for rollout in groups[0].rollouts]
    assert policy_metrics(stage, 1, groups[0].rollouts, signals)["off_policy_ratio"] == 1.0
    assert policy_metrics(stage, 1, old[:1], signals)["staleness"] == 4.0
    foreign = [Group(groups[0].prompt, tuple(replace(r, version=ANOTHER_POLICY) for r in old))]
    told = policy_metrics(stage, 0, foreign[0].rollouts, signals)
    assert "staleness" not in told
    _, metrics = update(stage, learner, foreign, prepare(stage, learner, foreign), step=0, seed=0)
    assert "engine_learner_gap" not in metrics
    shown = [replace(rollout, version=DEMONSTRATED) for rollout in old]
    assert policy_metrics(stage, 0, shown, signals) == {}


def test_metrics_count_tokens_by_their_versions(open_learner: Open, make_rollout: Make) -> None:
    """Of five tokens three are the learner's own, of version 4: gaps 0.1, 0.05 and 0; one is two updates old, with 0.5,
    and one a single update, with -0.5."""
    learner = open_learner(dtype="float64")
    learner.version = 4
    [group] = drawn(learner, make_rollout, 4, 2)
    mixed = replace(group.rollouts[1], versions=((2, 1), (3, 2), (4, 3)))
    groups = [replace(group, rollouts=(group.rollouts[0], mixed))]
    stage = stage_of(PLAIN)
    signals = prepare(stage, learner, groups)
    told = policy_metrics(stage, 4, groups[0].rollouts, signals)
    assert (told["staleness"], told["staleness/mean"], told["off_policy_ratio"]) == (2.0, 3 / 5, 0.5)
    _, metrics = update(stage, learner, groups, signals, step=0, seed=0)
    assert metrics["engine_learner_gap"] == pytest.approx(0.15 / 3, rel=1e-5)
    assert told["mixed_versions_ratio"] == 3 / 5
    assert metrics["policy_drift/max"] == pytest.approx(0.5, rel=1e-5)
    assert metrics["policy_drift"] == pytest.approx((math.exp(0.5) - 1.5 + math.exp(-0.5) - 0.5) / 2, rel=1e-5)
    masked = replace(mixed, mask=(False, True, True))
    assert staleness(4, [masked]) == {"staleness": 2.0, "staleness/mean": 1 / 2, "mixed_versions_ratio": 1.0}


# A run


class Heard(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.rows: list[dict[str, float]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append(dict(values))


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


def test_a_run_on_samples_of_another_model(tmp_path: Path) -> None:
    """The first model's samples, after a stage has moved the policy: versions that are equal by chance count for
    nothing, and the clip is at work at the first update."""
    rows = tuple(Example(f"row:{number}", "abcdefgh"[number], completion="aa") for number in range(8))
    small = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    plan: dict[str, Any] = {"prompts_per_step": 8, "learning_rate": 2e-2, "checkpoint_every": 0}
    grpo = replace(PLAIN, source=replace(FROZEN, models=("first",)))
    heard = Heard()
    stages = (
        Stage("sft", recipes.sft, Task("rows", rows), steps=5, **plan),
        Stage("train", grpo, Task("rows", rows, (gw.as_reward(odd, isolated=False),)), steps=2, **plan),
    )
    gw.run(
        gw.Run("mine", small, stages, learner=gw.Local(device="cpu", threads=1), evaluation=gw.HeldOut(problems=4)),
        tmp_path / "run",
        sinks=[heard],
    )
    first = heard.rows[5]
    assert first["off_policy_ratio"] == 1.0
    assert first["clip_ratio/low_mean"] + first["clip_ratio/high_mean"] > 0.05
    assert not {"staleness", "engine_learner_gap"} & set(first)
    assert any("π_old is that sampler" in note for note in heard.notes)
