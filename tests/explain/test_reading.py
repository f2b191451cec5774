"""Cases from JSON: what is read, and the one line that says what is wrong and where."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.explain import case_from, read_case

GOOD: dict[str, Any] = {
    "groups": [
        [
            {"reward": 1, "logprobs": [-0.5, -1.0], "step_rewards": [[0, 0.5], [1, 1.0]], "truncated": True},
            {"reward": None, "logprobs": [-0.25], "mask": [True]},
        ]
    ],
    "greedy_rewards": [0.5],
}


def test_a_good_case() -> None:
    case = case_from(GOOD)
    first, second = case.groups[0]
    assert (first.reward, first.scored, first.truncated, first.step_rewards) == (1.0, True, True, {0: 0.5, 1: 1.0})
    assert (second.reward, second.scored, second.step_rewards) == (None, False, None)
    assert case.greedy_rewards == [0.5]
    assert [where for where, _ in case.rows()] == ["case: group 0, response 0", "case: group 0, response 1"]


def test_several_rewards_and_their_sum() -> None:
    parts = [{"answer": 1.0, "format": 0.5}, {"answer": None, "format": 0.5}, {"answer": None, "format": None}]
    group = [{"logprobs": [-1.0], "rewards": rewards} for rewards in parts]
    case = case_from({"groups": [group], "reward_weights": {"format": 2.0}})
    assert case.reward_weights == {"answer": 1.0, "format": 2.0}
    assert [response.reward for response in case.groups[0]] == [2.0, 1.0, None]
    assert [response.scored for response in case.groups[0]] == [True, True, False]


def changed(path: tuple[Any, ...], value: Any) -> Any:
    data = copy.deepcopy(GOOD)
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return data


FIRST = ("groups", 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"case is \[\]; expected an object with groups"),
        ({}, "groups is nothing; expected a list"),
        ({"groups": []}, "groups is empty"),
        ({"groups": [[]]}, "group 0 is empty"),
        ({"group": []}, "unknown key 'group': perhaps you meant groups"),
        (changed(("groups", 0), {}), r"group 0 is \{\}; expected a list"),
        (changed(FIRST, 3), "group 0, response 0 is 3; expected an object"),
        (changed((*FIRST, "logprob"), []), "response 0: unknown key 'logprob': perhaps you meant logprobs"),
        (changed(FIRST, {"reward": 1.0}), "response 0 has no logprobs"),
        (changed((*FIRST, "logprobs"), []), "logprobs is empty"),
        (changed((*FIRST, "logprobs"), "abc"), 'logprobs is "abc"; expected a list'),
        (changed((*FIRST, "logprobs"), [-1.0, True]), r"logprobs\[1\] is true; expected a number"),
        (changed((*FIRST, "logprobs"), [-1.0, float("nan")]), r"logprobs\[1\] is NaN; expected a finite number"),
        (changed((*FIRST, "logprobs"), [-1.0, -(10**400)]), r"logprobs\[1\] is -1000.*expected a finite number"),
        (changed((*FIRST, "logprobs"), [-1.0, 0.5]), r"logprobs\[1\] is 0.5, a probability above 1"),
        (changed((*FIRST, "old_logprobs"), [-1.0]), "response 0: old_logprobs has 1 numbers, logprobs 2"),
        (changed((*FIRST, "reward"), "good"), 'reward is "good"; expected a number'),
        (changed((*FIRST, "truncated"), 1), "truncated is 1; expected true or false"),
        (changed((*FIRST, "mask"), [True]), "mask has 1 entries, logprobs 2"),
        (changed((*FIRST, "mask"), [False, False]), "mask leaves no token"),
        (changed((*FIRST, "tokens"), [1]), r"tokens: \[1\]; expected 2 token ids, one for each of logprobs"),
        (changed((*FIRST, "tokens"), [1, "a"]), r"tokens: \[1, .*expected 2 token ids"),
        (changed((*FIRST, "tokens"), [1, -2]), "expected 2 token ids"),
        (changed((*FIRST, "tokens"), "ab"), 'tokens is "ab"; expected a list'),
        (changed((*FIRST, "mask"), [True, False]), r"step_rewards\[1\] ends at token 1, which the mask leaves out"),
        (changed((*FIRST, "step_rewards"), [[2, 1.0]]), "ends at token 2; expected 0 to 1"),
        (changed((*FIRST, "step_rewards"), [[-1, 1.0]]), "ends at token -1; expected 0 to 1"),
        (changed((*FIRST, "step_rewards"), [[1, 1.0], [0, 1.0]]), "ends at token 0, after one that ends at 1"),
        (changed((*FIRST, "step_rewards"), [[0.5, 1.0]]), r"is \[0.5, 1.0\]; expected \[end_index, score\]"),
        (changed((*FIRST, "step_rewards"), [[0, None]]), "score is nothing; expected a number"),
        (changed(("greedy_rewards",), [1.0, 2.0]), "greedy_rewards has 2 numbers for 1 groups"),
        (changed((*FIRST, "rewards"), [1.0]), r"rewards is \[1.0\]; expected an object"),
        (changed((*FIRST, "rewards"), {"a": 1.0}), "response 1: rewards has no 'a'"),
        (changed(("reward_weights",), {"a": 1.0}), "reward_weights names 'a'"),
    ],
)
def test_what_is_wrong_and_where(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        case_from(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"groups": [\n  [}', r"case.json:2:4: not valid JSON"),
        ('{"groups": [], "groups": []}', "'groups' stands twice"),
        ("[" * 200_000, "not usable JSON"),
        ("", "not valid JSON"),
    ],
)
def test_what_is_no_json(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_case(tmp_path / "case.json")


def test_what_is_no_text_file(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path, tmp_path / "case.json"):
        with pytest.raises(UserError, match="cannot be read as text"):
            read_case(path)


def test_a_byte_order_mark_and_rounding_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(json.dumps(changed((*FIRST, "logprobs"), [1e-12, -1])), encoding="utf-8-sig")
    assert read_case(tmp_path / "case.json").groups[0][0].logprobs == [1e-12, -1.0]
