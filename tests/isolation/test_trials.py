"""What holds here is found out once, recorded and told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groupwise.errors import UserError
from groupwise.isolation.pool import WorkerPool
from groupwise.isolation.trials import bait, is_harmed, isolation_record, walls
from groupwise.preflight.findings import Notebook
from groupwise.preflight.rewards import tell_guards
from groupwise.rewards import Code, Math


def holds() -> bool:
    try:
        walls()
    except UserError:
        return False
    return True


needs_walls = pytest.mark.skipif(not holds(), reason="nothing here shuts a process in")


def test_nothing_is_recorded_where_nothing_asked() -> None:
    code = (
        "from groupwise.isolation.trials import isolation_record\nimport groupwise.rewards\nprint(isolation_record())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.strip() == "None"


@needs_walls
def test_what_holds_is_recorded_and_told() -> None:
    held = walls()
    record = isolation_record()
    assert record == {"by": held.kind, "guards": list(held.guards)}
    assert {"no network", "nothing to write", "system calls filtered"} <= {*held.guards}
    notes = Notebook("grpo", lambda text: None)
    tell_guards(notes, [Code(), Math("formulas", unguarded=True)])
    fact, remark = notes.findings
    assert (fact.kind, fact.part) == ("fact", "guards")
    assert f"behind {held.kind}: no network" in fact.words
    assert remark.words == "'formulas' is unguarded: what a model writes may read, write and send"


@needs_walls
def test_bait_shows_harm() -> None:
    with bait(1 << 20) as known:
        assert not is_harmed(known)
        with open(known["file"], "a") as file:
            file.write("x")
        assert is_harmed(known)


def test_a_pool_may_do_without() -> None:
    pool = WorkerPool("groupwise.isolation.pool:_shown", size=1, unguarded=True)
    (outcome,) = pool.run(["\x1b]0;pwned\x07 \u202e" + "x" * 1000], 60.0)
    pool.close()
    assert outcome.value == "]0;pwned " + "x" * 231
