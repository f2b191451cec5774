"""Each held-out set has rows of its own in the table of an evaluation."""

from __future__ import annotations

from groupwise.commands.evaluation_rows import set_rows
from groupwise.evaluation.evaluate import Evaluation, Settings
from groupwise.evaluation.measure import Measure


def found(values: list[float]) -> Evaluation:
    every, sampled = Measure.of(values), Measure.of(values[:2])
    settings = Settings(samples=2, sampled_problems=2)
    ids, sets = ("a", "b", "c", "d"), {"even": (0, 2), "odd": (1, 3)}
    family = {1: sampled, 2: sampled}
    return Evaluation("task", settings, ids, every, every, family, {}, 1.0, 8, 2.0, 0.0, 0.0, 0.0, 0, (), sets=sets)


def test_the_measures_of_each_set() -> None:
    rows = list(set_rows([found([0.0, 1.0, 0.0, 1.0]), found([1.0, 1.0, 0.0, 1.0])], paired=True))
    assert [row[0] for row in rows] == [
        f"{name}: {measure}" for name in ("even", "odd") for measure in ("greedy accuracy", "pass@1", "pass@2")
    ]
    assert [[cell[:6].strip() for cell in row[1:]] for row in rows] == [
        ["0.000", "0.500", "+0.500"],
        ["0.000", "0.500", "+0.500"],
        ["0.000", "1.000", "+1.000"],
        ["1.000", "1.000", "+0.000"],
        ["1.000", "1.000", "+0.000"],
        ["1.000", "1.000", "+0.000"],
    ]
