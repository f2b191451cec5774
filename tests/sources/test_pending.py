"""Draws made ahead lie in the checkpoint: a run that is cut goes on with them to the same bits."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise import Native, OnPolicy, Stage, recipes
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.rewards import as_reward
from groupwise.sinks import Sinks
from groupwise.sources import Demonstrations, DrawContext, RolloutBatch
from groupwise.sources.pending import read_pending, restore_pending, write_pending
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.loop import Progress, train
from groupwise.training.stage import draw_context
from groupwise.types import Example
from groupwise.values.metric_names import untimed

Open = Callable[..., DrawContext]
INNER = OnPolicy(group_size=3, max_completion_tokens=6)
SMALL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
ROWS = tuple(Example(f"row:{number}", "abcdefgh"[number]) for number in range(8))


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


def test_draws_come_back_as_they_were(world: Open, tmp_path: Path) -> None:
    here = world(INNER, prompts_per_step=2)
    draws = [INNER.draw(here, {"prompts": 4}), INNER.draw(here, {"prompts": 6})]
    write_pending(tmp_path, here, {"prompts": 4}, draws)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pending-000001.jsonl", "pending-000002.jsonl"]
    found = read_pending(tmp_path, here, 2)
    assert found == draws
    assert [group.prompt.example for draw in found for group in draw.groups] == [
        group.prompt.example for draw in draws for group in draw.groups
    ]


def test_rows_are_found_wherever_they_stand(world: Open, tmp_path: Path) -> None:
    """Also those that the stream brings much later, or brought before."""
    here = world(INNER, prompts_per_step=1)
    draw = INNER.draw(here, {})
    write_pending(tmp_path, here, {"prompts": 999}, [draw])
    assert read_pending(tmp_path, here, 1) == [draw]


def test_what_is_missing_damaged_or_strange_is_named(world: Open, tmp_path: Path) -> None:
    here = world(INNER, prompts_per_step=2)
    write_pending(tmp_path, here, {}, [INNER.draw(here, {})])
    with pytest.raises(UserError, match=r"pending-000002\.jsonl: draw 2 of 2 .* is missing"):
        read_pending(tmp_path, here, 2)
    with pytest.raises(UserError, match="was gathered from other rows"):
        read_pending(tmp_path, world(INNER, [Example("else", "x")]), 1)
    path = tmp_path / "pending-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(UserError, match="is damaged"):
        read_pending(tmp_path, here, 1)


@pytest.mark.parametrize("source", [INNER, Demonstrations()], ids=["OnPolicy", "Demonstrations"])
def test_a_source_that_draws_nothing_ahead_has_none(source: Any, world: Open, tmp_path: Path) -> None:
    here = world(source, prompts_per_step=2)
    draw = source.draw(here, {})
    assert list(source.pending(here, draw.position)) == []
    restore_pending(source, here, draw.position, tmp_path, 0)
    write_pending(tmp_path, here, {}, [draw])
    with pytest.raises(UserError, match=rf"holds 1 draws .* {type(source).__name__} does not take them up"):
        restore_pending(source, here, {}, tmp_path, 1)


def test_a_checkpoint_of_before_positions_were_mappings_is_read() -> None:
    """As they were written: a number of prompts, and nothing of pending draws."""
    old = {
        "step": 3,
        "cursor": 24,
        "num_tokens": 999,
        "kl_coefficient": None,
        "entropy_coefficient": None,
        "skipped": 0,
    }
    assert Progress.of(old) == Progress(step=3, position={"prompts": 24}, num_tokens=999)
    assert Progress.of({**old, "cursor": 0}).position == {"prompts": 0}
    new = Progress(4, {"prompts": 32, "own": {"a": [1, "b"]}}, 7, pending=2)
    assert Progress.of(json.loads(json.dumps(new.plain()))) == new


# In a run


class Heard(Sinks):
    """Keeps the numbers; cuts the run once after the step ``cut``, as its metrics come."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.cut = cut
        self.rows: dict[int, dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows[step] = untimed(dict(values))
        if step == self.cut:
            raise KeyboardInterrupt


def recipe(source: Any, steps: int = 6) -> gw.Run:
    algorithm = replace(recipes.grpo, source=source)
    task = Task("rows", ROWS, (as_reward(odd, isolated=False),))
    stage = Stage("train", algorithm, task, steps, 4, learning_rate=1e-2, checkpoint_every=2)
    evaluation = gw.HeldOut(problems=0)
    return gw.Run("mine", SMALL, (stage,), learner=gw.Local(device="cpu", threads=1), evaluation=evaluation)


def model(place: Path) -> str:
    return hashlib.sha256((place / "models" / "train" / "model.safetensors").read_bytes()).hexdigest()


def test_nothing_drawn_ahead_is_on_policy_to_the_byte(drawn_ahead: Any, tmp_path: Path) -> None:
    plain, ahead = Heard(), Heard()
    gw.run(recipe(INNER), tmp_path / "plain", sinks=[plain])
    gw.run(recipe(drawn_ahead(INNER, steps=0)), tmp_path / "ahead", sinks=[ahead])
    assert model(tmp_path / "plain") == model(tmp_path / "ahead")
    assert plain.rows == ahead.rows


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_is_cut_goes_on_with_its_draws(drawn_ahead: Any, steps: int, tmp_path: Path) -> None:
    """Cut after step 5, it goes on from the checkpoint of step 4: the draws that lie there came from older weights."""
    whole, cut, again = Heard(), Heard(cut=5), Heard()
    run = recipe(drawn_ahead(INNER, steps=steps))
    gw.run(run, tmp_path / "whole", sinks=[whole])
    with pytest.raises(KeyboardInterrupt):
        gw.run(run, tmp_path / "cut", sinks=[cut])
    checkpoint = tmp_path / "cut" / "checkpoints" / "train-000004"
    saved = json.loads((checkpoint / "groupwise_progress.json").read_text())
    assert (saved["pending"], saved["position"]) == (steps, {"prompts": 16})
    assert len(list(checkpoint.glob("pending-*.jsonl"))) == steps
    gw.run(run, tmp_path / "cut", sinks=[again])
    assert sorted(again.rows) == [5, 6]
    assert model(tmp_path / "cut") == model(tmp_path / "whole")
    assert cut.rows | again.rows == whole.rows
    assert [whole.rows[step]["staleness"] for step in (1, 2, 3, 4)] == [min(steps, step) for step in (0, 1, 2, 3)]


def test_draws_beside_learning_are_those_of_one_after_the_other(
    drawn_ahead: Any, open_learner: Callable[..., LocalLearner]
) -> None:
    """The engine has weights of its own, which it is given when the draw before is done."""

    def rows(threads: bool) -> dict[int, dict[str, float]]:
        learner = open_learner()
        learner.start_stage(reference="")
        source = drawn_ahead(INNER, threads=threads)
        algorithm = replace(recipes.grpo, source=source)
        stage = Stage("stage", algorithm, Task("rows", ROWS, (as_reward(odd),)), 4, 2, learning_rate=1e-2)
        renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
        engine = Native().open(learner.directory, copy.deepcopy(learner.live_module()), learner.tokenizer)
        heard, context = Heard(), draw_context(stage, renderer, engine, seed=0)
        progress = train(stage, context, learner, heard, Progress(), lambda progress, record: {})
        assert [type(draw) for draw in source.pending(context, progress.position)] == [RolloutBatch]
        source.close(context)
        return heard.rows

    assert rows(threads=True) == rows(threads=False)
