from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.signatures import as_reward
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]
NUMBERS = (1, True, 0.5, numpy.float32(0.5), numpy.int64(2), numpy.bool_(True), torch.tensor(2.0))
NO_NUMBERS = ("1", [1.0], {"score": 1}, float("nan"), float("inf"), 10**400, 10**6000, 1j, object())
NO_SCALARS = (numpy.ones(2), torch.ones(2), torch.tensor(float("nan")))
CHAT = ({"role": "user", "content": "2+2="},)


def test_trl_gets_all_completions_at_once_with_ids_and_columns(rollout: Make) -> None:
    seen: dict[str, Any] = {}

    def correct(prompts, completions, completion_ids, level, **columns):  # type: ignore[no-untyped-def]
        columns = {name: values for name, values in columns.items() if isinstance(values, list)}
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, level=level, columns=columns)
        return [1.0, None]

    reward = as_reward(correct, isolated=False)
    scores = reward.score([rollout("4", level=1, source="a"), rollout("5", level=2, source="b", prompt="1+1=")])
    assert isinstance(reward, Reward)
    assert (reward.name, reward.weight) == ("correct", 1.0)
    assert [(score.value, score.status) for score in scores] == [(1.0, "scored"), (None, "not_applicable")]
    assert seen == {
        "prompts": ["2+2=", "1+1="],
        "completions": ["4", "5"],
        "ids": [[0, 1], [0, 1]],
        "level": [1, 2],
        "columns": {"source": ["a", "b"], "answer": ["4", "4"]},
    }


def test_trl_gets_messages_where_the_prompt_is_a_conversation(rollout: Make) -> None:
    def length(prompts, completions, **kwargs):  # type: ignore[no-untyped-def]
        assert prompts == [[{"role": "user", "content": "2+2="}]]
        assert [message["role"] for message in completions[0]] == ["assistant"]
        return [len(completions[0][0]["content"])]

    assert as_reward(length).score([rollout("four", prompt=CHAT)])[0].value == 4.0


def test_trl_may_be_asynchronous_even_where_a_loop_runs(rollout: Make) -> None:
    async def slow(completions, **kwargs):  # type: ignore[no-untyped-def]
        await asyncio.sleep(0)
        return [len(text) for text in completions]

    async def notebook() -> float | None:
        return as_reward(slow).score([rollout("abc")])[0].value

    assert as_reward(slow).score([rollout("abc")])[0].value == 3.0
    assert asyncio.run(notebook()) == 3.0


def test_one_by_one_asynchronous_rewards_run_side_by_side(rollout: Make) -> None:
    waiting = 0

    async def judge(completion: str) -> float:
        nonlocal waiting
        waiting += 1
        while waiting < 3:
            await asyncio.sleep(0)
        return float(completion)

    assert [score.value for score in as_reward(judge).score([rollout(text) for text in "123"])] == [1.0, 2.0, 3.0]


def test_verls_compute_score_works_as_it_is(rollout: Make) -> None:
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):  # type: ignore[no-untyped-def]
        assert extra_info == {"index": 3}
        return {"score": float(solution_str == ground_truth), "acc": data_source == "openai/gsm8k"}

    verl = {"data_source": "openai/gsm8k", "reward_model": {"ground_truth": "9"}, "extra_info": {"index": 3}}
    scores = as_reward(compute_score).score([rollout("9", **verl), rollout("4", **verl)])
    assert [score.value for score in scores] == [1.0, 0.0]


def test_verls_ground_truth_is_the_answer_where_the_row_is_not_verls(rollout: Make) -> None:
    def compute_score(data_source, solution_str, ground_truth):  # type: ignore[no-untyped-def]
        return data_source == "" and solution_str == ground_truth

    assert as_reward(compute_score).score([rollout("4")])[0].value == 1.0


def test_the_simple_form_takes_any_subset_by_name(rollout: Make) -> None:
    example = rollout("four", level=3)
    functions: dict[Any, float] = {
        (lambda completion: len(completion)): 4.0,
        (lambda completion, answer: completion == answer): 0.0,
        (lambda prompt, tokens, finished: len(prompt) + len(tokens) + finished): 7.0,
        (lambda answer, level, missing=5: int(answer) + level + missing): 12.0,
        functools.partial(lambda completion, scale: len(completion) * scale, scale=2): 8.0,
    }
    assert {function: as_reward(function).score([example])[0].value for function in functions} == functions
    assert as_reward(lambda completion: 0).name == "lambda"
    assert as_reward(len_of := (lambda completion: 0), name="zero", weight=0.5).score([]) == []
    assert as_reward(len_of, name="zero", weight=0.5).weight == 0.5


@pytest.mark.parametrize("value", NUMBERS)
def test_every_kind_of_number_is_one(value: Any, rollout: Make) -> None:
    (score,) = as_reward(lambda completion: value, name="r").score([rollout()])
    assert type(score.value) is float
    assert score.value == float(value)


