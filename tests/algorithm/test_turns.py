"""Credit turn by turn: hand-made turns, what two plain loops of the same formulas say, and the gradient counted out."""

from __future__ import annotations

import importlib
import json
import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import AnchorStates, GroupRelative, Signals, TurnToGo
from groupwise.algorithm.turns import Turns

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / "benchmarks" / "turn_credit.py"
Row = dict[str, Any]
"""``mask``, a string of 0 and 1; ``rewards`` by token; ``tokens``; ``group``."""


def signals(rows: list[Row]) -> Signals:
    width = max(len(row["mask"]) for row in rows)

    def table(values: list[list[float]], dtype: torch.dtype) -> Tensor:
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in values], dtype=dtype)

    rewards = [[row["rewards"].get(place, 0.0) for place in range(width)] for row in rows]
    rewarded = [[place in row["rewards"] for place in range(width)] for row in rows]
    return Signals(
        mask=table([[int(sign) for sign in row["mask"]] for row in rows], torch.bool),
        tokens=table([row.get("tokens", [7] * len(row["mask"])) for row in rows], torch.int64),
        group=torch.tensor([row.get("group", 0) for row in rows]),
        rewards=table(rewards, torch.float64),
        rewarded=table(rewarded, torch.bool),
        finished=torch.ones(len(rows), dtype=torch.bool),
    )


def test_turns_are_runs_of_sampled_tokens() -> None:
    turns = Turns.of(signals([{"mask": "0110011", "rewards": {}}, {"mask": "1", "rewards": {}}]).mask)
    assert turns.number[0].tolist() == [-1, 0, 0, 0, 0, 1, 1]
    assert turns.reached.tolist() == [[True, True], [True, False]]
    rewards = torch.tensor([[9.0, 0, 1, 2, 0, 0, 4], [3.0, 0, 0, 0, 0, 0, 0]])
    assert turns.returns(rewards).tolist() == [[7.0, 4.0], [3.0, 0.0]]  # what was heard before the first is nobody's
    assert turns.returns(rewards, 0.5).tolist() == [[5.0, 4.0], [3.0, 0.0]]


THREE: list[Row] = [
    {"mask": "11011", "rewards": {1: 0.5, 4: 1.0}},  # to come: 1.5, 1
    {"mask": "1001", "rewards": {0: 0.0, 3: 0.25}},  # 0.25, 0.25
    {"mask": "111", "rewards": {2: 0.5}},  # 0.5
]


def test_each_turn_against_the_others_that_reached_it() -> None:
    """1.5 - 0.375, 0.25 - 1, 0.5 - 0.875; 1 - 0.25, 0.25 - 1."""
    found = TurnToGo().advantages(signals(THREE))
    assert found.tolist() == [
        [1.125, 1.125, 0.0, 0.75, 0.75],
        [-0.75, 0.0, 0.0, -0.75, 0.0],
        [-0.375, -0.375, -0.375, 0.0, 0.0],
    ]


def test_a_turn_that_nobody_else_reached_has_no_baseline() -> None:
    """Nor has one whose others have no reward; these have no advantage, and are nobody's baseline."""
    alone = signals([{"mask": "101", "rewards": {2: 2.0}}, {"mask": "1", "rewards": {0: 1.0}}])
    assert TurnToGo().advantages(alone).tolist() == [[1.0, 0.0, 2.0], [-1.0, 0.0, 0.0]]
    unscored = signals([*THREE, {"mask": "10101", "rewards": {}}])
    found = TurnToGo().advantages(unscored)
    assert torch.equal(found[:3], TurnToGo().advantages(signals(THREE)))
    assert not found[3].any()
    assert TurnToGo().advantages(signals([{"mask": "11", "rewards": {1: 2.0}}])).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("advantage", [TurnToGo(), AnchorStates(), AnchorStates(scale="none", state="history")])
def test_degenerate_groups_have_exactly_0(advantage: Any) -> None:
    """All unscored; all equal but for rounding; a row without a sampled token; no row at all."""
    assert not advantage.advantages(signals([{"mask": "101", "rewards": {}}] * 3)).any()
    equal = [{"mask": "101", "rewards": {2: value}} for value in (0.1 + 0.2, 0.3, 0.3)]
    assert not advantage.advantages(signals(equal)).any()
    silent = signals([*THREE, {"mask": "000", "rewards": {1: 5.0}}])
    found = advantage.advantages(silent)
    assert torch.isfinite(found).all()
    assert not found[3].any()
    none = silent.rows(torch.zeros(0, dtype=torch.int64))
    assert advantage.advantages(none).shape == (0, 5)


