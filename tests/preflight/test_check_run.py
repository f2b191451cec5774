"""What would break is found before anything is spent, with rows and numbers; a recipe that is right has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes
from groupwise.learners.local import LocalLearner
from groupwise.preflight import Finding, check_run
from groupwise.rewards import as_reward
from groupwise.tasks.task import Task
from groupwise.types import Example

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}", answer=str(n + 1)) for n in range(12))


def exact(completion: str, answer: str) -> float:
    return float(completion.removeprefix("#### ") == answer)


def by_letters(completion: str, answer: str) -> float:
    return 1.0 if completion.endswith(answer) else float(sum(map(ord, completion)) % 2)


def recipe(model: Path | NewModel, task: Task, *others: Stage, **options: Any) -> Run:
    source = options.pop("source", OnPolicy(group_size=4, max_completion_tokens=6))
    algorithm = replace(options.pop("algorithm", recipes.grpo), source=source)
    stage = Stage("rl", algorithm, task, **({"steps": 5, "prompts_per_step": 3} | options))
    name = model if isinstance(model, NewModel) else str(model)
    return Run("checked", name, (*others, stage), Local(device="cpu", threads=1), evaluation=HeldOut(problems=0))


def task(rows: Any = ROWS, reward: Callable[..., float] = by_letters, **options: Any) -> Task:
    return Task("rows", rows, (as_reward(reward),), **options)


def check(run: Run, **options: Any) -> list[Finding]:
    return check_run(run, limit_seconds=2.0, **options)


def words(found: list[Finding], kind: str, part: str = "") -> str:
    return "\n".join(each.words for each in found if each.kind == kind and (not part or each.part == part))


def numbers(found: list[Finding], part: str) -> dict[str, Any]:
    [one] = [each for each in found if each.part == part and each.kind == "fact" and each.stage == "rl"]
    return dict(one.numbers)


def test_a_right_recipe_in_plain_words(tiny_model: Path) -> None:
    found = check(recipe(tiny_model, task(), minibatches=3))
    assert not [each for each in found if each.kind == "problem"], words(found, "problem")
    said = words(found, "fact", "batch")
    assert "3 prompts x 4 completions = 12 a step" in said
    assert "3 minibatches of 4: 3 updates a step" in said
    assert "in 5 steps 15 updates, 15 prompts from 12 rows: 1.25 epochs" in said
    assert numbers(found, "batch")["updates"] == 15
    assert "12 of 12 prompts come back from their tokens" in words(found, "fact", "template")
    assert "'by_letters' gives 12 of 12 gold answers full reward" in words(found, "fact", "reward")
    assert numbers(found, "engine")["gap"] < 1e-5
    signal = numbers(found, "signal")
    assert 0 <= signal["low"] <= signal["without_signal"] <= signal["high"] <= 1
    assert signal["without_signal_at_2"] > signal["without_signal"]
    assert "it was tried and fits" in words(found, "fact", "memory")
    assert numbers(found, "time")["seconds_per_step"] > 0


def test_the_machine_is_left_as_it_was(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {path: path.read_bytes() for path in tiny_model.iterdir()}
    check(recipe(tiny_model, task()))
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in tiny_model.iterdir()} == files


def test_a_reward_that_gives_gold_answers_nothing(tiny_model: Path) -> None:
    found = check(recipe(tiny_model, task(reward=lambda completion: 0.0)))
    assert "gives 0 of 12 gold answers full reward" in words(found, "problem", "reward")
    assert "row:0, row:1, row:2 and 9 more get less" in words(found, "problem", "reward")
    assert "about 100% of the groups will teach nothing" in words(found, "remark", "signal")


def test_a_reward_that_raises_is_named_with_its_row(tiny_model: Path) -> None:
    def broken(completion: str) -> float:
        raise LookupError("no such thing")

    found = check(recipe(tiny_model, task(reward=broken)))
    assert "'broken' gives 0 of 12 gold answers full reward" in words(found, "problem", "reward")
    assert "row:" in words(found, "problem", "reward")
    assert words(found, "problem", "signal")
    assert words(found, "fact", "memory")  # and the check goes on


def huge(completion: str, answer: str) -> float:
    return 1e308 * (1 if len(completion) % 2 else -1)


def test_a_gradient_that_could_not_be_used_is_named_by_its_first_number(tiny_model: Path) -> None:
    """Rewards that are finite, of a method that keeps their scale: every update would be left out."""
    found = check(recipe(tiny_model, task(reward=huge), algorithm=recipes.dr_grpo))
    said = words(found, "problem", "first step")
    assert "the gradient of" in said
    assert "advantages is inf at token" in said
    assert "prompt row:" in said


def test_rows_that_fit_no_context(tiny_model: Path) -> None:
    rows = (*ROWS, Example("row:long", "1 + " * 60, answer="1"))
    skipped = check(recipe(tiny_model, task(rows)))
    assert "1 of 13 rows looked at (row:long) leave no room" in words(skipped, "remark", "data")
    refused = check(recipe(tiny_model, task(rows), long_prompts="error"))
    assert "(row:long) leave no room for a completion in the context of 128 tokens" in words(refused, "problem", "data")


def test_rows_that_contradict_each_other_or_are_evaluated_on(tiny_model: Path) -> None:
    rows = (*ROWS, replace(ROWS[3], id="row:again", answer="7"))
    found = check(recipe(tiny_model, task(rows, held_out=(replace(ROWS[0], id="held:0"),))))
    assert "1 row (row:again) of 13 with the prompt of an earlier row and another answer" in words(found, "remark")
    assert "1 held-out row (held:0) with a prompt that is trained on" in words(found, "remark")


def test_rows_without_demonstrations(tiny_model: Path) -> None:
    rows = (ROWS[0], replace(ROWS[1], completion=None), replace(ROWS[2], completion=None))
    run = Run("checked", str(tiny_model), (Stage("sft", recipes.sft, Task("rows", rows), 2, 2),), Local(threads=1))
    said = words(check(run), "problem", "data")
    assert "2 of 3 rows looked at cannot be used (row:2, row:1): has no demonstration; supervised" in said


def test_a_recipe_that_cannot_mean_what_it_says(tiny_model: Path) -> None:
    found = check(recipe(tiny_model, task(), minibatches=9))
    assert [each.kind for each in found] == ["problem"]
    assert "9 minibatches of 3 prompts" in found[0].words


def test_options_that_never_apply_are_named(tiny_model: Path) -> None:
    [remark] = [each for each in check(recipe(tiny_model, task())) if each.part == "options"]
    assert (remark.stage, remark.kind) == ("rl", "remark")
    assert "clip low and high never apply" in remark.words


def test_a_template_that_changes_what_is_said(tiny_model: Path, tmp_path: Path) -> None:
    learner = Local(device="cpu", threads=1).open(tiny_model)
    learner.tokenizer.chat_template = learner.tokenizer.chat_template.replace(
        "{{ message['content'] }}", "{{ message['content'] | replace('+', '') }}"
    )
    learner.save(tmp_path / "model")
    found = check(recipe(tmp_path / "model", task()))
    assert "12 of 12 rows (row:0, row:1, row:2 and 9 more): the prompt's text is not what its tokens spell" in words(
        found, "problem", "template"
    )


def test_an_engine_that_samples_another_policy(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = LocalLearner.logprobs
    monkeypatch.setattr(LocalLearner, "logprobs", lambda self, rollouts, t: passed(self, rollouts, 0.7 * t))
    found = check(recipe(tiny_model, task()))
    assert "so that another policy is sampled than learned" in words(found, "problem", "engine")


def test_memory_that_is_too_small_for_one_completion(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outputs(self: LocalLearner, *rest: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(LocalLearner, "_outputs", outputs)
    found = check(recipe(tiny_model, task()))
    assert "memory ran out on" in words(found, "problem", "memory")


def test_stages_that_have_not_run_are_left_open(tmp_path: Path) -> None:
    """Of a new model: its later stages' pass rates are unknown until the first has left its model."""
    small = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    first = Stage("sft", recipes.sft, task(), 2, 2)
    run = recipe(small, task(), first)
    found = check(run)
    assert not [each for each in found if each.kind == "problem"]
    assert "open: it begins with what sft leaves" in words(found, "fact", "signal")
    small.save(tmp_path / "run/models/sft")
    there = check(run, out=tmp_path / "run")
    assert "the mean reward is" in words(there, "fact", "signal")
    assert math.isfinite(numbers(there, "signal")["reward"])
