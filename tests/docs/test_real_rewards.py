"""docs/real-rewards.md: the page is what its numbers make, its words follow from intervals, and its pipeline runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import real_rewards
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return real_rewards


def around(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def test_the_page_is_made_of_the_numbers(benchmark: ModuleType) -> None:
    assert benchmark.PAGE.read_text() == benchmark.page(json.loads(benchmark.RESULT.read_text()))


@pytest.mark.parametrize(
    ("leads", "words"),
    [
        ([0.2], "beats"),
        ([0.2, 0.3], "beats"),
        ([0.05], "does not beat"),
        ([-0.2], "is worse than"),
        ([0.2, 0.0, -0.2], "does not reliably beat (better in 1 and worse in 1 of 3 seeds)"),
    ],
)
def test_a_verdict_needs_the_whole_interval_in_every_seed(
    benchmark: ModuleType, leads: list[float], words: str
) -> None:
    import real_page

    assert real_page.verdict([around(lead, 0.1) for lead in leads]) == words


def test_measures_on_numbers_made_by_hand(benchmark: ModuleType) -> None:
    import numpy as np
    import real_measures as measures

    labels, scores = np.array([1.0, 1.0, 0.0, 0.0]), np.array([2.0, 0.0, 0.0, -1.0])
    assert measures.auc(labels, scores) == 3.5 / 4
    assert measures.accuracy(labels, scores) == 3 / 4
    assert measures.log_loss(labels, np.zeros(4)) == pytest.approx(np.log(2))
    right, values, sizes = [[True, False, False]], [[1.0, 1.0, 3.0]], [[5.0, 4.0, 6.0]]
    assert measures.by_question(right, values) == [0.25]
    assert measures.by_question(right, values, sizes, 1) == [0.5]
    assert measures.by_question(right, values, sizes, -1) == [0.0]
    assert measures.by_question([[True, True]], [[1.0, 2.0]]) == []
    assert measures.until_wrong([True, False, False]) == 2
    assert measures.until_wrong([True, True]) == 2


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_the_pipeline_runs_on_a_handful_of_rows(benchmark: ModuleType, tmp_path: Path) -> None:
    data = benchmark.read(DATA, limit=10)
    kept = {str(row.prompt) for side in (data.steps[1], data.pairs[1]) for row in side}
    learned = {str(row.prompt) for rows in (data.language, data.steps[0], data.pairs[0]) for row in rows}
    assert kept
    assert not kept & learned
    run = benchmark.recipe(data, 0, size=32, layers=1, scale=0.01)
    found = benchmark.measured(data, run, tmp_path / "run")
    result = {"data": benchmark.counted(data), "plan": benchmark.plan(run), "seeds": [found]}
    result["machine"] = {"cores": 1, "cpu": "some"}
    json.dumps(result, allow_nan=False)
    theirs, ours = found["evaluations"]["prm"]["measures"], found["steps"]["all steps"]
    assert ours["AUC"]["value"]["value"] == pytest.approx(theirs["auc"]["value"])
    assert ours["accuracy"]["value"]["value"] == pytest.approx(theirs["accuracy"]["value"])
    assert ours["solutions"] == len(data.steps[1])
    assert f"judged on {len(data.steps[1])}" in benchmark.page(result)
