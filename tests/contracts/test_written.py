"""Checkpoints that earlier versions wrote are read, value by value, and what is written today is written alike.

``written/`` holds what two learners wrote after two steps: a policy with a reference and a critic's head, and a scorer.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from groupwise.learners import Local, NewModel
from groupwise.storage.tensors import STATE, TENSORS, load_progress

WRITTEN = Path(__file__).with_name("written")
MODEL = NewModel(hidden_size=4, layers=1, heads=1, intermediate_size=4, context_tokens=32)
ENTRY = {"policy": ("", "head"), "scorer": (None, "none")}


@pytest.mark.parametrize("name", ENTRY)
def test_a_state_of_before_is_read_and_written_again(name: str, tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model", 5)
    config = Local(device="cpu", threads=1)
    opened = config.open_scorer if name == "scorer" else config.open
    learner = opened(tmp_path / "model")
    reference, critic = ENTRY[name]
    learner.start_stage(reference, critic)  # type: ignore[arg-type]
    learner.read(WRITTEN / name)
    assert learner.version == 2
    learner.write(tmp_path)
    assert (tmp_path / STATE).read_text() == (WRITTEN / name / STATE).read_text()
    before, now = (load_file(place / TENSORS) for place in (WRITTEN / name, tmp_path))
    assert list(before) == list(now)
    for tensor in before:
        assert before[tensor].dtype == now[tensor].dtype
        assert torch.equal(before[tensor], now[tensor]), tensor


def test_where_a_stage_stood_is_read() -> None:
    assert load_progress(WRITTEN / "policy")["step"] == 2
