"""Presets give other systems' numbers. What their own code said is in benchmarks/parity.json, by ``make parity``."""

from __future__ import annotations

import importlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import Local, OnPolicy, Stage, recipes
from groupwise.algorithm import (
    GAE,
    KL,
    Algorithm,
    ClippedRatio,
    Critic,
    GroupRelative,
    TokenMean,
    Uncorrected,
    Whitening,
)
from groupwise.cli import main

ROOT = Path(__file__).resolve().parents[2]
RESULT = json.loads((ROOT / "benchmarks" / "parity.json").read_text(encoding="utf-8"))
GOLDEN = RESULT["golden"]
PRESETS = ("trl_1_16", "verl_0_9", "verl_0_9_ppo", "openrlhf_0_11", "openrlhf_0_11_ppo")


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of benchmarks/parity, by name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "parity")
    return importlib.import_module


def defaults(name: str) -> dict[str, object]:
    return importlib.import_module(f"groupwise.recipes.{name}").run_defaults


def test_trl() -> None:
    assert recipes.trl_1_16 == Algorithm(
        OnPolicy(group_size=8, temperature=1.0, max_completion_tokens=512),
        GroupRelative("group", 1, 1e-4),
        ClippedRatio(0.2, 0.2),
        KL(0.0, "k3", "live"),
        TokenMean(),
        Uncorrected(),
    )


def test_verl() -> None:
    assert recipes.verl_0_9 == Algorithm(
        OnPolicy(group_size=5, temperature=1.0, max_completion_tokens=512),
        GroupRelative("group", 1, 1e-6),
        ClippedRatio(0.2, 0.2, dual=3.0),
        KL(0.0, "k3", "none", bound=10.0),
        TokenMean(),
    )
    assert recipes.verl_0_9_ppo == Algorithm(
        OnPolicy(group_size=1, temperature=1.0, max_completion_tokens=512),
        GAE(1.0, 1.0),
        ClippedRatio(0.2, 0.2, dual=3.0),
        KL(0.0, "k1", place="reward"),
        TokenMean(),
        whitening=Whitening("tokens", 1, 1e-8),
        critic=Critic("own", 1.0, 0.5, 10.0),
    )