@pytest.mark.parametrize("size", [1e-200, 1e-12, 1.0, 1e12, 1e200, 1e308])
def test_numbers_of_any_size(size: float) -> None:
    rows = [{**row, "rewards": {at: value * size for at, value in row["rewards"].items()}} for row in THREE]
    expected = TurnToGo().advantages(signals(THREE)) * size
    torch.testing.assert_close(TurnToGo().advantages(signals(rows)), expected, rtol=1e-12, atol=0.0)
    scaled = AnchorStates().advantages(signals(rows))
    torch.testing.assert_close(scaled, AnchorStates().advantages(signals(THREE)), rtol=1e-9, atol=1e-12)


def test_with_one_turn_each_it_is_leave_one_out(worked: Any) -> None:
    found = TurnToGo().advantages(worked.signals)
    expected = GroupRelative("none", baseline="others").advantages(worked.signals)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


STATES: list[Row] = [
    {"mask": "1010010", "tokens": [5, 8, 5, 9, 9, 5, 1], "rewards": {5: 1.0}},  # heard: prompt, 8, 9 9
    {"mask": "10010", "tokens": [5, 9, 9, 5, 1], "rewards": {3: 0.0}},  # prompt, 9 9
    {"mask": "10101", "tokens": [6, 8, 6, 8, 6], "rewards": {4: 0.5}},  # prompt, 8, 8: one state twice
]


