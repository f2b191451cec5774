"""The short form of `make faults`: some inputs for each fuzz target, no crash, no hang, errors of one line."""

from __future__ import annotations

import importlib
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults"
INPUTS = 2000


@pytest.fixture(scope="module")
def parts() -> Any:
    sys.path.insert(0, str(FAULTS))
    yield importlib.import_module("targets"), importlib.import_module("fuzz")
    sys.path.remove(str(FAULTS))


@pytest.mark.parametrize("name", ["data readers", "answer extraction", "case reader"])
def test_mutated_inputs_end_in_silence_or_a_line(name: str, parts: Any) -> None:
    targets, fuzz = parts
    target, draw = targets.TARGETS[name], random.Random(7)
    for seed in target.seeds:
        target.run(seed)
    for _ in range(INPUTS):
        data, started = fuzz.mutated(target, draw), time.process_time()
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"input: {data!r}")
            raise
        assert time.process_time() - started < 5.0, data
