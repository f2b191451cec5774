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
from groupwise.comparison.words import remarks, tables
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


def test_the_same_seed_twice_is_no_second_seed(make: Make) -> None:
    runs = [make("a0", [1], 0), make("a1", [1], 1), make("again", [1], 0)]
    settings = settings_of(runs)
    assert [(setting.name, setting.seeds) for setting in settings] == [("a0", (0, 1)), ("again", (0,))]
    assert any("again: recipe and seed are those of a0" in line for line in remarks(compare_runs(settings)))


def test_a_repeated_seed_with_another_recipe_is_no_repeat(make: Make) -> None:
    settings = settings_of([make("a", [1], 0), make("b", [1], 0, group=8)])
    assert not any("recipe and seed" in line for line in remarks(compare_runs(settings)))


def test_another_source_under_the_same_name_is_a_difference(make: Make) -> None:
    def reward(source: str, function: str = "right") -> dict[str, str]:
        return {"function": function, "sha256": source}

    one, same, renamed = (
        make(name, [1], at, reward=reward(source, function))
        for at, (name, source, function) in enumerate([("a", "1", "right"), ("b", "2", "right"), ("c", "3", "close")])
    )
    found = compare_runs(settings_of([one, same, renamed]))
    assert found.recipes[0] == (("reward (content)", "1", "2"),)
    assert found.recipes[1] == (("reward.function", "right", "close"),)


@pytest.mark.parametrize("last", [[None], [None, 0.7], ["x"]])
def test_a_metric_that_is_no_number_at_the_end_is_not_the_one_before(make: Make, last: list[Any]) -> None:
    """Ten steps of 8 samples; the last tenth of 160 samples are the last two."""
    diverged = make("diverged", [0.5] * (20 - len(last)) + last, x=1)
    found = compare_runs(settings_of([make("a", [0.1] * 20), diverged]))
    expected = 0.7 if 0.7 in last else 0.5 if len(last) == 1 else None
    assert row(found.metrics, "Reward").values == (pytest.approx(0.1), expected)
    assert [line for line in found.notes if "no finite number was" in line] == [
        f"{diverged}: of the 2 steps that are compared, no finite number was: Reward in 1"
    ]


def test_a_metric_that_is_never_a_number_at_the_end_is_none(make: Make) -> None:
    found = compare_runs(settings_of([make("a", [0.1] * 20), make("b", [0.5] * 18 + [None, None], x=1)]))
    assert row(found.metrics, "Reward").values[1] is None


def test_the_model_that_a_run_began_with_is_no_result_of_it(make: Make) -> None:
    done, stopped = make("done", [1], right=[0, 1]), make("stopped", [1], x=1, right=[1, 1])
    kept = json.loads((stopped / "evaluation.json").read_text())
    kept["models"][0]["stage"] = "before grpo"
    (stopped / "evaluation.json").write_text(json.dumps(kept))
    found = compare_runs(settings_of([done, stopped]))
    assert row(found.results, "greedy accuracy").values == (Interval(0.5, 0.0, 1.0), None)
    assert f"{stopped}: has no evaluation of a model that it left yet" in found.notes


def test_each_run_that_is_not_finished_is_named(make: Make) -> None:
    first, second = make("a0", [1], 0), make("a1", [1, 1], 1)
    for name in ("grpo",):
        (first / "models" / name).mkdir(parents=True)
    record = json.loads((first / "run.json").read_text()) | {"seconds": 1.0}
    (first / "run.json").write_text(json.dumps(record))
    notes = compare_runs(settings_of([first, second])).notes
    assert f"{second}: is stopped at step grpo 2/9, so this is what it has so far" in notes
    assert not any(line.startswith(f"{first}: is ") for line in notes)


def test_a_stage_that_is_asked_for_is_compared_with_its_evaluation(make: Make) -> None:
    runs = [make("a", [1], right=[0, 1]), make("b", [1], right=[1, 1], x=1)]
    found = compare_runs(settings_of(runs), stage="grpo")
    assert tables(found)[0][0] == "Held-out, after grpo"


def test_an_axis_that_nothing_counts_is_refused(make: Make) -> None:
    runs = [make("a", [1]), make("b", [1], x=1)]
    (runs[1] / "times.jsonl").unlink()
    with pytest.raises(UserError, match="how many seconds it took; expected --axis steps, samples"):
        compare_runs(settings_of(runs), "seconds")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": [1]}', '{"recipe": {}}'])
def test_a_record_that_cannot_be_read_is_named(make: Make, text: str) -> None:
    first, second = make("a", [1]), make("b", [1], x=1)
    (second / "run.json").write_text(text)
    with pytest.raises(UserError, match="holds no recipe that can be read"):
        settings_of([first, second])


def test_a_file_is_no_run(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; expected the directory of a run"):
        settings_of([make("a", [1]), tmp_path / "file"])


DAMAGED: list[Any] = [
    [],
    {"models": "x"},
    {"models": [1, {"stage": "grpo"}, {"stage": 1, "evaluation": {}}]},
    {"models": [{"stage": "grpo", "evaluation": {"greedy": None, "pass_at_1": {"value": "x"}}}]},
    {"models": None, "comparison": 3},
]


@pytest.mark.parametrize("found", DAMAGED)
def test_evaluations_that_are_damaged_are_none(make: Make, found: Any) -> None:
    first, second = make("a", [1], right=[0, 1]), make("b", [1], x=1)
    (second / "evaluation.json").write_text(json.dumps(found))
    assert row(compare_runs(settings_of([first, second])).results, "greedy accuracy").values[1] is None


RECORDS: list[dict[str, Any]] = [
    {"stages": {"a": 1}},
    {"stages": None},
    {"stages": [{"name": "grpo", "steps": "many"}, 3]},
    {"started": "yesterday", "seconds": "long", "name": 3},
    {"started": 1e300},
    {"resumed": 3, "changes": "x", "machine": [1], "versions": 2},
]


@pytest.mark.parametrize("change", RECORDS)
def test_records_of_another_kind_are_listed_and_compared(make: Make, change: dict[str, Any], capsys: Any) -> None:
    first, second = make("a", [1]), make("b", [1], x=1)
    (second / "run.json").write_text(json.dumps(json.loads((second / "run.json").read_text()) | change))
    compare_runs(settings_of([first, second]))
    assert main(["list", str(second)]) == 0
    assert main(["report", str(second)]) == 0


@pytest.mark.parametrize("name", ["long-name-of-a-run", "中文运行", "ü"])
def test_no_row_is_broken_where_nobody_watches(make: Make, capsys: Any, name: str) -> None:
    runs = [make(f"{name}-{at}", [0.25], x=at, right=[0, 1, 1, 0]) for at in range(5)]
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.strip().startswith("greedy accuracy"))
    assert line.count("[") == 9
    heads = [line for line in said.splitlines() if f"{name}-4 - {name}-0" in line]
    assert all(head.count(f"{name}-0") == 5 for head in heads)
    assert len(heads) == 3


def test_an_interval_stays_whole_in_a_terminal_of_eighty_columns(
    make: Make, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "dumb")  # which has 80
    runs = [make("a", [0.25], right=[0, 1, 1, 0]), make("b", [0.5], x=1, right=[1, 1, 1, 0])]
    assert main(["compare", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "                   [0.000, 1.000]   [0.000, 1.000]   [-0.276, +0.609]" in [line.rstrip() for line in lines]
    assert all(line.count("[") == line.count("]") for line in lines)
