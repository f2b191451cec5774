"""docs/observations.md: the page is what its numbers make, and its words follow from intervals."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import observations_page

    return observations_page


def test_the_page_is_made_of_the_numbers(writer: ModuleType) -> None:
    assert (ROOT / "docs" / "observations.md").read_text() == writer.page(writer.read())


@pytest.mark.parametrize(
    ("low", "high", "seeds", "more", "less"),
    [
        (0.1, 0.3, [0.1, 0.3], "shown", "the opposite"),
        (-0.3, -0.1, [-0.1, -0.3], "the opposite", "shown"),
        (-0.1, 0.3, [0.1, 0.1], "not shown", "not shown"),
        (0.1, 0.3, [0.4, -0.1], "not shown", "not shown"),
    ],
)
def test_a_verdict_needs_the_interval_and_every_seed(
    writer: ModuleType, low: float, high: float, seeds: list[float], more: str, less: str
) -> None:
    row = {"value": (low + high) / 2, "low": low, "high": high, "seeds": seeds}
    assert (writer.verdict(row), writer.verdict(row, lower=True)) == (more, less)
