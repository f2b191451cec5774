"""The runs that are killed have every two settings that go together, in one of them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "faults"))

from combinations import AXES, covering, fits, name_of, pairs, whole


def test_every_pair_is_in_a_run() -> None:
    runs = covering()
    assert all(any(pair <= set(run.items()) for run in runs) for pair in pairs())
    assert all(fits(run) and run.keys() == AXES.keys() for run in runs)
    assert len({name_of(run) for run in runs}) == len(runs) < len(list(whole())) / 5


def test_pairs_by_hand() -> None:
    """A critic is PPO's alone; demonstrations have no reference; pairs have one."""
    together = {tuple(sorted(value for _, value in pair)) for pair in pairs()}
    assert ("own critic", "ppo") in together
    assert ("grpo", "own critic") not in together
    assert ("no critic", "ppo") not in together
    assert ("directory", "sft") not in together
    assert ("dpo", "no reference") not in together
    assert ("bfloat16", "head") in together


def test_the_same_for_the_same_seed() -> None:
    assert covering(3) == covering(3)
