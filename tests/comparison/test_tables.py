"""Runs side by side, from directories made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise.cli import main
from groupwise.comparison.settings import settings_of
from groupwise.comparison.tables import compare_runs
from groupwise.errors import UserError
from groupwise.evaluation.statistics import Interval

Make = Callable[..., Path]


def evaluation(right: list[float], task: str = "sums") -> dict[str, Any]:
    measure = {"value": sum(right) / len(right), "low": 0.0, "high": 1.0, "by_problem": right}
    settings = {"samples": 1, "sampled_problems": len(right), "temperature": 1.0, "max_tokens": 8, "seed": 0}
    return {
        "problems": len(right),
        "task": task,
        "settings": settings | {"correct_at": 1.0, "narrowed": [0, 1.0, 0.0]},
        "ids": [f"{task}:{at}" for at in range(len(right))],
        "greedy": measure,
        "pass_at_1": measure,
        "pass_at": {},
        "maj_at": {},
        **dict.fromkeys(("mean_completion_tokens", "truncated_fraction", "unparseable_fraction"), 0.0),
        **dict.fromkeys(("unscored_fraction", "prompts_too_long", "tokens"), 0),
        "completions": [],
        "judge": "math",
        "reward_means": {},
        "sets": {},
    }


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, rewards, seed=0, group=4, right=None, **recipe)``: a run's directory with a step for each reward."""

    def write(name: str, rewards: list[float], seed: int = 0, group: int = 4, right: Any = None, **other: Any) -> Path:
        place = tmp_path / name
        place.mkdir(parents=True)
        source = {"is": "OnPolicy", "group_size": group}
        stage = {"name": other.pop("stage", "grpo"), "prompts_per_step": 2, "algorithm": {"source": source}}
        recipe = {"is": "Run", "name": name, "seed": seed, "stages": [stage], **other}
        record = {"name": name, "recipe": recipe, "stages": [{"name": stage["name"], "steps": 9}], "started": 1.0}
        (place / "run.json").write_text(json.dumps(record))
        rows = [{"stage": stage["name"], "step": at, "reward": r} for at, r in enumerate(rewards, 1)]
        (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        times = [{"stage": row["stage"], "step": row["step"], "step_time": 2.0} for row in rows]
        (place / "times.jsonl").write_text("".join(json.dumps(row) + "\n" for row in times))
        if right is not None:
            models = [{"stage": stage["name"], "evaluation": evaluation(right)}]
            (place / "evaluation.json").write_text(json.dumps({"models": models}))
        return place

    return write


def row(rows: Any, name: str) -> Any:
    return next(each for each in rows if each.name == name)


def test_seeds_of_one_recipe_are_one_setting(make: Make) -> None:
    runs = [make("a0", [1], 0), make("b0", [1], 0, group=8), make("a1", [1], 1), make("b1", [1], 1, group=8)]
    settings = settings_of(runs)
    assert [setting.name for setting in settings] == ["a0", "b0"]
    assert [setting.seeds for setting in settings] == [(0, 1), (0, 1)]


def test_training_is_compared_at_an_equal_budget(make: Make) -> None:
    """8 samples a step against 16: at 32 samples the first stands at step 4, the second at step 2."""
    slow, fast = make("slow", [0.1, 0.2, 0.3, 0.4]), make("fast", [0.5, 0.7, 0.9], group=8)
    found = compare_runs(settings_of([slow, fast]))
    assert found.budget == 32
    assert row(found.metrics, "Reward").values == (0.4, 0.7)
    assert row(found.metrics, "Reward").differences == (pytest.approx(0.3),)
    by_steps = compare_runs(settings_of([slow, fast]), "steps")
    assert (by_steps.budget, row(by_steps.metrics, "Reward").values) == (3, (0.3, 0.9))
    assert compare_runs(settings_of([slow, fast]), "seconds").budget == 6
    assert row(found.totals, "samples").values == (32, 48)


def test_seeds_are_paired_by_their_numbers(make: Make) -> None:
    runs = [make("a0", [0.1], 0), make("a1", [0.5], 1), make("b1", [0.6], 1, x=1), make("b0", [0.2], 0, x=1)]
    (difference,) = row(compare_runs(settings_of(runs)).metrics, "Reward").differences
    assert isinstance(difference, Interval)
    assert difference.low == pytest.approx(0.1) == difference.high


def test_single_runs_are_paired_by_problem(make: Make) -> None:
    runs = [make("a", [1], right=[0, 0, 1, 1]), make("b", [1], right=[0, 1, 1, 1], x=1)]
    found = row(compare_runs(settings_of(runs)).results, "greedy accuracy")
    assert found.values[0] == Interval(0.5, 0.0, 1.0)
    assert found.differences[0].value == 0.25
    assert found.differences[0].low < 0


def test_evaluations_of_other_problems_are_shown_and_not_subtracted(make: Make) -> None:
    first, second = make("a", [1], right=[0, 1]), make("b", [1], right=[1, 1], x=1)
    text = (second / "evaluation.json").read_text().replace("sums", "others")
    (second / "evaluation.json").write_text(text)
    found = compare_runs(settings_of([first, second]))
    assert row(found.results, "greedy accuracy").differences == (None,)
    assert any("different problems" in note for note in found.notes)


def test_stages_of_two_methods_stand_beside_each_other(make: Make) -> None:
    found = compare_runs(settings_of([make("a", [1]), make("b", [1], stage="dr_grpo", group=8)]))
    assert found.stages == ("grpo", "dr_grpo")
    places = {place for place, _, _ in found.recipes[0]}
    assert places == {"grpo.name", "grpo.algorithm.source.group_size"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda runs: runs[:1], "at least two"),
        (lambda runs: [runs[0], runs[0]], "named twice"),
        (lambda runs: [runs[0], runs[0].parent / "none"], "no such directory"),
        (lambda runs: [runs[0], runs[0].parent], "there are runs in it"),
    ],
)
def test_what_cannot_be_compared_is_refused(make: Make, change: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        settings_of(change([make("a", [1]), make("b", [1])]))


def test_a_run_without_a_step_is_named(make: Make) -> None:
    with pytest.raises(UserError, match="no step yet"):
        compare_runs(settings_of([make("a", [1]), make("b", [], x=1)]))
    with pytest.raises(UserError, match="no step of a stage sft; there are grpo"):
        compare_runs(settings_of([make("c", [1]), make("d", [1], x=1)]), stage="sft")
    with pytest.raises(UserError, match="expected one of steps"):
        compare_runs(settings_of([make("e", [1]), make("f", [1], x=1)]), axis="hours")


def test_the_command_prints_writes_a_page_and_json(make: Make, tmp_path: Path, capsys: Any) -> None:
    runs = [make("a", [0.25], right=[0, 1]), make("b\x1b[31m", [0.5], right=[1, 1], note="</script><script>")]
    page, data = tmp_path / "page.html", tmp_path / "data.json"
    assert main(["compare", *map(str, runs), "--html", str(page), "--json", str(data)]) == 0
    said = capsys.readouterr().out
    assert "Held-out, at the end of each run" in said
    assert "Training at 8 samples of grpo" in said
    assert "\x1b" not in said
    assert json.loads(data.read_text())["metrics"][0]["differences"] == [0.25]
    text = page.read_text()
    assert "comparisonTables" in text
    assert "</script><script>" not in text.partition('id="stored"')[2].partition("</script>")[0]
