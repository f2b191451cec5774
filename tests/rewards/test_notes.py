"""What a reward may ask for beside the row (TRL's names), what it may say beside its value, and how that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from groupwise.errors import UserError
from groupwise.rewards.cache import Cached
from groupwise.rewards.scoring import score_metrics, score_rollouts
from groupwise.rewards.signatures import as_reward
from groupwise.types import Rollout, TrainerState

Make = Callable[..., Rollout]
EARLY, LATE = TrainerState(2, 10, 0.5, 3), TrainerState(9, 10, 2.25, 3)


@pytest.mark.parametrize("isolated", [True, False])
def test_trls_three_are_handed_in_by_name(isolated: bool, rollout: Make) -> None:
    def f(completions, trainer_state, log_extra, log_metric, **columns):  # type: ignore[no-untyped-def]
        log_extra("length", [len(text) for text in completions])
        log_metric("share", trainer_state.global_step / trainer_state.max_steps)
        return [trainer_state.epoch] * len(completions)

    scores = as_reward(f, isolated=isolated).score_at([rollout("a"), rollout("abc")], LATE)
    assert [score.value for score in scores] == [2.25, 2.25]
    assert [score.extras for score in scores] == [{"length": 1}, {"length": 3}]
    assert [score.logged for score in scores] == [{"share": 0.9}] * 2
    assert all(score.dated for score in scores)
    assert score_metrics("f", scores, 0.0)["rewards/f/share"] == 0.9


def test_trls_further_keywords_hold_them_and_optional_ones_are_given(rollout: Make) -> None:
    def of_keywords(completions, **kwargs):  # type: ignore[no-untyped-def]
        kwargs["log_metric"]("x", 1)
        return [kwargs["trainer_state"].global_step] * len(completions)

    def optional(completions, log_extra=None, log_metric=None, **kwargs):  # type: ignore[no-untyped-def]
        assert log_extra
        assert log_metric
        return [1.0]

    assert as_reward(of_keywords).score_at([rollout()], EARLY)[0].value == 2.0
    assert as_reward(optional).score([rollout()])[0].status == "scored"


@pytest.mark.parametrize(
    "function",
    [
        lambda completion, trainer_state: trainer_state.global_step,
        lambda solution_str, ground_truth, trainer_state: trainer_state.global_step,
        lambda queries, prompts, labels, trainer_state: [trainer_state.global_step] * len(queries),
    ],
)
def test_every_form_may_ask(function: Callable[..., Any], rollout: Make) -> None:
    assert [score.value for score in as_reward(function).score_at([rollout(), rollout()], EARLY)] == [2.0, 2.0]


def test_each_of_several_asynchronous_calls_has_notes_of_its_own(rollout: Make) -> None:
    async def f(completion, log_extra, log_metric):  # type: ignore[no-untyped-def]
        log_extra("said", completion)
        await asyncio.sleep(0)
        log_metric("length", len(completion))
        return 1

    scores = as_reward(f).score([rollout("a"), rollout("bb")])
    assert [(score.extras, score.logged) for score in scores] == [
        ({"said": "a"}, {"length": 1.0}),
        ({"said": "bb"}, {"length": 2.0}),
    ]
    assert score_metrics("f", scores, 0.0)["rewards/f/length"] == 1.5


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda extra, metric: extra("x", [1]), "1 values for 2 completions"),
        (lambda extra, metric: extra("x", 1), "a list of 2 values"),
        (lambda extra, metric: metric("x", float("nan")), "expected a finite number"),
        (lambda extra, metric: metric("x", "much"), "expected a finite number"),
        (lambda extra, metric: metric("mean", 1.0), "a metric of that name"),
    ],
)
def test_what_cannot_be_logged_is_the_functions_own_fault_and_says_why(
    call: Callable[..., None], reason: str, rollout: Make
) -> None:
    def f(completions, log_extra, log_metric):  # type: ignore[no-untyped-def]
        call(log_extra, log_metric)
        return [1.0, 1.0]

    for score in as_reward(f).score([rollout(), rollout()]):
        assert score.status == "failed"
        assert reason in score.reason


def test_an_unknown_field_of_the_state_is_named_with_those_there_are(rollout: Make) -> None:
    (score,) = as_reward(lambda completion, trainer_state: trainer_state.total_flos).score([rollout()])
    assert "trainer_state has no total_flos; it has global_step, max_steps, epoch" in score.reason


def test_verls_other_keys_are_metrics_where_they_are_numbers_and_extras_all(rollout: Make) -> None:
    def compute_score(data_source, solution_str, ground_truth):  # type: ignore[no-untyped-def]
        right = solution_str == ground_truth
        return {"score": right - 0.1, "acc": right, "pred": solution_str, "n": numpy.int64(3), "mean": 5.0}

    scores = as_reward(compute_score).score([rollout("4"), rollout("5")])
    assert [score.extras for score in scores] == [
        {"acc": True, "pred": "4", "n": 3, "mean": 5.0},
        {"acc": False, "pred": "5", "n": 3, "mean": 5.0},
    ]
    metrics = score_metrics("r", scores, 0.0)
    assert (metrics["rewards/r/acc"], metrics["rewards/r/n"]) == (0.5, 3.0)
    assert metrics["rewards/r/mean"] == pytest.approx(0.4)
    assert "rewards/r/pred" not in metrics


@pytest.mark.parametrize("returned", [[1.0, 0.0], torch.tensor([1.0, 0.0])])
def test_openrlhfs_function_works_as_it_is(returned: Any, rollout: Make) -> None:
    seen: dict[str, Any] = {}

    def reward_func(queries, prompts, labels):  # type: ignore[no-untyped-def]
        seen.update(queries=queries, prompts=prompts, labels=labels)
        return {"rewards": returned, "scores": returned, "extra_logs": {"hit": returned, "k": 7}}

    reward = as_reward(reward_func, isolated=False)
    scores = reward.score([rollout("4", prompt="2+2="), rollout("5", answer="6", label="five")])
    assert seen == {"queries": ["2+2=4", "2+2=5"], "prompts": ["2+2=", "2+2="], "labels": ["4", "five"]}
    assert [score.value for score in scores] == [1.0, 0.0]
    assert [score.extras for score in scores] == [{"hit": 1.0}, {"hit": 0.0}]
    assert scores[0].logged == {"hit": 0.5, "k": 7.0}
    plain = as_reward(lambda queries, prompts, labels: returned).score([rollout(), rollout()])
    assert [score.value for score in plain] == [1.0, 0.0]
    chat = ({"role": "user", "content": "2+2="},)
    as_reward(reward_func, isolated=False).score([rollout("4", prompt=chat), rollout("4", prompt=chat)])
    assert seen["queries"][0] == seen["prompts"][0] + "4" == "2+2=\n4"


def test_the_error_for_other_parameters_names_all_four_forms() -> None:
    with pytest.raises(UserError, match=r"TRL's .* OpenRLHF's f\(queries, prompts, labels\) .* verl's .* or f\("):
        as_reward(lambda question, reply: 1.0)


def test_a_score_that_looked_at_the_state_is_not_kept_and_one_that_did_not_is(rollout: Make, tmp_path: Path) -> None:
    calls: list[str] = []

    def f(completion, trainer_state):  # type: ignore[no-untyped-def]
        calls.append(completion)
        return trainer_state.global_step if completion == "late" else 0.5

    reward = Cached(as_reward(f, isolated=False), tmp_path / "cache.sqlite")
    rows = [rollout("late"), rollout("plain")]
    values = [[score.value for score in reward.score_at(rows, state)] for state in (EARLY, LATE, EARLY)]
    assert values == [[2.0, 0.5], [9.0, 0.5], [2.0, 0.5]]
    assert calls == ["late", "plain", "late", "late"]


def test_what_stands_beside_a_value_is_kept_with_it(rollout: Make, tmp_path: Path) -> None:
    def compute_score(data_source, solution_str, ground_truth):  # type: ignore[no-untyped-def]
        return {"score": 1.0, "acc": 0.25, "pred": solution_str}

    reward = Cached(as_reward(compute_score), tmp_path / "cache.sqlite")
    first, again = (reward.score([rollout("4")])[0] for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert again.logged == first.logged == {"acc": 0.25}
    assert again.extras == first.extras == {"acc": 0.25, "pred": "4"}


def test_outside_a_training_it_is_over(rollout: Make) -> None:
    """A share of the way is then 1, and nothing is divided by 0."""
    strict = as_reward(lambda completion, trainer_state: trainer_state.global_step / trainer_state.max_steps)
    scored, _ = score_rollouts([rollout()], [strict])
    assert scored[0].scores["lambda"].value == 1.0
