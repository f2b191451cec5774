"""The examples with turns: their worlds and players by hand and by count, and each run for a few steps."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from groupwise.cli import main

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("calculator", "guess", "grid")


@pytest.fixture(scope="module")
def examples() -> dict[str, dict[str, Any]]:
    return {name: runpy.run_path(str(ROOT / "examples" / f"{name}.py")) for name in NAMES}


def played(world: Any, row: Mapping[str, Any], says: Iterator[str] | list[str]) -> tuple[float, list[str]]:
    """The reward, and what the world said."""
    talk, heard = world(row, Random(0)), []
    next(talk)
    try:
        for said in says:
            heard.append(talk.send(said))
    except StopIteration as end:
        return end.value, heard
    raise AssertionError("the world goes on")


def learned(messages: Any) -> list[str]:
    """What the assistant says in a demonstration."""
    return [message["content"] for message in messages if message["role"] == "assistant"]


def others(messages: Any) -> list[str]:
    return [message["content"] for message in messages if message["role"] != "assistant"]


def test_guess_answers_and_ends_as_the_game_says(examples):
    guess = examples["guess"]["guess"]
    row = examples["guess"]["whole"](40)
    assert played(guess, row, ["40", "60", "50"]) == (1.0, ["between 41 and 77", "between 41 and 57"])
    assert played(guess, row, ["01", "02", "03", "02", "77", "76"])[0] == 0.0
    assert played(guess, row, ["80"]) == (0.0, [])
    assert played(guess, row, ["7"]) == (0.0, [])
    assert played(guess, row, ["40", "I give up"]) == (0.0, ["between 41 and 77"])
    end = {"low": 38, "high": 40, "guesses": 2, "secret": 40}
    assert played(guess, end, ["47", "50"]) == (1.0, ["between 50 and 50"])
    assert played(guess, end, ["46", "47"]) == (0.0, ["between 47 and 50"])


def test_guess_is_won_by_halving_and_by_its_player_one_time_in_two(examples):
    game = examples["guess"]
    halved = [list(game["game"](game["whole"](secret), Random(0), game["middle"])) for secret in range(1, 64)]
    won = [played(game["guess"], game["whole"](secret), learned(each))[0] for secret, each in enumerate(halved, 1)]
    assert won == [1.0] * 63
    assert sum(len(learned(each)) for each in halved) / 63 == pytest.approx(5.095, abs=1e-3)
    rows = game["rows"](63 * 64, seed=7, ends=0.0)
    shares = [played(game["guess"], row.columns, learned(row.completion))[0] for row in rows]
    assert sum(shares) / len(shares) == pytest.approx(0.484, abs=0.03)


def test_ends_of_games_are_won_by_halving_and_by_one_guess_fewer_not_for_certain(examples):
    game = examples["guess"]
    rows = [row for row in game["rows"](2000, seed=3) if row.columns["guesses"] < 6]
    assert len(rows) == pytest.approx(2000 * game["ENDS_OF_GAMES"], abs=100)
    for row in rows:
        low, high, guesses = (row.columns[name] for name in ("low", "high", "guesses"))
        assert 1 <= low <= row.columns["secret"] <= high <= 63
        assert 2 ** (guesses - 1) <= high - low + 1 < 2**guesses
        halved = learned(game["game"](row.columns, Random(0), game["middle"]))
        assert played(game["guess"], row.columns, halved)[0] == 1.0
    assert {row.columns["low"] for row in game["task"].held_out} == {1}
    assert sorted(row.columns["secret"] for row in game["task"].held_out) == [*range(1, 64)]


def test_grid_moves_stops_at_walls_and_ends_as_it_says(examples):
    grid = examples["grid"]
    free = frozenset(grid["CELLS"]) - {(1, 0)}  # b1 is a wall, east of a1
    row = {"at": (0, 0), "goal": (1, 1), "free": free, "moves": 4}
    seen = ["@a1:1s1e s", "@a1:1s1e s", "@a2:0s1e nse"]
    assert played(grid["walk"], row, ["e", "n", "s", "e"]) == (1.0, seen)
    assert played(grid["walk"], row, ["e", "n", "s", "n"]) == (0.0, seen)
    assert played(grid["walk"], row, ["s", "up"]) == (0.0, seen[2:])
    assert grid["view"]((3, 3), (0, 1), free) == "@d4:2n3w nw"
    assert grid["distances"]((1, 1), free)[0, 0] == 2
    assert grid["distances"]((1, 0), frozenset(grid["CELLS"]))[3, 3] == 5


def test_grid_is_walked_by_its_walker_three_times_in_five_and_held_out_grids_are_others(examples):
    grid = examples["grid"]
    rows = grid["rows"](2000, seed=7)
    walked = [played(grid["walk"], row.columns, learned(row.completion)) for row in rows]
    assert [heard for _, heard in walked] == [others(row.completion) for row in rows]
    assert sum(reward for reward, _ in walked) / len(rows) == pytest.approx(0.624, abs=0.04)
    for row in rows[:100]:
        short = learned(grid["walker"](row.columns, Random(0), 0.0))
        assert played(grid["walk"], row.columns, short)[0] == 1.0
        assert len(short) == row.columns["moves"] - 2
    trained = {row.columns["free"] for row in grid["task"].train}
    assert not trained & {row.columns["free"] for row in grid["task"].held_out}


def test_calculators_clerk_is_right_as_often_as_it_says(examples):
    calculator = examples["calculator"]
    rows = calculator["rows"](4000, seed=7)
    right = [learned(row.completion)[-1] == f"#### {row.answer}" for row in rows]
    asked = [len(row.completion) > 1 for row in rows]
    assert sum(right) / len(rows) == pytest.approx(0.373, abs=0.03)
    assert sum(asked) / len(rows) == pytest.approx(calculator["ASKS"], abs=0.03)
    for row in rows:
        if len(row.completion) > 1:
            typed = row.completion[0]["tool_calls"][0]["function"]["arguments"]
            assert row.completion[1]["content"] == str(calculator["multiply"](**typed))


def test_held_out_products_are_never_trained_on(examples):
    task = examples["calculator"]["task"]
    trained = {row.prompt for row in task.train}
    assert len(task.held_out) == 300
    assert not trained & {row.prompt for row in task.held_out}


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, examples, tmp_path):
    out = tmp_path / name
    _, *reinforced = (stage.name for stage in examples[name]["run"].stages)
    short = ["--sft.steps", "2", "--sft.prompts_per_step", "4", "--evaluation.problems", "4"]
    short += ["--evaluation.sampled_problems", "0", "--evaluation.samples", "1"]
    for stage in reinforced:
        short += [f"--{stage}.steps", "1", f"--{stage}.prompts_per_step", "2", f"--{stage}.evaluate_every", "0"]
        short += [f"--{stage}.algorithm.source.group_size", "2"]
    assert main(["run", str(ROOT / "examples" / f"{name}.py"), *short, "--out", str(out)]) == 0
    before, *_, after = json.loads((out / "evaluation.json").read_text())["models"]
    assert before["stage"] == "sft"
    assert after["stage"] == reinforced[-1]
    assert after["evaluation"]["episodes"]["turns"] >= 1
