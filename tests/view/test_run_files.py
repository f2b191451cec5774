"""What a run has left so far, read while it writes."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.sinks.jsonl import JsonLines
from groupwise.view.about import about
from groupwise.view.curves import MOST_POINTS, curves
from groupwise.view.run_files import LOCKS, JsonLinesFile, RunFiles, open_runs


def test_a_finished_run_says_so(make_run):
    run = RunFiles(make_run())
    assert run.status() == "finished"
    assert [row["step"] for row in run.rows()] == [1, 2, 3]
    assert run.rows()[2]["step_time"] == 2.0


def test_a_run_without_an_end_was_stopped(make_run, hand):
    directory = make_run()
    hand.write_record(directory)
    assert RunFiles(directory).status() == "stopped"


@pytest.mark.skipif(not LOCKS.exists(), reason="the system does not say who holds a lock")
def test_a_run_whose_lock_is_held_is_running_and_the_look_takes_no_lock(make_run):
    directory = make_run()
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert RunFiles(directory).status() == "running"
        assert RunFiles(directory, is_over=True).status() == "finished"
    assert RunFiles(directory).status() == "finished"


def test_only_whole_lines_are_read(make_run):
    directory = make_run()
    run = RunFiles(directory)
    run.look()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "grpo", "step": 4, "rew')
    assert len(run.rows()) == 3
    assert not run.look().rows
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('ard": 0.5}\n')
    assert run.look().rows
    assert run.rows()[-1]["reward"] == 0.5


def test_a_line_that_is_none_is_passed_over(make_run, hand):
    directory = make_run()
    with (directory / "metrics.jsonl").open("ab") as file:
        file.write(b'\x00\x00\x00\n[1]\n"x"\n{"stage": 3, "step": 1}\n')
    hand.write_metrics(directory, 4)
    assert [row["step"] for row in RunFiles(directory).rows()] == [1, 2, 3, 4]


def test_a_run_that_went_back_is_read_anew(make_run, hand):
    directory = make_run()
    run = RunFiles(directory)
    run.look()
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(lines[:1]))
    hand.write_metrics(directory, 2, reward=0.7)
    hand.write_metrics(directory, 3, reward=0.8)
    hand.write_metrics(directory, 4, reward=0.9)  # the file is longer again, and other than it was
    assert run.look().again
    assert [row["reward"] for row in run.rows()] == [0.1, 0.7, 0.8, 0.9]
    assert not run.look().again


def test_a_run_that_was_started_over_is_read_anew(make_run, hand):
    directory = make_run()
    run = RunFiles(directory)
    run.look()
    (directory / "metrics.jsonl").unlink()
    (directory / "times.jsonl").unlink()
    hand.write_record(directory, started=2_000_000.0)
    assert run.look().again
    assert run.rows() == []


def test_axes_count_samples_tokens_and_seconds(make_run):
    run = RunFiles(make_run())
    found = curves(run.rows(), run.record())
    assert found["axes"]["axis:samples"] == [8, 16, 24]  # two prompts of four
    assert found["axes"]["axis:tokens"] == [10, 20, 30]
    assert found["axes"]["axis:seconds"] == [2, 4, 6]
    assert found["metrics"]["reward"] == pytest.approx([0.1, 0.2, 0.3])
    assert curves(run.rows(), run.record(), after=2)["metrics"]["reward"] == pytest.approx([0.3])


def test_long_curves_are_means_of_neighbours():
    rows = [{"stage": "a", "step": step, "x": float(step % 2)} for step in range(1, 2 * MOST_POINTS + 1)]
    found = curves(rows, {})
    assert found["bucket"] == 2
    assert set(found["metrics"]["x"]) == {0.5}
    assert found["step"][:2] == [2, 4]


def test_what_is_no_number_is_a_gap():
    rows = [{"stage": "a", "step": 1, "x": None}, {"stage": "a", "step": 2, "x": float("nan"), "y": True}]
    assert curves(rows, {})["metrics"] == {"x": [None, None], "y": [None, None]}


def test_about_says_how_fast_and_how_far(make_run):
    told = about(RunFiles(make_run()))
    assert told["stages"] == [{"name": "grpo", "steps": 4, "done": 3}]
    assert told["pace"] == 2.0
    assert told["left"] is None  # nothing is at work


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, make_run):
    make_run()
    with pytest.raises(UserError, match="no such directory"):
        open_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"no run's directory; there are runs in it: .*hand"):
        open_runs([tmp_path])


def test_a_step_that_is_written_while_the_files_are_read_has_its_times(tmp_path, monkeypatch):
    """A page asks for new steps alone: what a step lacked when it was first read, the page would lack for good."""
    sink, steps = JsonLines(tmp_path / "metrics.jsonl"), iter(range(2, 99))
    plain = JsonLinesFile.newest

    def read_while_one_is_written(file):
        again = plain(file)
        sink.metrics("grpo", next(steps), {"loss": 0.5, "step_time": 2.0})
        return again

    sink.metrics("grpo", 1, {"loss": 0.5, "step_time": 2.0})
    monkeypatch.setattr(JsonLinesFile, "newest", read_while_one_is_written)
    run = RunFiles(tmp_path)
    for count in (1, 3, 5):
        assert [row["step_time"] for row in run.rows()] == [2.0] * count