def test_an_array_of_one_number_is_one(rollout: Make) -> None:
    found = [
        as_reward(lambda completion, value=value: value, name="r").score([rollout()])[0].value
        for value in (numpy.array([0.25]), numpy.array([[3]]), torch.ones(1))
    ]
    assert found == [0.25, 3.0, 1.0]


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("value", NO_NUMBERS + NO_SCALARS, ids=lambda value: type(value).__name__)
def test_what_is_no_finite_number_has_failed_and_says_why(value: Any, isolated: bool, rollout: Make) -> None:
    (score,) = as_reward(lambda completion: value, name="mine", isolated=isolated).score([rollout()])
    assert (score.value, score.status) == (None, "failed")
    assert re.search(r"^returned .* \(\w+\); expected a finite number, a bool or None$", score.reason)
    first, second = as_reward(lambda completions: [1.0, value], isolated=isolated).score([rollout(), rollout()])
    assert (first, second) == (Score(1.0), Score(None, "failed"))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "returned 1 values for 2 completions; expected one for each"),
        ([1.0] * 3, "returned 3 values for 2 completions"),
        (1.0, r"returned 1\.0 \(float\) for 2 completions; expected a list"),
        ("ab", r"returned 'ab' \(str\)"),
        (None, r"returned None \(NoneType\)"),
        ({0: 1.0, 1: 2.0}, r"\(dict\)"),
    ],
)
def test_a_batch_reward_returns_one_value_a_completion(returned: Any, message: str, rollout: Make) -> None:
    scores = as_reward(lambda prompts, completions: returned, name="batch").score([rollout(), rollout()])
    assert scores == [Score(None, "failed")] * 2
    assert re.search(message, scores[1].reason)


@pytest.mark.parametrize("returned", [(1, 0), numpy.array([1.0, 0.0]), torch.tensor([1.0, 0.0])])
def test_a_batch_reward_may_return_a_tuple_or_an_array(returned: Any, rollout: Make) -> None:
    scores = as_reward(lambda completions: returned, name="batch").score([rollout(), rollout()])
    assert [score.value for score in scores] == [1.0, 0.0]


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("error", [ValueError("two\nlines"), SystemExit(3), RecursionError(), KeyError("x")])
def test_a_reward_that_raises_has_failed_on_that_completion_alone(
    error: BaseException, isolated: bool, rollout: Make
) -> None:
    def breaks(completion: str) -> float:
        if completion == "bad":
            raise error
        return 1.0

    good, bad, other = as_reward(breaks, isolated=isolated).score([rollout("a"), rollout("bad"), rollout("b")])
    assert (good, bad, other) == (Score(1.0), Score(None, "failed"), Score(1.0))
    assert re.search(rf"^raised {type(error).__name__}: .* at .*test_signatures\.py:\d+$", bad.reason)


def test_the_line_is_the_users_not_a_librarys(rollout: Make) -> None:
    def parses(completion: str) -> float:
        import json

        return float(json.loads(completion))

    line = parses.__code__.co_firstlineno + 3
    (score,) = as_reward(parses).score([rollout("{")])
    assert re.search(rf"raised JSONDecodeError: .* at .*test_signatures\.py:{line}$", score.reason)


def test_a_column_that_the_row_lacks_is_named_beside_those_it_has(rollout: Make) -> None:
    rows = [rollout(level=1), rollout(source="x", id="train.jsonl:2")]
    for function in (lambda completions, level: [0, 0], lambda completion, level: 0):
        with pytest.raises(UserError, match=r"train\.jsonl:2: reward 'r' asks for 'level'.*it has source"):
            as_reward(function, name="r").score(rows)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: 0,
        lambda: 0,
        lambda *args: 0,
        lambda **columns: 0,
        lambda completion, completions: 0,
        lambda completion, /: 0,
    ],
)
def test_parameters_that_fit_no_form_are_refused_with_the_forms(function: Any) -> None:
    with pytest.raises(UserError, match=r"TRL's f\(prompts.*verl's f\(data_source.*f\(completion, answer\)"):
        as_reward(function)


def test_what_is_no_function_is_refused_and_a_reward_is_kept() -> None:
    reward = as_reward(lambda completion: 0)
    assert as_reward(reward) is reward
    with pytest.raises(UserError, match="must be a function, not 3"):
        as_reward(3)  # type: ignore[arg-type]


def test_a_reward_that_changes_its_inputs_changes_nothing_of_ours(rollout: Make) -> None:
    def vandal(prompts, completions, completion_ids, tests):  # type: ignore[no-untyped-def]
        for values in (prompts[0], completions[0], completion_ids[0], tests[0]):
            values.clear()
        prompts.clear()
        return [1.0]

    row = rollout("4", prompt=CHAT, tests=["a", "b"])
    as_reward(vandal).score([row])
    assert row == rollout("4", prompt=({"role": "user", "content": "2+2="},), tests=["a", "b"])