def test_turns_of_one_state_are_a_group() -> None:
    """γ = ½, differences only. Returns of the prompt: ¼, 0, ⅛ (mean ⅛); of 8: ½, ¼, ½ (5/12); of 9 9: 1, 0 (½).
    Episodes: 1, 0, ½ (mean ½)."""
    found = AnchorStates(gamma=0.5, scale="none", weight=2.0).advantages(signals(STATES))
    eighth, state = 0.125, 5 / 12
    expected = [
        [0.5 + 2 * eighth, 0, 0.5 + 2 * (0.5 - state), 0, 0, 0.5 + 2 * 0.5, 0],
        [-0.5 - 2 * eighth, 0, 0, -0.5 - 2 * 0.5, 0, 0, 0],
        [0.0, 0, 2 * (0.25 - state), 0, 2 * (0.5 - state), 0, 0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_all_that_was_before_may_be_the_state() -> None:
    """Then 8 behind 5 and 8 behind 6 are two states, each met once; 9 9 is one behind 5 8 5 and another behind 5."""
    found = AnchorStates(gamma=0.5, scale="none", state="history").advantages(signals(STATES))
    episode_alone = [0.5, -0.5, 0.0]
    assert [row[2] for row in found.tolist()][0::2] == pytest.approx(episode_alone[0::2], abs=1e-12)
    assert float(found[0, 0]) == pytest.approx(0.5 + 0.125, abs=1e-12)  # the prompt is still one


def test_other_groups_have_other_states() -> None:
    two = [*STATES, *({**row, "group": 1} for row in STATES)]
    found = AnchorStates().advantages(signals(two))
    torch.testing.assert_close(found[:3], found[3:], rtol=0, atol=0)


def test_states_need_the_ids_of_what_was_heard() -> None:
    with pytest.raises(ValueError, match="ids of all tokens"):
        AnchorStates().advantages(replace(signals(STATES), tokens=None))
    single = signals([{"mask": "11", "rewards": {1: 1.0}}, {"mask": "1", "rewards": {0: 0.0}}])
    once, twice = (AnchorStates(weight=w).advantages(replace(single, tokens=None)) for w in (0.0, 1.0))
    torch.testing.assert_close(twice, 2 * once)  # the prompt is the one state


# Two loops over plain numbers, as one would write the formulas down.


def runs(mask: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer("1+", mask)]


def to_come(row: Row, gamma: float = 1.0) -> list[float]:
    begins = [begin for begin, _ in runs(row["mask"])] + [len(row["mask"])]
    of_turn = [sum(v for at, v in row["rewards"].items() if a <= at < b) for a, b in pairwise(begins)]
    found: list[float] = []
    for reward in reversed(of_turn):
        found.insert(0, reward + gamma * (found[0] if found else 0.0))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def z(value: float, values: list[float]) -> float:
    if max(values) - min(values) <= 1e-9 * max(map(abs, values)):
        return 0.0
    middle = mean(values)
    return (value - middle) / (sum((x - middle) ** 2 for x in values) / (len(values) - 1)) ** 0.5


def plain_turn_to_go(rows: list[Row]) -> list[list[float]]:
    found = []
    for row in rows:
        line = [0.0] * len(row["mask"])
        for k, (begin, end) in enumerate(runs(row["mask"])):
            others = [to_come(o) for o in rows if o is not row and o["group"] == row["group"] and o["rewards"]]
            there = [values[k] for values in others if len(values) > k]
            value = to_come(row)[k] - (mean(there) if there else 0.0) if row["rewards"] else 0.0
            line[begin:end] = [value] * (end - begin)
        found.append(line)
    return found


def plain_states(rows: list[Row], gamma: float) -> list[list[float]]:
    met: dict[Any, list[float]] = defaultdict(list)
    keys = []
    for row in rows:
        spans, own = runs(row["mask"]), []
        for k, (begin, _) in enumerate(spans):
            key = (row["group"], tuple(row["tokens"][spans[k - 1][1] if k else 0 : begin]))
            own.append(key)
            if row["rewards"]:
                met[key].append(to_come(row, gamma)[k])
        keys.append(own)
    found = []
    for row, own in zip(rows, keys, strict=True):
        line = [0.0] * len(row["mask"])
        peers = [sum(o["rewards"].values()) for o in rows if o["group"] == row["group"] and o["rewards"]]
        for k, (begin, end) in enumerate(runs(row["mask"])):
            if row["rewards"]:
                value = z(sum(row["rewards"].values()), peers) + z(to_come(row, gamma)[k], met[own[k]])
                line[begin:end] = [value] * (end - begin)
        found.append(line)
    return found


@st.composite
def draws(draw: st.DrawFn) -> list[Row]:
    rows = []
    for _ in range(draw(st.integers(1, 7))):
        mask = draw(st.text("01", min_size=1, max_size=9).filter(lambda text: "1" in text))
        places = draw(st.sets(st.sampled_from([end - 1 for _, end in runs(mask)])))
        rewards = {place: draw(st.sampled_from([-1.0, 0.0, 0.25, 0.3, 1.0, 7.5])) for place in places}
        tokens = [draw(st.integers(1, 2)) for _ in mask]
        rows.append({"mask": mask, "rewards": rewards, "tokens": tokens, "group": draw(st.integers(0, 1))})
    return rows


@settings(max_examples=150)
@given(rows=draws())
def test_the_same_by_plain_loops(rows: list[Row]) -> None:
    given_ = signals(rows)
    for advantage, plain in ((TurnToGo(), plain_turn_to_go(rows)), (AnchorStates(gamma=0.9), plain_states(rows, 0.9))):
        found = advantage.advantages(given_).tolist()
        for line, expected in zip(found, plain, strict=True):
            assert line[: len(expected)] == pytest.approx(expected, abs=1e-12), type(advantage).__name__


# The gradient


@pytest.fixture
def credit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    return importlib.import_module("turn_credit")


@pytest.mark.parametrize(("gone_on", "ends"), [("3/10", "2 1 5 6"), ("-1/2", "0 4 4 9"), ("0", "1 1 1 0")])
def test_turn_to_go_and_the_outcome_have_the_gradient(credit: ModuleType, gone_on: str, ends: str, monkeypatch) -> None:
    """Of the mean reward, with these scores and with others, in groups of four and of two."""
    fraction = credit.Fraction
    monkeypatch.setattr(credit, "GO_ON", fraction(gone_on))
    monkeypatch.setattr(credit, "ENDS", tuple(fraction(int(end), 10) for end in ends.split()))
    for size in (2, 4):
        monkeypatch.setattr(credit, "SIZE", size)
        monkeypatch.setattr(credit, "GROUPS", list(credit.itertools.product(credit.ways(), repeat=size)))
        true = float(credit.true_gradient())
        for advantage in (TurnToGo(), GroupRelative("none", baseline="others")):
            assert abs(credit.expected(advantage.advantages(credit.signals())) - true) < 1e-12


def test_what_is_written_down_is_what_comes_out(credit: ModuleType) -> None:
    """benchmarks/turn_credit.json, and the table in the text of ``grpo_process``."""
    written = json.loads(BENCHMARK.with_suffix(".json").read_text(encoding="utf-8"))["gradient"]
    measured = credit.measured()
    assert measured.keys() == written.keys()
    assert max(abs(measured[name] - value) for name, value in written.items()) < 1e-12
    text = (ROOT / "src/groupwise/recipes/grpo_process.py").read_text(encoding="utf-8")
    shown = re.findall(r"^\| .* \| (\d\.\d{6}) \|$", text, re.MULTILINE)
    assert sorted(shown) == sorted(f"{value:.6f}" for value in written.values())
    assert shown == ["1.200000", "1.200000", "1.200000", "0.600000", "0.468804", "0.159766"]


def test_through_the_whole_algorithm(credit: ModuleType) -> None:
    """The recipe's own sum over tokens, divided by the length that it divides by: ∂J/∂p is the true one."""
    prepared = recipes.turn_to_go.prepare(credit.signals())
    assert prepared.weights is not None
    assert prepared.advantages is not None
    assert abs(credit.expected(prepared.advantages * prepared.weights) * 256 - 1.2) < 1e-12
