"""Every rollout is kept, and read back as it was."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import groupwise
from groupwise import recipes
from groupwise.errors import UserError
from groupwise.explain.rollouts import select
from groupwise.learning.collate import signals_of
from groupwise.learning.record import StepRecord
from groupwise.ledger.columns import VERSION
from groupwise.ledger.files import Ledger, LedgerWriter, parts_of
from groupwise.types import Example, Group, Prompt, Rollout, Score


def record_of(step: int, groups: list[Group]) -> StepRecord:
    signals = recipes.grpo.prepare(signals_of(groups))
    shape = signals.mask.shape
    logprobs = torch.arange(float(signals.mask.numel())).view(shape) * -0.5
    return StepRecord(step, groups, signals, logprobs, logprobs / 4)


@pytest.fixture
def groups(make_rollout: Callable[..., Rollout]) -> list[Group]:
    first = make_rollout((5, 6), (7, 8, 9), (True, False, True), (-0.5, 0.0, -0.25), {2: 1.0})
    first = replace(first, text="é \ud800", scores={"math": Score(1.0), "format": Score(None, "not_applicable")})
    second = replace(make_rollout((5, 6), (7,), behavior=(-0.75,), rewards={0: 0.0}), scores={"math": Score(0.0)})
    third = make_rollout((4,), (1, 2))
    return [Group(first.prompt, (first, second)), Group(third.prompt, (third,))]


def test_a_step_comes_back(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("stage", record_of(1, groups))
    rows = ledger.read("stage", 1)
    assert [row["group"] for row in rows] == [0, 0, 1]
    first, second, third = rows
    assert first["prompt_tokens"] == [5, 6]
    assert first["tokens"] == [7, 8, 9]
    assert first["mask"] == [True, False, True]
    assert first["behavior_logprobs"] == [-0.5, 0.0, -0.25]
    assert first["logprobs"] == [0.0, -0.5, -1.0]
    assert first["coefficients"] == [0.0, -0.125, -0.25]
    assert first["reward"] == 1.0
    assert first["reward_tokens"] == [2]
    assert first["scores"]["math"] == 1.0
    assert first["statuses"]["format"] == "not_applicable"
    assert first["text"] == "é ?"
    assert first["advantages"] == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    assert second["logprobs"] == [-1.5]
    assert third["reward"] is None
    assert third["reward_values"] == []
    assert third["advantages"] == [0.0, 0.0]


def test_what_rewards_said_beside_their_values_is_kept(tmp_path: Path, groups: list[Group]) -> None:
    first, *rest = groups[0].rollouts
    said = Score(1.0, logged={"acc": 1.0}, extras={"pred": "é", "parts": [1, None]})
    groups[0] = replace(groups[0], rollouts=(replace(first, scores={"mine": said, "plain": Score(0.0)}), *rest))
    ledger = Ledger(tmp_path)
    ledger.write("stage", record_of(1, groups))
    rows = ledger.read("stage", 1)
    assert json.loads(rows[0]["extras"]) == {"mine": {"acc": 1.0, "pred": "é", "parts": [1, None]}}
    assert [row["extras"] for row in rows[1:]] == [None, None]


def test_a_step_written_again_replaces_itself(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Ledger(tmp_path)
    for step in (10, 2, 10):
        ledger.write("stage", record_of(step, groups[: 1 if step == 2 else 2]))
    ledger.write("other", record_of(1, groups[1:]))
    assert ledger.steps("stage") == [2, 10]
    assert ledger.steps("other") == [1]
    assert ledger.steps("none") == []
    assert len(ledger.read("stage", 10)) == 3
    assert [path.suffix for path in (tmp_path / "stage").iterdir()] == [".parquet"] * 2
    with pytest.raises(FileNotFoundError):
        ledger.read("stage", 3)


def test_every_file_has_the_same_schema_and_its_version(tmp_path: Path, groups: list[Group]) -> None:
    """Whatever a step lacks: no column is of type null."""
    ledger = Ledger(tmp_path)
    ledger.write("one", record_of(1, groups), {"math": 1.0, "format": 0.5})
    ledger.write("two", record_of(2, groups[1:]))
    first, second = (pq.read_schema(ledger.path(*where)) for where in (("one", 1), ("two", 2)))
    assert first.equals(second, check_metadata=True)
    assert first.metadata[b"groupwise.ledger"] == VERSION.encode()
    assert not [field.name for field in first if pa.types.is_null(field.type)]
    assert first.field("logprobs").type.value_type == pa.float32()
    assert first.field("advantages").type.value_type == pa.float64()
    assert pa.types.is_map(first.field("scores").type)
    whole = pq.read_table([ledger.path("one", 1), ledger.path("two", 2)])
    assert whole.column("stage").to_pylist() == ["one"] * 3 + ["two"]


def test_rows_name_their_step_prompt_answer_and_the_parts_of_their_reward(tmp_path: Path, groups: list[Group]) -> None:
    first = groups[0].rollouts[0]
    asked = Example("rows:1", "2 + 2 = \ud800?", answer="4")
    talk = Example("rows:2", ({"role": "user", "content": "é?"},))
    groups[0] = Group(Prompt(asked, (5, 6)), (replace(first, prompt=Prompt(asked, (5, 6))), groups[0].rollouts[1]))
    groups[1] = Group(groups[1].prompt, (replace(groups[1].rollouts[0], prompt=Prompt(talk, (4,))),))
    record = record_of(7, groups)
    ledger = Ledger(tmp_path)
    ledger.write("stage", replace(record, entropy=record.logprobs * -2), {"math": 0.5, "format": 2.0})
    rows = ledger.read("stage", 7)
    assert [(row["stage"], row["step"]) for row in rows] == [("stage", 7)] * 3
    assert (rows[0]["prompt"], rows[0]["answer"]) == ("2 + 2 = ??", "4")
    assert json.loads(rows[2]["prompt"]) == [{"role": "user", "content": "é?"}]
    assert rows[2]["answer"] is None
    assert rows[0]["parts"] == {"math": 0.5, "format": None}
    assert rows[0]["score_weights"] == {"math": 0.5, "format": 2.0}
    assert rows[1]["scores"] == {"math": 0.0, "format": None}, "a scored row names every reward"
    assert rows[1]["statuses"] == {"math": "scored", "format": None}
    assert (rows[2]["scores"], rows[2]["parts"]) == (None, None)
    assert rows[0]["entropy"] == [0.0, 1.0, 2.0]


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Which had scores as a struct, columns of type null and no step."""
    (tmp_path / "stage").mkdir()
    row = {"group": 0, "scores": {"math": 1.0, "format": None}, "values": None, "logprobs": [-0.5, -0.25]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "stage" / "000001.parquet")
    assert Ledger(tmp_path).read("stage", 1) == [row]


