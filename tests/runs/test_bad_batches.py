"""A number that is not finite costs one update, leaves its evidence, and stops a run only where it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import HeldOut, Local, OnPolicy, Run, Stage, recipes
from groupwise.algorithm import Coefficients, Outputs, Signals
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.learning.nonfinite import NonFiniteUpdate, refuse_bad
from groupwise.learning.record import BadNumber
from groupwise.ledger.files import Ledger
from groupwise.rewards import as_reward
from groupwise.runs.bad_batches import MOST_KEPT, BadBatches
from groupwise.runs.session import run
from groupwise.sinks import Sinks
from groupwise.sinks.step_lines import StepTable, not_finite
from groupwise.tasks.task import Task
from groupwise.training.update import prepare, update
from groupwise.types import Example, flatten

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}", answer=str(n + 1)) for n in range(6))
CALLS = {"huge": 0}


def huge_at_first(completions: list[str], **columns: Any) -> list[float]:
    """The first two draws' rewards are finite, and float32 cannot hold what lies between them."""
    CALLS["huge"] += len(completions)
    ordinary = [float(sum(map(ord, text)) % 7) for text in completions]
    return [1e308 * (row % 2) if CALLS["huge"] <= 16 else ordinary[row] for row in range(len(completions))]


def always_huge(completions: list[str], **columns: Any) -> list[float]:
    return [1e308 * (row % 2) for row in range(len(completions))]


class Heard(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def recipe(model: Path, reward: Any = None, algorithm: Any = recipes.grpo, **budget: Any) -> Run:
    if reward:
        algorithm = replace(algorithm, source=OnPolicy(group_size=4, max_completion_tokens=6))
    task = Task("rows", ROWS, (as_reward(reward),) if reward else ())
    stage = Stage("stage", algorithm, task, **{"steps": 4, "prompts_per_step": 2, "learning_rate": 1e-2} | budget)
    return Run("bad", str(model), (stage,), Local(threads=1), evaluation=HeldOut(problems=0))


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]


def test_advantages_that_overflow_cost_two_steps_and_not_the_run(tiny_model: Path, tmp_path: Path) -> None:
    CALLS["huge"], heard, out = 0, Heard(), tmp_path / "run"
    run(recipe(tiny_model, huge_at_first, recipes.dr_grpo), out, sinks=[heard])
    rows = rows_of(out)
    assert [row["skipped_updates"] for row in rows] == [1, 1, 0, 0]
    assert [row.get("skipped_updates/advantages") for row in rows] == [1, 1, None, None]
    assert "loss" not in rows[0]
    assert rows[2]["grad_norm"] > 0
    told = [note for note in heard.notes if "left out" in note]
    assert len(told) == 2
    assert "advantages is inf at token" in told[0] or "advantages is -inf at token" in told[0]
    assert f"prompt {ROWS[0].id}" in told[0] or "prompt row:" in told[0]

    batches = Ledger(out / "bad_batches")
    assert batches.steps("stage") == [1, 2]
    kept = batches.read("stage", 1)
    assert len(kept) == 8
    where = json.loads((out / "bad_batches/stage/000001.json").read_text())["not_finite"][0]
    assert where["kind"] == "advantages"
    assert kept[where["row"]]["example"] == where["example"]
    assert where["token"] == 0  # an outcome is that of every token
    assert kept[where["row"]]["reward_values"] in ([1e308], [0.0])


@pytest.mark.parametrize("high", [1e17, 1e39, 1e200, 1e308])
def test_rewards_of_any_size_are_learned_from_where_a_group_normalises_them(
    high: float, tiny_model: Path, tmp_path: Path
) -> None:
    def huge(completions: list[str], **columns: Any) -> list[float]:
        return [high * (row % 2) - high / 2 for row in range(len(completions))]

    rows = rows_of(run(recipe(tiny_model, huge, steps=2), tmp_path / "run", sinks=[]).directory)
    assert [row["skipped_updates"] for row in rows] == [0, 0]
    assert all(row["grad_norm"] > 0 for row in rows)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_a_reward_that_is_no_finite_number_costs_its_completion_and_is_named(
    value: float, tiny_model: Path, tmp_path: Path
) -> None:
    def sometimes(completions: list[str], **columns: Any) -> list[float]:
        return [value if row % 4 == 0 else float(row % 2) for row in range(len(completions))]

    heard = Heard()
    out = run(recipe(tiny_model, sometimes, steps=2), tmp_path / "run", sinks=[heard]).directory
    rows, [told] = rows_of(out), [note for note in heard.notes if "gets no reward" in note]
    assert [row["skipped_updates"] for row in rows] == [0, 0]
    assert [row["rewards/sometimes/failed"] for row in rows] == [0.25, 0.25]
    assert "reward 'sometimes' failed: " in told
    assert "row:" in told
    kept = Ledger(out / "ledger").read("stage", 1)
    assert [row["reward"] for row in kept[::4]] == [None, None]
    assert not any(any(row["advantages"]) for row in kept[::4])