def test_openrlhf() -> None:
    assert recipes.openrlhf_0_11 == Algorithm(
        OnPolicy(group_size=8, temperature=1.0, max_completion_tokens=1024),
        GroupRelative("group", 1, 1e-9),
        ClippedRatio(0.2, 0.2),
        KL(0.01, "k1", place="advantage", bound=10.0),
        TokenMean(),
    )
    assert recipes.openrlhf_0_11_ppo == Algorithm(
        OnPolicy(group_size=1, temperature=1.0, max_completion_tokens=1024),
        GAE(1.0, 1.0),
        ClippedRatio(0.2, 0.2),
        KL(0.01, "k1", place="reward", bound=10.0),
        TokenMean(),
        whitening=Whitening("tokens", 0, 0.0),
        critic=Critic("own", 1.0, 0.5, 9.0),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_numbers_beside_the_algorithm_are_those_of_a_stage_and_a_learner(name: str) -> None:
    known = {field.name for kind in (Stage, Local) for field in fields(kind)}
    assert set(defaults(name)) <= known
    assert set(defaults(name)) >= {"prompts_per_step", "minibatches", "learning_rate", "schedule", "betas"}


def test_a_draw_is_cut_into_the_updates_of_each_system() -> None:
    """verl: 256 of 1024 prompts; OpenRLHF: 128 completions of 1024 prompts with 8 or 1 each; TRL: one."""
    cut = {name: (defaults(name)["prompts_per_step"], defaults(name)["minibatches"]) for name in PRESETS}
    assert cut == {
        "trl_1_16": (1, 1),
        "verl_0_9": (1024, 4),
        "verl_0_9_ppo": (1024, 4),
        "openrlhf_0_11": (1024, 1024 * 8 // 128),
        "openrlhf_0_11_ppo": (1024, 1024 // 128),
    }


@pytest.mark.parametrize(
    ("name", "rate", "schedule", "floor", "betas", "decay"),
    [
        ("trl_1_16", 1e-6, "linear", 0.0, [0.9, 0.999], 0.0),
        ("verl_0_9", 1e-6, "constant", 0.0, [0.9, 0.999], 0.01),
        ("openrlhf_0_11", 1e-6, "cosine", 0.1, [0.9, 0.95], 0.0),
    ],
)
def test_a_run_of_a_preset_has_its_numbers(
    name, rate, schedule, floor, betas, decay, roomy_model, tmp_path, capsys
) -> None:
    recipe = dry_run(name, roomy_model, tmp_path, capsys)
    (stage,), learner = recipe["stages"], recipe["learner"]
    assert (stage["learning_rate"], stage["schedule"], stage["learning_rate_floor"]) == (rate, schedule, floor)
    assert (learner["betas"], learner["weight_decay"], learner["max_grad_norm"]) == (betas, decay, 1.0)
    assert (stage["prompts_per_step"], stage["minibatches"]) == tuple(
        defaults(name)[key] for key in ("prompts_per_step", "minibatches")
    )


def test_options_go_before_a_preset_s_numbers_and_other_methods_have_none(roomy_model, tmp_path, capsys) -> None:
    options = ["--learning_rate", "3e-5", "--learner.weight_decay", "0.5"]
    recipe = dry_run("verl_0_9", roomy_model, tmp_path, capsys, *options)
    assert (recipe["stages"][0]["learning_rate"], recipe["learner"]["weight_decay"]) == (3e-5, 0.5)
    assert recipe["stages"][0]["minibatches"] == 4
    plain = dry_run("grpo", roomy_model, tmp_path, capsys)
    assert plain["stages"][0]["prompts_per_step"] == 16
    assert plain["learner"]["betas"] == list(Local().betas)


def dry_run(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, Any]:
    """The recipe that the command would run."""
    data = tmp_path / "train.jsonl"
    data.write_text('{"question": "1+1=", "answer": "2"}\n' * 4)
    capsys.readouterr()
    given = ["run", name, "--model", str(model), "--data", str(data), "--reward", "answer"]
    assert main([*given, *options, "--dry_run"]) == 0
    return json.loads(capsys.readouterr().out)


def test_their_code_said_so_once_and_ours_says_so_now(parity) -> None:
    """Loss, gradient and advantages, and the critic's, of one small draw, to 1e-10."""
    assert set(GOLDEN["found"]) == set(PRESETS)
    kinds = {"mask": torch.bool, "finished": torch.bool, "group": torch.int64}
    numbers = GOLDEN["draw"].items()
    draw = parity("draws").Draw(**{name: torch.tensor(x, dtype=kinds.get(name, torch.float64)) for name, x in numbers})
    by_hand = {"verl_0_9_ppo": parity("explained").whitened_by_counts}
    for name in PRESETS:
        found = by_hand.get(name, parity("ours").ours)(vars(recipes)[name], draw, 1)
        mine, theirs = vars(found), GOLDEN["found"][name]
        assert abs(mine["loss"] - theirs["loss"]) < 1e-10, name
        assert abs(mine["value_loss"] - theirs["value_loss"]) < 1e-10, name
        for quantity in ("logprobs", "advantages", *(["values"] if "values" in theirs else [])):
            expected = torch.tensor(theirs[quantity], dtype=torch.float64)
            assert (mine[quantity] - expected).abs().max() < 1e-10, (name, quantity)
            assert expected.abs().max() > 1e-3


def test_nothing_in_the_comparison_differs_without_a_formula() -> None:
    rows = RESULT["rows"]
    assert {row["system"] for row in rows} == {"TRL", "verl", "OpenRLHF"}
    as_they_are = [row for row in rows if row["preset"]]
    assert {row["preset"] for row in as_they_are} == set(PRESETS)
    assert all(max(row["difference"].values()) <= 1e-10 for row in as_they_are)
    for row in rows:
        explained = row.get("difference_by_hand", row["difference"])
        assert row["verdict"] == ("explained" if "why" in row else "same"), row["name"]
        assert max(explained.values()) <= RESULT["tolerance"] == 1e-10, row["name"]


def test_the_page_shows_the_comparison(parity, tmp_path) -> None:
    page, shown = parity("page"), ROOT / "docs" / "parity.md"
    copy = tmp_path / "parity.md"
    copy.write_text(shown.read_text(encoding="utf-8"), encoding="utf-8")
    page.write(copy, RESULT)
    assert copy.read_text(encoding="utf-8") == shown.read_text(encoding="utf-8")
    assert all(f"`{name}`" in page.tables(RESULT) for name in PRESETS)