def test_which_weights_drew_which_tokens(tmp_path: Path, groups: list[Group]) -> None:
    first, second = groups[0].rollouts
    groups[0] = replace(groups[0], rollouts=(replace(first, version=3, versions=((3, 1), (4, 3))), second))
    ledger = Ledger(tmp_path)
    ledger.write("stage", record_of(1, groups))
    mixed, plain, _ = ledger.read("stage", 1)
    assert (mixed["version"], mixed["versions"]) == (3, [{"version": 3, "end": 1}, {"version": 4, "end": 3}])
    assert plain["versions"] == [{"version": plain["version"], "end": len(plain["tokens"])}]


def test_a_file_of_the_second_version_is_read_and_explained(tmp_path: Path, groups: list[Group]) -> None:
    """Which had no spans."""
    ledger = Ledger(tmp_path)
    path = ledger.write("stage", record_of(1, groups), {"math": 1.0})
    table = pq.read_table(path).drop_columns(["versions"])
    pq.write_table(table.replace_schema_metadata({"groupwise.ledger": "2"}), path)
    rows = ledger.read("stage", 1)
    assert "versions" not in rows[0]
    assert rows[0]["version"] == groups[0].rollouts[0].version
    assert select(rows, replace(recipes.grpo), "step 1").rows == [[0, 1], [2]]