def test_a_stated_number_in_a_row_stops_the_run_and_names_the_evidence(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError) as raised:
        run(recipe(tiny_model, always_huge, recipes.dr_grpo, steps=9, most_skipped_steps=3), out, sinks=[])
    message = str(raised.value)
    assert "stage stage: updates of 3 steps in a row, up to step 3" in message
    assert "advantages is " in message
    assert str(out / "bad_batches/stage/000003.parquet") in message
    assert "\n" not in message
    assert len(rows_of(out)) == 3
    assert not (out / "models").exists()


def test_zero_never_stops(tiny_model: Path, tmp_path: Path) -> None:
    outcome = run(
        recipe(tiny_model, always_huge, recipes.dr_grpo, steps=7, most_skipped_steps=0), tmp_path / "run", sinks=[]
    )
    assert [row["skipped_updates"] for row in rows_of(outcome.directory)] == [1.0] * 7


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_seen_in_the_log_probabilities(
    value: float, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Local.open

    def broken(self: Local, directory: Any, *rest: Any) -> LocalLearner:
        learner = opened(self, directory, *rest)
        with torch.no_grad():
            learner.model.model.layers[0].mlp.down_proj.weight[3, 5] = value
        return learner

    monkeypatch.setattr(Local, "open", broken)
    with pytest.raises(UserError, match=r"5 steps in a row.* logprobs is nan at token 0 of completion"):
        run(recipe(tiny_model, None, recipes.sft, steps=9), tmp_path / "sft", sinks=[])
    with pytest.raises(UserError, match=r"5 steps in a row.*logprobs is"):
        run(recipe(tiny_model, lambda completion: len(completion), steps=9), tmp_path / "grpo", sinks=[])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("where", "name", "value", "kind"),
    [
        ("signals", "rewards", NAN, "rewards"),
        ("signals", "advantages", 1e200, "advantages"),
        ("signals", "returns", -1e39, "returns"),
        ("cotangent", "logprobs", 1e39, "coefficients"),
        ("signals", "behavior_logprobs", NAN, "behavior_logprobs"),
        ("signals", "reference_logprobs", -INF, "reference_logprobs"),
        ("signals", "old_values", INF, "old_values"),
        ("signals", "advantages", NAN, "advantages"),
        ("outputs", "logprobs", -INF, "logprobs"),
        ("outputs", "entropy", NAN, "entropy"),
        ("outputs", "values", NAN, "values"),
        ("cotangent", "logprobs", NAN, "coefficients"),
        ("cotangent", "values", INF, "coefficients"),
    ],
)
def test_each_kind_is_named_where_it_is_and_before_what_is_made_of_it(
    where: str, name: str, value: float, kind: str
) -> None:
    def zeros() -> torch.Tensor:
        return torch.zeros(2, 3, dtype=torch.float64)

    mask = torch.tensor([[True, True, True], [True, True, False]])
    parts: dict[str, dict[str, torch.Tensor]] = {
        "signals": {
            n: zeros() for n in ("behavior_logprobs", "reference_logprobs", "old_values", "returns", "advantages")
        },
        "outputs": {n: zeros().float() for n in ("logprobs", "entropy", "values")},
        "cotangent": {n: zeros() for n in ("logprobs", "values")},
    }
    parts["signals"] |= {"rewards": zeros()}
    for tensors in parts.values():
        for tensor in tensors.values():
            tensor[1, 2] = NAN  # masked: no matter

    def told() -> BadNumber | None:
        signals = Signals(mask, torch.zeros(2), rewarded=mask, finished=mask[:, 0], **parts["signals"])
        found = Coefficients(torch.tensor(0.0), Outputs(**parts["cotangent"]), zeros(), zeros(), zeros())
        try:
            refuse_bad(signals, Outputs(**parts["outputs"]), found)
        except NonFiniteUpdate as bad:
            return bad.number
        return None

    assert told() is None
    parts["cotangent"]["logprobs"][0, 0] = NAN  # what is made of it, in another place
    parts[where][name][1, 1] = value
    number = told()
    assert number is not None
    assert number.kind == kind
    if (where, name) != ("cotangent", "logprobs"):
        assert kind == "coefficients" or (number.row, number.token) == (1, 1)


def test_a_loss_alone_is_named_too() -> None:
    empty = torch.zeros(1, 1, dtype=torch.float64)
    signals = Signals(empty == 0, torch.zeros(1), empty, empty == 0, empty[:, 0] == 0)
    found = Coefficients(torch.tensor(INF), Outputs(empty), empty, empty, empty)
    with pytest.raises(NonFiniteUpdate) as raised:
        refuse_bad(signals, Outputs(empty), found)
    assert raised.value.number.sentence() == "loss is -inf"


