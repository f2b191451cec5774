"""Files of steps, harmed in every place: whoever goes on reads what is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.storage.json_rows import Follower, read_rows, truncate_after, unreadable

STEPS = [("sft", 1), ("sft", 2), ("grpo", 1), ("grpo", 2), ("grpo", 3)]
LINES = [json.dumps({"stage": stage, "step": step, "text": "5 °"}, ensure_ascii=False) + "\n" for stage, step in STEPS]
WHOLE = "".join(LINES).encode()
HARMS = {
    "zeros": b"\0" * 4096,
    "zeros and a line's end": b"\0" * 4096 + b"\n",
    "half a line": b'{"stage": "grpo", "st',
    "half a letter": "{°".encode()[:-1],
    "another kind of JSON": b"[1, 2]\n",
    "a row without a step": b'{"stage": "grpo"}\n',
    "not UTF-8": b"\xff\xfe\n",
    "an empty line": b"\n",
    "brackets without end": b"[" * 100_000 + b"\n",
    "a number beyond what is read": b'{"stage": "grpo", "step": ' + b"9" * 5000 + b"}\n",
}


def steps(path: Path) -> list[tuple[str, int]]:
    return [(row["stage"], row["step"]) for row in read_rows(path)]


@pytest.mark.parametrize("harm", list(HARMS))
@pytest.mark.parametrize("place", range(len(LINES) + 1))
def test_a_harm_between_lines_costs_no_other_line(harm: str, place: int, tmp_path: Path) -> None:
    """A block without a line's end takes the line that was written behind it with it."""
    path = tmp_path / "metrics.jsonl"
    before, after = "".join(LINES[:place]).encode(), "".join(LINES[place:]).encode()
    path.write_bytes(before + HARMS[harm] + after)
    joined = not HARMS[harm].endswith(b"\n") and place < len(LINES)
    expected = STEPS[:place] + STEPS[place + joined :]
    assert steps(path) == expected
    assert [(row["stage"], row["step"]) for row in Follower(path, "grpo").newest()] == [
        step for step in expected if step[0] == "grpo"
    ]
    assert unreadable(path) == (HARMS[harm].endswith(b"\n") or joined)
    truncate_after(path, "grpo", 2)
    assert steps(path) == [step for step in expected if step != ("grpo", 3)]
    assert unreadable(path) == 0


def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for length in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:length])
        whole = WHOLE[:length].count(b"\n")
        assert steps(path) == STEPS[:whole]
        truncate_after(path, "grpo", 9)
        assert path.read_bytes() == "".join(LINES[:whole]).encode()


def test_a_whole_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(WHOLE)
    before = path.stat()
    truncate_after(path, "grpo", 3)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_no_file_yet_is_no_error(tmp_path: Path) -> None:
    truncate_after(tmp_path / "metrics.jsonl", "sft", 0)
    assert read_rows(tmp_path / "metrics.jsonl") == []
    assert unreadable(tmp_path / "metrics.jsonl") == 0
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_follower_reads_each_line_once_and_waits_for_the_end_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(LINES[2] + LINES[3][:10])
    follower = Follower(path, "grpo")
    assert len(follower.newest()) == 1
    with path.open("a") as file:
        file.write(LINES[3][10:] + LINES[4])
    assert [row["step"] for row in follower.newest()] == [1, 2, 3]
