"""What ``groupwise run METHOD`` begins with: the paper's numbers where a laptop can, said and numbered where not."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import HeldOut, Local, NewModel, Run, Stage, recipes, run
from groupwise.algorithm import KL
from groupwise.cli import main
from groupwise.explain import coincidences
from groupwise.explain.presets import coincidence, presets, run_defaults
from groupwise.rewards import FinalAnswer
from groupwise.sinks.jsonl import read_metrics
from groupwise.tasks.task import Task
from groupwise.training.checks import refuse
from groupwise.types import Example

TASK = Task("sums", (Example("1", "1+1="),), (FinalAnswer(),))
TEXTS = Task("texts", (Example("1", "", "one and one is two"),))
SEVERAL = {"gspo": 4, "gspo_token": 4, "sapo": 4, "gmpo": 8, "dapo": 16, "cispo": 16, "deepseek_r1": 16}
SEVERAL |= {"dppo": 8, "dppo_kl": 8, "vespo": 8, "luspo": 4}
SEVERAL |= {f"rpg_{kind}": 16 for kind in ("fkl", "rkl", "ufkl", "urkl")}


def stage(name: str, **changed: Any) -> Stage:
    wished = {key: value for key, value in run_defaults(name).items() if key in Stage.__annotations__}
    return replace(Stage(name, presets()[name], TEXTS if name == "pretrain" else TASK, 100), **wished | changed)


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_has_settings_and_says_them_in_a_numbered_list(name: str) -> None:
    known = {field.name for kind in (Stage, Local) for field in fields(kind)}
    assert set(run_defaults(name)) <= known
    assert {"learning_rate", "prompts_per_step"} <= set(run_defaults(name))
    text = importlib.import_module(f"groupwise.recipes.{name}").__doc__ or ""
    assert re.search(r"\n\nSettings of ``groupwise run`` \(``run_defaults``\):\n\n1\. ", text)


@pytest.mark.parametrize("name", recipes.__all__)
def test_a_stage_takes_them(name: str) -> None:
    """Of minibatches there are no more than prompts, and the warm-up ends before the run."""
    made = stage(name)
    assert 1 <= made.minibatches <= made.prompts_per_step
    assert made.warmup_steps < made.steps
    if name not in ("grpo_process", "gspo_token", "on_policy_distillation"):  # those need what this task has not
        refuse(made)


def test_the_numbers_of_the_papers() -> None:
    """DeepSeekMath, RFT, DAPO, R1, GSPO, GMPO, MiniMax-M1, PPO for language models, RLOO, DPO."""
    rates = {"grpo": 1e-6, "sft": 5e-5, "rft": 2e-5, "reward_model": 2e-5, "process_reward_model": 2e-5, "dpo": 1e-6}
    rates |= {"deepseek_r1": 3e-6, "dapo": 1e-6, "gmpo": 1e-6, "rloo": 1e-6, "ppo": 1e-6, "dr_grpo": 1e-6}
    assert {name: run_defaults(name)["learning_rate"] for name in rates} == rates
    assert {name: run_defaults(name)["minibatches"] for name in SEVERAL} == SEVERAL
    assert run_defaults("dapo")["warmup_steps"] == 20
    assert run_defaults("ppo")["epochs"] == 4
    assert [run_defaults("rft")[key] for key in ("warmup_steps", "schedule")] == [3, "cosine"]
    assert (stage("grpo").prompts_per_step, stage("grpo").minibatches) == (16, 1)
    assert (Stage("x", recipes.grpo, TASK, 1).learning_rate, Stage("x", recipes.grpo, TASK, 1).minibatches) == (1e-6, 1)


@pytest.mark.parametrize("name", recipes.__all__)
def test_no_recipe_is_another_on_its_own_settings(name: str) -> None:
    assert coincidence(stage(name)) == ""


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("gspo", ["grpo without its KL penalty"]),
        ("gmpo", ["grpo without its KL penalty"]),
        ("sapo", ["grpo without its KL penalty"]),
        ("gspo_token", ["grpo_process without its KL penalty"]),
        ("cispo", ["dapo (truncated completions apart)"]),
        ("rpg_urkl", ["rpg_ufkl"]),
        ("dppo", ["dr_grpo", "dppo_kl"]),
    ],
)
def test_with_one_update_a_draw_it_says_whom_it_is(name: str, others: list[str]) -> None:
    said = coincidence(stage(name, minibatches=1))
    assert said.startswith(f"with one update a draw every ratio is 1, and {name} has the gradient of ")
    assert all(other in said for other in others)
    assert f"{SEVERAL[name]} by its own settings" in said
    elsewhere = replace(stage(name, minibatches=1), name="mine")  # in a recipe file the stage has a name of its own
    assert coincidence(elsewhere) == said
    assert coincidence(replace(elsewhere, epochs=2)) == ""


def test_of_a_method_of_one_update_and_of_one_of_the_user_s_own_nothing_is_said() -> None:
    assert coincidence(stage("grpo", algorithm=replace(recipes.grpo, kl=KL(0.0)))) == ""
    own = replace(recipes.grpo, objective=recipes.rpg_rkl.objective, kl=KL(0.0))
    assert coincidence(Stage("mine", own, TASK, 1)) == ""


def test_options_that_make_one_method_another_are_found_at_any_number_of_updates() -> None:
    """R1 with GRPO's clip and penalty."""
    same = replace(recipes.deepseek_r1, objective=recipes.grpo.objective, kl=recipes.grpo.kl)
    assert coincidence(stage("deepseek_r1", algorithm=same)) == "on these options deepseek_r1 has the gradient of grpo"


