"""Here float64 is float64 in transformers too."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def exact(exact_norms: None) -> None:
    """For every test of this folder."""
