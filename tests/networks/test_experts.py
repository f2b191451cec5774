"""A mixture's experts: how many of their rows are computed at a time."""

from __future__ import annotations

import pytest
import torch

from groupwise.networks.experts import TILE, tile_rows


@pytest.mark.parametrize(
    ("device", "dtype", "rows"),
    [
        ("cpu", torch.float32, TILE),
        ("cpu", torch.float64, TILE),
        ("cpu", torch.bfloat16, 1000),
        ("meta", torch.float32, 1000),
        ("meta", torch.bfloat16, 1000),
    ],
)
def test_tiles_are_for_a_core_s_cache(device: str, dtype: torch.dtype, rows: int) -> None:
    assert tile_rows(torch.empty(1000, 4, dtype=dtype, device=device)) == rows
    assert tile_rows(torch.empty(0, 4, dtype=dtype, device=device)) >= 1