def test_one_bad_minibatch_leaves_the_other_and_the_weights_alone(open_learner: Any, random_groups: Any) -> None:
    """Of two minibatches the one whose coefficients overflow is left out, whichever comes first."""
    learner, groups = open_learner(threads=1), random_groups(groups=2)
    learner.start_stage(None)
    algorithm = replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.0))
    stage = Stage("stage", algorithm, Task("task", ()), 4, 2, minibatches=2, learning_rate=1e-2)
    signals = prepare(stage, learner, groups)
    assert signals.advantages is not None
    signals.advantages[signals.group == 1] = float("inf")
    record, metrics = update(stage, learner, groups, signals, 0, seed=0)
    assert metrics["skipped_updates"] == 1
    assert metrics["skipped_updates/advantages"] == 1
    assert metrics["grad_norm"] > 0
    assert learner.version == 1
    assert [flatten(groups).index(flatten(groups)[bad.row]) >= 3 for bad in record.bad if bad.row is not None] == [True]
    assert all(bool(tensor.isfinite().all()) for tensor in dict(learner.weights()).values())
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_a_gradient_alone_is_named_too(open_learner: Any, random_groups: Any) -> None:
    learner, groups = open_learner(threads=1), random_groups()
    learner.start_stage(None)
    algorithm = replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.0))
    stage = Stage("stage", algorithm, Task("task", ()), 4, 3, learning_rate=1e-2)
    signals = prepare(stage, learner, groups)
    assert signals.advantages is not None
    signals.advantages.mul_(1e38)  # finite in float32, and its products with hidden states are not
    record, metrics = update(stage, learner, groups, signals, 0, seed=0)
    assert metrics["skipped_updates/gradient"] == 1
    assert record.bad[0].sentence().startswith("gradient is")
    assert record.bad[0].row is None


def test_the_line_and_the_sentence_tell_what_it_was() -> None:
    values = {"reward": 0.5, "skipped_updates": 2.0, "skipped_updates/logprobs": 2.0}
    table = StepTable("grpo", 9)
    table.add(values)
    assert table.header(60).split() == ["grpo", "reward", "skipped"]
    assert table.row(3, values, 60).split() == ["3/9", "0.500", "2"]
    assert not_finite(values) == "not finite: logprobs"
    bad = BadNumber("logprobs", float("nan"), 4, 7, 2, "train:17")
    assert bad.sentence() == (
        "logprobs is nan at token 2 of completion 7 of the step, prompt train:17 (4 such in its micro-batch)"
    )


def test_no_disk_is_filled_with_bad_batches(open_learner: Any, random_groups: Any, tmp_path: Path) -> None:
    learner, groups = open_learner(threads=1), random_groups(groups=1)
    learner.start_stage(None)
    stage = Stage("stage", replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.0)), Task("task", ()), 99)
    signals = prepare(stage, learner, groups)
    assert signals.advantages is not None
    signals.advantages.fill_(float("nan"))
    batches = BadBatches(tmp_path)
    for step in range(MOST_KEPT + 2):
        record, _ = update(stage, learner, groups, signals, step, seed=0)
        words = batches.keep("stage", record, {})
    assert len(Ledger(tmp_path).steps("stage")) == MOST_KEPT
    assert "lies in" not in words
    assert batches.last == words


def test_a_checkpoint_never_holds_weights_that_are_not_finite(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second update makes them so; what is continued from is the first step's checkpoint."""
    stepped, out = LocalLearner.step, tmp_path / "run"

    def step(self: LocalLearner, *rest: Any) -> Any:
        metrics = stepped(self, *rest)
        if self.version == 2:
            with torch.no_grad():
                next(iter(self.model.parameters()))[0, 0] = float("nan")
        return metrics

    monkeypatch.setattr(LocalLearner, "step", step)
    with pytest.raises(UserError, match="continues from the last checkpoint"):
        run(recipe(tiny_model, None, recipes.sft, steps=9, checkpoint_every=1), out, sinks=[])
    assert [path.name for path in (out / "checkpoints").glob("stage-*")] == ["stage-000001"]


def test_weights_that_broke_in_the_last_update_are_no_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing looks at the weights after the last update but what would save them."""
    from groupwise.learners.optimizer import Optimizer

    stepped = Optimizer.step

    def breaks(self: Optimizer, count: float, rates: Sequence[float]) -> tuple[list[float], bool]:
        found = stepped(self, count, rates)
        with torch.no_grad():
            self.groups[0][0].fill_(float("nan"))
        return found

    task = Task("rows", tuple(Example(f"row:{n}", f"{n} =", completion=f"{n}") for n in range(4)))
    recipe = Run("broken", str(tiny_model), (Stage("sft", recipes.sft, task, steps=1, prompts_per_step=2),))
    monkeypatch.setattr(Optimizer, "step", breaks)
    with pytest.raises(UserError, match="not finite after the last update"):
        run(recipe, tmp_path / "run", sinks=[])
    assert not (tmp_path / "run/models/sft").exists()
