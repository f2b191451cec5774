"""A run on servers, killed at a random instant and started again, has lost nothing."""

from __future__ import annotations

import json
from pathlib import Path

import warm


def test_runs_on_servers_that_are_killed(tmp_path: Path) -> None:
    """In a process that imports once and forks; ``killed.py --kills 20`` does more of it."""
    out = tmp_path / "kills.json"
    done = warm.run([str(Path(__file__).with_name("killed.py")), "--kills", "2", "--out", str(out)])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["lost"] == 0
    assert found["kills"] >= 2
