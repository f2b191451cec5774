"""Every random choice is a function of the seed and what it is for."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from groupwise.seeding import shuffled, stable_seed


def test_the_same_in_every_process() -> None:
    """A number written down once: a new release must not change old runs."""
    assert stable_seed(0, "grpo", "sample", 3, 1) == 3844320665824249796
    code = "from groupwise.seeding import stable_seed; print(stable_seed(0, 'grpo', 'sample', 3, 1))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == stable_seed(0, "grpo", "sample", 3, 1)


@given(parts=st.lists(st.integers() | st.text(), min_size=1, max_size=4))
def test_a_seed_fits_every_generator(parts: list[int | str]) -> None:
    assert 0 <= stable_seed(*parts) < 2**63


def test_parts_are_kept_apart() -> None:
    assert len({stable_seed(1, 23), stable_seed(12, 3), stable_seed(123), stable_seed("1", "2", "3")}) == 4


@given(size=st.integers(0, 200), seed=st.integers(0, 2**63 - 1))
def test_shuffled_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(shuffled(size, seed)) == list(range(size))
    assert shuffled(size, seed) == shuffled(size, seed)


def test_another_seed_is_another_order() -> None:
    assert shuffled(50, 1) != shuffled(50, 2)
