"""A run that standardises a learned reward: measured before its first step, kept, and the same after a stop."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import KL
from groupwise.cli import main
from groupwise.errors import UserError
from groupwise.preflight import check_run
from groupwise.rewards import ModelReward, Standardised
from groupwise.sinks import Sinks
from groupwise.sources import OnPolicy
from groupwise.storage.atomic import RECORD
from groupwise.tasks.task import Task
from groupwise.types import Example


class PowerCut(BaseException):
    """Ends a run at once, as no fault of a sink does."""


ROWS = tuple(
    Example(f"row:{n}", "abcdefgh"[n], columns={"chosen": "abcdefgh"[n] * 2, "rejected": "zy"}) for n in range(8)
)
PLAN = {"prompts_per_step": 4, "learning_rate": 1e-2, "checkpoint_every": 1}
REWARD = ModelReward("rm", scale=Standardised(prompts=8, completions=6), name="rm")
RUN = gw.Run(
    "scaled",
    gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64),
    (
        gw.Stage("rm", recipes.reward_model, Task("pairs", ROWS), steps=3, **PLAN),  # type: ignore[arg-type]
        gw.Stage(
            "policy",
            replace(recipes.grpo, kl=KL(0.0), source=OnPolicy(group_size=6, max_completion_tokens=6)),
            Task("rows", ROWS, (REWARD,)),
            steps=3,
            start="first",
            **PLAN,  # type: ignore[arg-type]
        ),
    ),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=0),
)


class Heard(Sinks):
    def __init__(self, breaks: set[tuple[str, int]] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__()
        self.breaks, self.notes = set(breaks), list[str]()
        self.rows: dict[tuple[str, int], dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) in self.breaks:
            self.breaks.discard((stage, step))
            raise PowerCut(step)
        self.rows[stage, step] = dict(values)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    heard, place = Heard(), tmp_path_factory.mktemp("whole") / "run"
    gw.run(RUN, place, sinks=[heard])
    return place, heard


def test_it_is_measured_once_kept_and_told(whole: tuple[Path, Heard]) -> None:
    place, heard = whole
    kept = json.loads((place / "run.json").read_text())["reward_scales"]
    assert list(kept) == ["policy"]
    mean, spread = kept["policy"]["rm"]["mean"], kept["policy"]["rm"]["spread"]
    for step in (1, 2, 3):
        row = heard.rows["policy", step]
        assert (row["rewards/rm/scale_mean"], row["rewards/rm/scale_spread"]) == (mean, spread)
        assert row["rewards/rm/mean"] == pytest.approx((row["rewards/rm/unscaled"] - mean) / spread, rel=1e-4, abs=1e-5)
    assert abs(heard.rows["policy", 1]["rewards/rm/mean"]) < 1.0  # of the same policy, other completions
    assert any(note.startswith("policy: reward rm is standardised to (r - ") for note in heard.notes)
    left = json.loads((place / "models" / "policy" / RECORD).read_text())
    assert left["reward_scales"] == kept


def test_the_measured_completions_have_mean_0_and_spread_1(whole: tuple[Path, Heard]) -> None:
    """By the definition: (r - mean) / spread of the very scores that it was measured on."""
    scores = [0.5, 1.5, 4.0, -2.0]
    scale = Standardised().measured(scores)
    made = [scale.of(score) for score in scores]
    assert statistics.fmean(made) == pytest.approx(0.0, abs=1e-12)
    assert statistics.pstdev(made) == pytest.approx(1.0)


def test_a_run_that_is_continued_has_the_same_bits(whole: tuple[Path, Heard], tmp_path: Path) -> None:
    place, straight = whole
    heard = Heard({("policy", 1), ("policy", 2)})
    for _ in range(2):
        with pytest.raises(PowerCut):
            gw.run(RUN, tmp_path / "run", sinks=[heard])
    gw.run(RUN, tmp_path / "run", sinks=[heard])
    ours, theirs = (load_file(each / "models/policy/model.safetensors") for each in (tmp_path / "run", place))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    both = [json.loads((each / "run.json").read_text())["reward_scales"] for each in (tmp_path / "run", place)]
    assert both[0] == both[1]
    assert heard.rows["policy", 3]["rewards/rm/mean"] == straight.rows["policy", 3]["rewards/rm/mean"]


def test_a_stage_under_way_is_not_measured_anew(tmp_path: Path) -> None:
    heard = Heard({("policy", 2)})
    with pytest.raises(PowerCut):
        gw.run(RUN, tmp_path / "run", sinks=[heard])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["reward_scales"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"does not say how its rewards were standardised \(rm\).*start the stage over"):
        gw.run(RUN, tmp_path / "run", sinks=[heard])
    for spoilt in ({"mean": 1.0, "spread": 0.0}, {"mean": 1.0}, 3.0):
        told = json.dumps(record | {"reward_scales": {"policy": {"rm": spoilt}}})
        (tmp_path / "run" / "run.json").write_text(told)
        with pytest.raises(UserError, match=r"run\.json: reward_scales: .*; bring the file back"):
            gw.run(RUN, tmp_path / "run", sinks=[heard])


def test_the_check_measures_it_too(whole: tuple[Path, Heard]) -> None:
    found = check_run(RUN, out=whole[0], limit_seconds=5.0)
    assert not [each for each in found if each.kind == "problem"], found
    assert any("rm is standardised: (r - " in each.words for each in found)


def test_explain_shows_it(whole: tuple[Path, Heard], capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads((whole[0] / "run.json").read_text())["reward_scales"]["policy"]["rm"]
    options = ["--run", str(whole[0]), "--stage", "policy", "--algorithm.kl.coefficient", "0"]
    assert main(["explain", "grpo", *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"rm is (score - {kept['mean']:.4g}) / {kept['spread']:.4g}" in shown.replace("- -", "- -")