def test_two_clips_that_differ_are_two_methods() -> None:
    wider = replace(recipes.lite_ppo, objective=recipes.dapo.objective)
    known = {"lite_ppo": recipes.lite_ppo}
    assert [each.name for each in coincidences(wider, 1, known)] == ["lite_ppo"]
    assert coincidences(wider, 2, known) == []
    assert coincidences(recipes.sft, 1, presets()) == []
    assert coincidences(recipes.dpo, 1, presets()) == []


def test_run_says_so_before_anything_is_spent(
    roomy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text('{"question": "1+1=", "answer": "2"}\n' * 4)
    given = ["run", "gspo", "--model", str(roomy_model), "--data", str(data), "--reward", "answer", "--dry_run"]
    assert main([*given, "--minibatches", "1"]) == 0
    assert "gspo has the gradient of grpo without its KL penalty" in capsys.readouterr().err
    assert main(given) == 0
    shown = capsys.readouterr()
    assert "gradient of" not in shown.err
    assert json.loads(shown.out)["stages"][0]["minibatches"] == 4


def test_imitation_learns_on_its_own_settings(tmp_path: Path) -> None:
    """From random weights, in the 100 steps that the command makes: more than a nat (1e-6 makes a tenth)."""
    rows = tuple(Example(str(n), f"{n % 9}+1=", f"{n % 9} plus 1 is {n % 9 + 1}") for n in range(64))
    model = NewModel(hidden_size=128, layers=1, heads=2, intermediate_size=256, context_tokens=64)
    made = Run("imitation", model, (stage("sft", task=Task("sums", rows)),), Local(device="cpu", threads=1))
    run(replace(made, evaluation=HeldOut(problems=0)), tmp_path / "run", sinks=[])
    losses = [row["loss"] for row in read_metrics(tmp_path / "run")]
    assert losses[0] - losses[-1] > 1.0


@pytest.mark.parametrize("name", ["trl_1_16", "verl_0_9", "rft", "grpo"])
def test_a_run_of_a_method_has_its_learners_settings_too(name: str) -> None:
    from groupwise.commands.run import _one_stage

    made, wished = _one_stage(name, presets()[name], "model", TASK), run_defaults(name)
    for part in (made.learner, made.stages[0]):
        known = {field.name for field in fields(part)} & wished.keys()
        assert {key: getattr(part, key) for key in known} == {key: wished[key] for key in known}
    assert {field.name for field in fields(Local)} & wished.keys() or name == "grpo"
