"""One run through the whole family: frozen samples, pairs, a critic, coefficients that move, a reference that follows.

What a stage keeps beside its weights (critic, reference, coefficients, gathered samples) must survive a break at any
step: the run continues to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import KL, Algorithm, Critic, Entropy, Reference
from groupwise.errors import UserError
from groupwise.ledger.files import Ledger
from groupwise.sinks import Sinks
from groupwise.sources import DistinctPaths, FrozenPolicy
from groupwise.tasks.stepwise import Difficulty

TASK = gw.tasks.stepwise(level=Difficulty(operands=(2, 2), largest=9), held_out_size=4)
SAMPLE = gw.OnPolicy(group_size=4, max_completion_tokens=8)


class BreakOff(BaseException):
    """What ends a run at once; an error of a sink does not."""


def digits(completions: Sequence[str], **columns: Any) -> list[float]:
    return [sum(letter.isdigit() for letter in text) / 8 for text in completions]


REWARDED = replace(TASK, rewards=(gw.as_reward(digits, correct_at=0.1),))
FROZEN = FrozenPolicy(
    samples_per_prompt=4,
    sampling_temperature=1.0,
    max_completion_tokens=8,
    prompts=12,
    models=("sft", ""),
    select=DistinctPaths(calculations=False, duplicates="text"),
    demonstrations=True,
)
PPO = replace(
    recipes.ppo,
    source=replace(SAMPLE, group_size=1),
    kl=KL(0.1, "k1", place="reward", target=0.5, horizon=50.0),
    critic=Critic("own"),
)
EXACT = replace(
    recipes.grpo,
    source=replace(SAMPLE, top_p=0.9),
    kl=KL(0.05, "exact", weight="live"),
    entropy=Entropy(0.01, target=9.0, rate=0.01),
    reference=Reference(refresh_every=2),
)


def stage(name: str, algorithm: Algorithm, task: gw.Task = REWARDED, **numbers: Any) -> gw.Stage:
    plan = {"steps": 3, "prompts_per_step": 4, "learning_rate": 1e-2, "checkpoint_every": 1} | numbers
    return gw.Stage(name, algorithm, task, **plan)


RECIPE = gw.Run(
    name="family",
    model=gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64),
    stages=(
        stage("sft", recipes.sft, TASK),
        stage("rft", replace(recipes.rft, source=FROZEN), start="first", epochs=2),
        stage("ppo", PPO, epochs=2),
        stage("exact", EXACT, minibatches=2),
        stage("pairs", replace(recipes.online_dpo, source=replace(recipes.online_dpo.source, max_completion_tokens=8))),
        stage("greedy", replace(recipes.remax, source=replace(recipes.remax.source, max_completion_tokens=8))),
    ),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=0),
)


class Breaks(Sinks):
    """Ends the run with an error at one step of each stage, once."""

    def __init__(self, at: set[tuple[str, int]]) -> None:
        super().__init__()
        self.at = at
        self.heard: dict[tuple[str, int], dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) in self.at:
            self.at.discard((stage, step))
            raise BreakOff(f"{stage} {step}")
        self.heard[stage, step] = dict(values)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Breaks]:
    sink = Breaks(set())
    return gw.run(RECIPE, tmp_path_factory.mktemp("straight") / "run", sinks=[sink]).directory, sink


def test_a_run_that_breaks_off_in_every_stage_continues_to_the_bit(
    straight: tuple[Path, Breaks], tmp_path: Path
) -> None:
    whole, heard = straight
    sink = Breaks({(stage.name, 2) for stage in RECIPE.stages})
    for _ in RECIPE.stages:
        with pytest.raises(BreakOff):
            gw.run(RECIPE, tmp_path / "run", sinks=[sink])
    gw.run(RECIPE, tmp_path / "run", sinks=[sink])
    for plan in RECIPE.stages:
        ours, theirs = (
            load_file(path / "models" / plan.name / "model.safetensors") for path in (tmp_path / "run", whole)
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), plan.name
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in told] == list(heard.heard)


def test_frozen_samples_come_from_the_models_that_were_named(straight: tuple[Path, Breaks]) -> None:
    """Twelve prompts, four samples of each of two policies; then the demonstrations beside what was kept."""
    directory, sink = straight
    first, later = sink.heard["rft", 1], sink.heard["rft", 2]
    assert first["gathered_groups"] == first["paths/kept"] + 12
    assert first["paths/kept"] + first["paths/wrong"] + first["paths/truncated"] + first["paths/duplicate"] == 96
    assert "paths/kept" not in later
    assert (directory / "gathered" / "rft.jsonl").exists()


def test_a_critic_learns_and_the_penalty_follows_its_target(straight: tuple[Path, Breaks]) -> None:
    """Far below the target the coefficient falls by a fifth of completions/horizon: 0.1 · (1 - 0.2 · 4/50) a step."""
    _, sink = straight
    coefficients = [sink.heard["ppo", step]["kl_coefficient"] for step in (1, 2, 3)]
    assert coefficients[0] == pytest.approx(0.1 * (1 - 0.2 * 4 / 50))
    assert all("value_loss" in sink.heard["ppo", step] for step in (1, 2, 3))
    assert sink.heard["ppo", 1]["critic_grad_norm"] > 0


def test_the_bonus_rises_while_entropy_is_low(straight: tuple[Path, Breaks]) -> None:
    _, sink = straight
    weights = [sink.heard["exact", step]["entropy_coefficient"] for step in (1, 2, 3)]
    assert weights == pytest.approx([0.02, 0.03, 0.04])


def test_the_reference_follows_every_second_step(straight: tuple[Path, Breaks]) -> None:
    """The first minibatch of a step right after a refresh has nothing to penalise; the step before it has."""
    _, sink = straight
    assert sink.heard["exact", 2]["kl"] > sink.heard["exact", 3]["kl"] > 0
    assert all(sink.heard["exact", step]["engine_learner_gap"] < 1e-4 for step in (1, 2, 3))


def test_the_ledger_keeps_what_a_method_needs(straight: tuple[Path, Breaks]) -> None:
    directory, _ = straight
    ledger = Ledger(directory / "ledger")
    ppo, greedy, pairs = (ledger.read(name, 1) for name in ("ppo", "greedy", "pairs"))
    assert all(len(row["values"]) == len(row["old_logprobs"]) == len(row["tokens"]) for row in ppo)
    assert all(row["greedy_reward"] is not None for row in greedy)
    chosen, rejected = (row for row in pairs if row["group"] == 0)
    assert chosen["reward"] > rejected["reward"]
    assert {"rft", "exact"} <= {path.name for path in (directory / "ledger").iterdir()}


def test_a_source_cannot_sample_from_a_stage_that_comes_later(tmp_path: Path) -> None:
    plan = stage("rft", replace(recipes.rft, source=replace(FROZEN, models=("later",))))
    recipe = replace(RECIPE, stages=(plan, stage("later", recipes.sft, TASK)))
    with pytest.raises(UserError, match="later has left no model yet"):
        gw.run(recipe, tmp_path / "run", sinks=[])


def test_a_source_calls_models_by_the_names_that_a_stage_begins_with(tmp_path: Path) -> None:
    """first: the run's own first model; last: what the stage before left."""

    def left(name: str, models: tuple[str, ...]) -> bytes:
        plan = stage("rft", replace(recipes.rft, source=replace(FROZEN, models=models)), start="first")
        recipe = replace(RECIPE, stages=(RECIPE.stages[0], plan))
        return (gw.run(recipe, tmp_path / name, sinks=[]).model / "model.safetensors").read_bytes()

    assert left("words", ("first", "last")) == left("names", ("", "sft"))
