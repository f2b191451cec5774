"""A process that follows rank 0 ends with it, whenever that one is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from groupwise.learners.launch import PARENT


@pytest.mark.parametrize("rank_0", ["gone before the follower begins", "gone while it waits"])
def test_a_follower_ends_with_the_process_that_started_it(rank_0: str) -> None:
    """Nobody has told it where rank 0 listens, so it would wait for that."""
    follower = [sys.executable, "-m", "groupwise.learners.follower"]
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    other = subprocess.Popen([sys.executable, "-c", "pass"])
    other.wait()
    if rank_0 == "gone before the follower begins":
        done = subprocess.run(follower, env={**os.environ, **place, PARENT: str(other.pid)}, timeout=300)
        assert done.returncode == 1
        return
    begun = "import os, subprocess; print(subprocess.Popen({}, env={{**os.environ, **{}, {!r}: str(os.getpid())}}).pid)"
    script = begun.format(follower, place, PARENT)
    said = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=300)
    assert said.returncode == 0  # what it says is at its end when the follower, which may say it too, has ended
    assert int(said.stdout) != other.pid
