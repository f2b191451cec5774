"""Arrow's values as a reader of the file would write them."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from groupwise.tasks.arrow import python_rows


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0.1, None, 2.0], pa.float32(), [0.1, None, 2.0]),
        ([0.1, 1e16, 1e-7], pa.float64(), [0.1, 1e16, 1e-7]),
        ([[0.1, None], None], pa.list_(pa.float32()), [[0.1, None], None]),
        ([{"x": 0.1, "y": "a"}, None], pa.struct({"x": pa.float32(), "y": pa.string()}), [{"x": 0.1, "y": "a"}, None]),
        ([[{"x": 0.3}]], pa.list_(pa.struct({"x": pa.float32()})), [[{"x": 0.3}]]),
        ([[("on", False)], None], pa.map_(pa.string(), pa.bool_()), [{"on": False}, None]),
        ([[("x", 0.1)]], pa.map_(pa.string(), pa.float32()), [{"x": 0.1}]),
        ([1, 2], pa.int8(), [1, 2]),
    ],
)
def test_numbers_of_few_bits_are_their_shortest_decimals(values: list[Any], kind: Any, expected: list[Any]) -> None:
    assert python_rows(pa.table({"answer": pa.array(values, kind)})) == [{"answer": value} for value in expected]


def test_what_is_no_number_stays_so() -> None:
    (row,) = python_rows(pa.table({"answer": pa.array([math.nan], pa.float32())}))
    assert math.isnan(row["answer"])
