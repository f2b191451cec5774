"""Every method goes on where a step holds nothing to learn, and where a reward is as large as a number can be."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from groupwise import recipes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "faults"))

from methods import EDGES, EMPTY, MODEL, BadBatchRecorder, concerns, tried

CHOSEN = {
    name: fault
    for name, fault in {**EMPTY, **EDGES}.items()
    if "truncated" in name or "dropped" in name or "no completion" in name or "1e+308" in name
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("faults") / "model"
    MODEL.save(place, seed=1)
    return place


@pytest.mark.parametrize("name", [name for name in recipes.__all__ if name != "pretrain"])  # of documents, not answers
def test_it_goes_on(name: str, model: Path) -> None:
    counts: Counter[str] = Counter()
    for what, fault in CHOSEN.items():
        if concerns(vars(recipes)[name], fault):
            assert tried(name, fault, model, BadBatchRecorder(counts)) == "", what
    assert set(counts) <= {"updates_left_out_for_advantages", "updates_left_out_for_returns"}


def test_five_kinds_are_tried() -> None:
    assert len(CHOSEN) == 5