def test_two_writes_are_the_same_bytes(tmp_path: Path, groups: list[Group]) -> None:
    one, two = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    paths = [ledger.write("stage", record_of(1, groups), {"math": 1.0}) for ledger in (one, two)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def always_right(completions: Sequence[str], **columns: Any) -> list[float]:
    return [1.0 for _ in completions]


class Slow(Ledger):
    """Tells when a write begins, and waits until it may go on."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.begun, self.may = Event(), Event()
        self.error: Exception | None = None

    def write(self, stage: str, record: StepRecord, weights: Mapping[str, float] | None = None) -> Path:
        self.begun.set()
        self.may.wait()
        if self.error:
            raise self.error
        return super().write(stage, record, weights)


def test_a_writer_hands_over_at_once_and_drains(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Slow(tmp_path)
    writer = LedgerWriter(ledger, print)
    writer.write("stage", record_of(1, groups), {})
    ledger.begun.wait()
    assert ledger.steps("stage") == []
    ledger.may.set()
    writer.write("stage", record_of(2, groups), {})
    assert writer.drain() == [ledger.path("stage", 1), ledger.path("stage", 2)]
    assert writer.drain() == []
    assert ledger.steps("stage") == [1, 2]
    writer.close()


def test_an_error_of_the_writer_reaches_whoever_comes_next(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Slow(tmp_path)
    ledger.error = OSError(errno.ENOSPC, "No space left on device")
    ledger.may.set()
    for then in ("drain", "write", "close"):
        writer = LedgerWriter(ledger, print)
        writer.write("stage", record_of(1, groups), {})
        arguments = ("stage", record_of(2, groups), {}) if then == "write" else ()
        with pytest.raises(OSError, match="No space left"):
            getattr(writer, then)(*arguments)
        writer.close()


def test_a_full_disk_under_the_writer_stops_the_run_with_its_reason(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*of: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Ledger, "write", full)
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1 = ?", "answer": "2"}\n' * 4)
    task = groupwise.tasks.from_file(tmp_path / "rows.jsonl", groupwise.as_reward(always_right))
    grpo = replace(recipes.grpo, source=replace(recipes.grpo.source, max_completion_tokens=8))
    stage = groupwise.Stage("grpo", grpo, task, steps=1, prompts_per_step=2, learning_rate=1e-3)
    run = groupwise.Run("full", str(tiny_model), (stage,), evaluation=groupwise.HeldOut(problems=0))
    with pytest.raises(UserError, match="the disk is full"):
        groupwise.run(run, tmp_path / "run", sinks=())


def test_the_parts_of_a_reward_are_those_that_are_summed() -> None:
    """A referee that is asked beside the rewards adds nothing."""
    scores = {"math": Score(1.0), "length": Score(-0.5), "referee": Score(1.0), "none": Score(None)}
    rollout = Rollout(Prompt(Example("a", "q"), (1,)), (2,), (True,), (-1.0,), "", True, 0, scores=scores)
    assert parts_of(rollout, {"math": 1.0, "length": 0.2, "none": 2.0}) == {"math": 1.0, "length": -0.1, "none": None}


@pytest.mark.parametrize("left", [b"", b"PAR1", b"PAR1" + b"\x00" * 99 + b"PAR1", b"half a file"])
def test_a_damaged_step_is_named(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "grpo").mkdir()
    (tmp_path / "grpo" / "000003.parquet").write_bytes(left)
    with pytest.raises(UserError, match=r"000003\.parquet: is damaged, so this step cannot be read"):
        Ledger(tmp_path).read("grpo", 3)
    with pytest.raises(FileNotFoundError):
        Ledger(tmp_path).read("grpo", 4)
