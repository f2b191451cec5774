"""Each alarm is raised by what it is for, by nothing less, and by no quickstart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import HeldOut, Local, Native, NewModel, OnPolicy, Run, Stage, recipes
from groupwise.algorithm import KL
from groupwise.doctor import Alarm, Doctor, alarms, new_alarms
from groupwise.doctor.hacking import RewardHacking
from groupwise.doctor.learning import DISTANCE, GRADIENT, ClippedShare, MaskedShare, Mismatch, Staleness
from groupwise.doctor.policy import EntropyCollapse, LengthDrift, NoSignal, Repetition, Truncation
from groupwise.rewards import as_reward
from groupwise.runs.session import run
from groupwise.sinks import Sinks
from groupwise.tasks.task import Task
from groupwise.training.metrics import repeats
from groupwise.types import Example

QUICKSTART = Path(__file__).parent / "quickstart.jsonl"
"""Metrics of a real quickstart that alarms read, three digits each."""


def rows(steps: int, **metrics: Any) -> list[dict[str, float]]:
    """A metric is one number, or a function of the 0-based step."""
    return [
        {"step": step + 1} | {name.replace("__", "/"): of(step) if callable(of) else of for name, of in metrics.items()}
        for step in range(steps)
    ]


def falling(start: float, end: float, steps: int) -> Any:
    return lambda step: start + (end - start) * step / (steps - 1)


LENGTH, CUT, CIRCLES = "completions__mean_length", "completions__clipped_ratio", "completions__repetitive_ratio"
LOW, HIGH = "clip_ratio__low_mean", "clip_ratio__high_mean"
CASES: list[tuple[Alarm, list[dict[str, float]], list[str], list[list[dict[str, float]]]]] = [
    (
        EntropyCollapse(),
        rows(30, entropy=lambda step: 1.0 if step < 15 else 0.05, reward=0.3),
        ["from 1 to 0.05", "reward of 0.3", "entropy.coefficient"],
        [
            rows(30, entropy=lambda step: 1.0 if step < 15 else 0.2, reward=0.3),
            rows(30, entropy=lambda step: 1.0 if step < 15 else 0.05, reward=0.92),  # certain, and right
            rows(30, entropy=lambda step: 1.0 if step < 15 else 0.05, reward=lambda step: step / 40),  # and rising
            rows(15, entropy=lambda step: 1.0 if step < 5 else 0.01, reward=0.3),  # too early to tell
        ],
    ),
    (
        LengthDrift(),
        rows(40, **{LENGTH: falling(100, 400, 40)}, reward=lambda step: 0.5 + 0.01 * (step % 2)),
        ["tokens (more than 2 times)", "did not rise"],
        [
            rows(40, **{LENGTH: falling(100, 400, 40)}, reward=falling(0.2, 0.7, 40)),  # it pays
            rows(40, **{LENGTH: falling(100, 150, 40)}, reward=0.5),
            rows(40, **{LENGTH: falling(100, 400, 40)}),  # demonstrations
        ],
    ),
    (LengthDrift(), rows(40, **{LENGTH: falling(100, 5, 40)}, reward=0.5), ["from 89 to 16"], []),
    (
        Truncation(),
        rows(10, **{CUT: 0.3}),
        ["30% of the completions were cut off", "max_completion_tokens"],
        [rows(10, **{CUT: 0.25}), rows(9, **{CUT: 1.0}), rows(10, **{CUT: lambda step: float(step == 9)})],
    ),
    (
        NoSignal(),
        rows(10, frac_reward_zero_std=0.8, reward=0.1),
        ["80% of the groups", "mean reward of 0.1", "group_size"],
        [
            rows(10, frac_reward_zero_std=0.75, reward=0.1),
            rows(40, frac_reward_zero_std=0.9, reward=falling(0.2, 1.0, 40)),  # learned out
            rows(10, frac_reward_zero_std=0.9, reward=lambda step: 1.0 if step else 0.2),
        ],
    ),
    (NoSignal(), rows(10, frac_reward_zero_std=0.9, reward=0.97), ["mean reward of 0.97", "harder prompts"], []),
    (Repetition(), rows(10, **{CIRCLES: 0.5}), ["50% of the completions repeat"], [rows(10, **{CIRCLES: 0.2})]),
    (
        ClippedShare(),
        rows(10, **{LOW: 0.2, HIGH: 0.15}),
        ["35% of the tokens (20% low, 15% high", "learning rate"],
        [rows(10, **{LOW: 0.1, HIGH: 0.15})],
    ),
    (MaskedShare(), rows(10, masked_ratio=0.6), ["60% of the sampled tokens"], [rows(10, masked_ratio=0.5)]),
    (Mismatch(1e-3), rows(3, engine_learner_gap=0.02), ["differ by 0.02"], [rows(3, engine_learner_gap=1e-6)]),
    (Mismatch(0.1), rows(3, engine_learner_gap=0.2), ["more than 0.1"], [rows(3, engine_learner_gap=0.02)]),
    (Staleness(1), rows(3, staleness=4.0), ["4.0 updates behind"], [rows(3, staleness=1.0), rows(3, staleness=0.0)]),
    (
        GRADIENT,
        rows(25, grad_norm=lambda step: 50.0 if step == 24 else 1.0 + 0.1 * (step % 3)),
        ["grad_norm is 50", "times the median of the last 24 steps", "max_grad_norm"],
        [
            rows(25, grad_norm=lambda step: 9.0 if step == 24 else 1.0 + 0.1 * (step % 3)),
            rows(15, grad_norm=lambda step: 50.0 if step == 14 else 1.0),  # too early to know what is usual
            rows(25, grad_norm=lambda step: 50.0 if step == 24 else 10.0 ** (step % 4 - 2)),  # it always jumps
        ],
    ),
    (DISTANCE, rows(30, kl=lambda step: 5.0 if step == 29 else 0.01), ["kl is 5"], [rows(30, kl=0.0), rows(30)]),
    (
        RewardHacking("rm", 100),
        rows(60, rewards__rm__mean=falling(0, 1, 60)),
        [],
        [],
    ),
]
HACKED = [
    row | ({"eval/accuracy": 0.6 - 0.05 * (number // 5)} if number % 5 == 4 else {})
    for number, row in enumerate(rows(60, rewards__rm__mean=lambda step: step // 5 / 10))
]
CASES[-1] = (RewardHacking("rm", 100), HACKED, ["the reward 'rm' rises while the rule falls"], [HACKED[:29], []])


@pytest.mark.parametrize(("alarm", "raised_by", "words", "quiet"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_an_alarm_is_raised_by_its_cause_and_by_nothing_less(
    alarm: Alarm, raised_by: Sequence[Any], words: Sequence[str], quiet: Sequence[Sequence[Any]]
) -> None:
    sentence = alarm.sentence(raised_by)
    assert sentence is not None
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    for history in quiet:
        assert alarm.sentence(history) is None
    assert alarm.sentence([]) is None


def test_it_is_told_once_until_it_stops() -> None:
    """Two stretches of ten truncated steps, apart: told in the tenth step of each."""
    share = [1.0] * 14 + [0.0] * 14 + [1.0] * 14
    history = rows(len(share), **{CUT: lambda step: share[step]})
    told = [step + 1 for step in range(len(share)) if list(new_alarms(history[: step + 1], [Truncation()]))]
    assert len(told) == 2
    assert told[0] == 10
    assert 28 < told[1] <= 38


def test_a_recorded_quickstart_raises_none() -> None:
    recorded = [json.loads(line) for line in QUICKSTART.read_text().splitlines()]
    for stage in ("sft", "grpo"):
        own = [row for row in recorded if row["stage"] == stage]
        assert len(own) >= 60
        for step in range(1, len(own) + 1):
            assert list(new_alarms(own[:step], alarms(1, half_precision=False))) == [], (stage, step)
    assert {"entropy", "grad_norm", "completions/repetitive_ratio", "staleness", "masked_ratio"} <= set(recorded[-1])


def test_a_resumed_run_says_the_same(tmp_path: Path) -> None:
    """The file of one that was killed after step 12 and continued from step 5 is that of one that never stopped."""
    lines = [json.dumps({"stage": "grpo", **row}) + "\n" for row in rows(20, **{CUT: 0.9})]

    def follow(directory: Path, lives: Sequence[tuple[int, int]]) -> bytes:
        directory.mkdir()
        metrics = directory / "metrics.jsonl"
        for start, end in lives:
            metrics.write_text("".join(lines[:start]))
            doctor = Doctor("grpo", metrics, directory / "alarms.jsonl", alarms(1, half_precision=False))
            for step in range(start, end):
                with metrics.open("a") as file:
                    file.write(lines[step])
                doctor.observe(step + 1)
        return (directory / "alarms.jsonl").read_bytes()

    whole = follow(tmp_path / "whole", [(0, 20)])
    assert json.loads(whole) | {"sentence": ""} == {
        "stage": "grpo",
        "step": 10,
        "alarm": "truncated completions",
        "sentence": "",
    }
    assert follow(tmp_path / "killed", [(0, 12), (5, 20)]) == whole


def test_what_repeats() -> None:
    assert repeats((1, 2, 3) * 10)
    assert repeats((7,) * 16)
    assert not repeats((7,) * 15)  # too short to say
    assert not repeats(tuple(range(100)))
    assert not repeats((*range(20), *range(20)))  # said twice: less than half of its 4-grams stood before


ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", answer=str(n + 1)) for n in range(8))


class Heard(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.rows: list[Mapping[str, float]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append(values)


def trained(
    model: Path | NewModel, out: Path, reward: Any, steps: int, **budget: Any
) -> tuple[list[dict[str, Any]], Heard]:
    """What the doctor said of a real run, and what was heard."""
    tokens = budget.pop("tokens", 6)
    source = OnPolicy(group_size=8, max_completion_tokens=tokens)
    algorithm = replace(recipes.grpo, source=source, kl=KL(0.0))
    options: dict[str, Any] = {"prompts_per_step": 2, "learning_rate": 1e-3} | budget
    stage = Stage("stage", algorithm, Task("rows", ROWS, (as_reward(reward),)), steps, **options)
    name, heard = model if isinstance(model, NewModel) else str(model), Heard()
    recipe = Run("doctor", name, (stage,), Local(device="cpu", threads=1), evaluation=HeldOut(problems=0))
    run(recipe, out, sinks=[heard])
    path = out / "alarms.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else [], heard


def test_a_reward_that_nobody_earns_and_a_limit_that_nobody_meets(tiny_model: Path, tmp_path: Path) -> None:
    said, heard = trained(tiny_model, tmp_path / "run", lambda completion: 0.0, 10, learning_rate=0.0)
    assert [row["alarm"] for row in said] == ["truncated completions", "groups without signal"]
    assert {row["step"] for row in said} == {10}
    notes = [note for note in heard.notes if note.startswith("stage: after step 10, ")]
    assert len(notes) == 2
    assert notes[0].startswith("stage: after step 10, truncated completions: ")
    report = (tmp_path / "run" / "report.html").read_text()
    assert "groups without signal" in report
    assert "100% of the groups had equal rewards" in report


def favourite(tokens: list[int]) -> float:
    return tokens.count(10) / max(1, len(tokens))


def test_a_policy_that_ends_in_circles(tiny_model: Path, tmp_path: Path) -> None:
    """A reward for saying one thing again and again: entropy goes and the completions turn in circles."""
    said, heard = trained(tiny_model, tmp_path / "run", favourite, 40, learning_rate=2e-2, tokens=20)
    assert heard.rows[-1]["completions/repetitive_ratio"] > 0.5
    assert "repetition" in {row["alarm"] for row in said}


@pytest.mark.parametrize("honest", [True, False])
def test_an_engine_that_stays_behind(
    honest: bool, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes new weights only at first: rollouts are stale; or, where it says they are new, not the learner's."""
    opened = Native.open

    def stuck(self: Native, directory: Path, live: Any, *rest: Any, **options: Any) -> Any:
        import copy

        engine = opened(self, directory, copy.deepcopy(live), *rest, **options)
        claimed = (lambda version: None) if honest else lambda version: setattr(engine, "version", version)
        monkeypatch.setattr(engine, "load", lambda weights, version: claimed(version))
        return engine

    monkeypatch.setattr(Native, "open", stuck)
    reward = lambda completion: float(sum(map(ord, completion)) % 5)  # noqa: E731
    said, heard = trained(tiny_model, tmp_path / "run", reward, 8, learning_rate=1e-2)
    alarms = {row["alarm"] for row in said} & {"stale rollouts", "sampler and learner disagree"}
    assert alarms == {"stale rollouts" if honest else "sampler and learner disagree"}
    assert heard.rows[-1]["staleness"] == (7 if honest else 0)
    assert ("policy_drift" in heard.rows[-1]) == honest


def test_a_learning_rate_that_is_far_too_high(tiny_model: Path, tmp_path: Path) -> None:
    """Many updates on one draw go further than the clip allows."""
    reward = lambda completion: float(sum(map(ord, completion)) % 5)  # noqa: E731
    said, _ = trained(tiny_model, tmp_path / "run", reward, 10, learning_rate=5e-2, epochs=4, minibatches=2)
    assert "clipped tokens" in {row["alarm"] for row in said}
