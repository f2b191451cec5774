from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.sinks.tensorboard import TensorBoard


def read(directory: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return [(event.step, round(event.value, 6)) for event in accumulator.Scalars(tag)]


def test_scalars_are_read_back_and_a_resume_purges(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path)
    first.stage("sft", 2, 0)
    first.metrics("sft", 1, {"loss": 2.0})
    first.stage("grpo", 4, 0)
    for step in (1, 2, 3):
        first.metrics("grpo", step, {"reward": step / 10, "rewards/answer/mean": 0.5})
    first.close({})
    again = TensorBoard(tmp_path)
    again.stage("grpo", 4, 2)
    again.metrics("grpo", 3, {"reward": 0.9})
    again.close({})
    assert read(tmp_path / "sft", "loss") == [(1, 2.0)]
    assert read(tmp_path / "grpo", "reward") == [(1, 0.1), (2, 0.2), (3, 0.9)]
    assert read(tmp_path / "grpo", "rewards/answer/mean") == [(1, 0.5), (2, 0.5)]


def test_a_full_disk_is_an_error_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no traceback of another thread."""
    sink = TensorBoard(tmp_path)
    sink.stage("sft", 2, 0)
    assert sink.writer
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - it is closed below, which fails
    monkeypatch.setattr(sink.writer, "_writer", full)
    with pytest.raises(OSError, match="No space left"):
        sink.metrics("sft", 1, {"loss": 2.0})
    with pytest.raises(OSError, match="No space left"):  # of what lies in memory yet
        full.close()


def test_writing_needs_neither_torch_nor_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from groupwise.sinks.tensorboard import TensorBoard\n"
        "assert 'tensorboard' not in sys.modules\n"
        f"sink = TensorBoard(Path({str(tmp_path)!r})); sink.stage('a', 1, 0); sink.metrics('a', 1, {{'x': 1.0}})\n"
        "sink.close({}); print(sorted({'torch', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, check=True)
    assert done.stdout.strip() == "[]"
