"""A stage against a real vLLM server, where an environment has one: ``make test-vllm``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.learners import NewModel

PYTHON = os.environ.get("GROUPWISE_VLLM_PYTHON", "")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "vllm.py"


@pytest.mark.skipif(not PYTHON, reason="GROUPWISE_VLLM_PYTHON names no python of an environment with vLLM")
def test_engine_and_learner_agree_after_each_update(tmp_path: Path) -> None:
    """Through the server that ``groupwise serve --vllm`` starts."""
    NewModel(initializer_range=0.08).save(tmp_path / "model")
    out = tmp_path / "vllm.json"
    command = [sys.executable, str(SCRIPT), str(tmp_path / "model"), "--python", PYTHON, "--out", str(out)]
    subprocess.run(command, check=True, timeout=900)
    measured = json.loads(out.read_text(encoding="utf-8"))
    assert len(measured["engine_learner_gap"]) == 4
    assert max(measured["engine_learner_gap"]) <= 1e-5
    assert max(measured["in_flight_gap_before"], measured["in_flight_gap_after"]) <= 1e-4
    assert any(len(spans) == 2 for spans in measured["in_flight_spans"])
