"""Policies that no longer change: gathered once, selected, stored, then drawn from epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import AllRollouts, BestAndWorst, DistinctPaths, FrozenPolicy, Native, UserError
from groupwise.learners.local import LocalLearner
from groupwise.protocols import RolloutEngine
from groupwise.rewards import as_reward
from groupwise.sources import DrawContext
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Completion, Example, Group, Request, Sampling
from groupwise.values.metric_names import untimed

Open = Callable[..., DrawContext]
SOURCE = FrozenPolicy(samples_per_prompt=4, max_completion_tokens=6, select=AllRollouts())


def finished_short(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) < 8) for text in completions]


class Counted:
    """A real engine that says how many requests it was given."""

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine, self.requests = engine, 0
        self.version, self.context_tokens = engine.version, engine.context_tokens

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        self.requests += len(requests)
        return self.engine.generate(requests, sampling)


@pytest.fixture
def counted(world: Open) -> Callable[..., tuple[DrawContext, Counted]]:
    def make(source: Any, *args: Any, **options: Any) -> tuple[DrawContext, Counted]:
        here = world(source, *args, **{"prompts_per_step": 4} | options)
        engine = Counted(here.engine)
        return replace(here, engine=engine), engine

    return make


def ids(groups: Sequence[Group]) -> list[str]:
    return [group.prompt.example.id for group in groups]


def test_everything_is_sampled_at_the_first_draw_and_then_drawn_in_epochs(
    counted: Callable[..., tuple[DrawContext, Counted]], rows: tuple[Example, ...]
) -> None:
    here, engine = counted(SOURCE, prompts_per_step=5)
    phases: list[tuple[str, int, int]] = []
    here = replace(here, on_phase=lambda *phase: phases.append(phase))
    draws = [SOURCE.draw(here, {})]
    for _ in range(3):
        draws.append(SOURCE.draw(here, draws[-1].position))
    assert engine.requests == 10
    assert [phase for phase in phases if phase[0] == "gather"] == [("gather", done, 10) for done in range(1, 11)]
    assert [phase for phase in phases if phase[0] == "sample"] == [("sample", done, 40) for done in (16, 32, 40)]
    epochs = [ids(draws[0].groups + draws[1].groups), ids(draws[2].groups + draws[3].groups)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(row.id for row in rows)
    assert epochs[0] != epochs[1]
    rollouts = [rollout for draw in draws[:2] for group in draw.groups for rollout in group.rollouts]
    assert len(rollouts) == 40
    assert all(rollout.reward == len(rollout.text) for rollout in rollouts)
    assert {rollout.version for rollout in rollouts} == {ANOTHER_POLICY}  # drawn at 0.7, trained at 1
    assert draws[0].sampled_tokens == sum(len(rollout.tokens) for rollout in rollouts)
    assert draws[0].metrics["reward"] == pytest.approx(sum(len(rollout.text) for rollout in rollouts) / 40)
    assert [draw.metrics["gathered_groups"] for draw in draws] == [10] * 4
    assert draws[1].metrics == {"gathered_groups": 10}
    assert draws[1].sampled_tokens == 0


def test_samples_depend_on_seed_row_and_place_only(world: Open, drawn: Callable[..., Any]) -> None:
    """Not on the engine's batch size, nor on how many rows or samples there are."""

    def sampled(source: FrozenPolicy, here: DrawContext) -> dict[str, Any]:
        return dict(drawn(source.draw(here, {}).groups))

    whole = sampled(SOURCE, world(SOURCE, prompts_per_step=10))
    assert sampled(SOURCE, world(SOURCE, prompts_per_step=10, max_rows=3)) == whole
    part = replace(SOURCE, prompts=3, samples_per_prompt=2)
    found = sampled(part, world(part, prompts_per_step=3))
    assert len(found) == 3
    assert found == {row: whole[row][:2] for row in found}
    assert sampled(SOURCE, replace(world(SOURCE, prompts_per_step=10), seed=8)) != whole


def test_a_resumed_run_reads_the_same_groups_and_samples_nothing(
    counted: Callable[..., tuple[DrawContext, Counted]], tmp_path: Path
) -> None:
    source = replace(SOURCE, select=BestAndWorst())
    before, _ = counted(source)
    before = replace(before, store=tmp_path / "gathered")
    draws = [source.draw(before, {}), source.draw(before, {"prompts": 4})]
    after, engine = counted(source)
    after = replace(after, store=tmp_path / "gathered")
    again = [source.draw(after, {}), source.draw(after, {"prompts": 4})]
    assert engine.requests == 0
    assert [draw.groups for draw in again] == [draw.groups for draw in draws]
    assert again[0].metrics == untimed(draws[0].metrics)
    assert again[0].sampled_tokens == 0
    assert [path.name for path in (tmp_path / "gathered").iterdir()] == ["stage.jsonl"]


def test_what_cannot_be_continued_is_refused(world: Open, rows: tuple[Example, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kept in memory only"):
        SOURCE.draw(world(SOURCE), {"prompts": 4})
    here = replace(world(SOURCE), store=tmp_path)
    with pytest.raises(UserError, match=r"stage\.jsonl"):
        SOURCE.draw(here, {"prompts": 4})
    SOURCE.draw(here, {})
    with pytest.raises(UserError, match=r"samples_per_prompt=4.*remove the file"):
        replace(SOURCE, samples_per_prompt=2).draw(replace(here), {})
    other = replace(world(SOURCE, rows[:3]), store=tmp_path)
    with pytest.raises(UserError, match=r"other rows: row \d was row:\d"):
        SOURCE.draw(other, {})


def test_the_union_of_two_models(world: Open, open_learner: Callable[..., LocalLearner], drawn: Any) -> None:
    """Pooled for each prompt in the order of ``models``; an empty name is the policy itself."""

    def open_policy(name: str) -> RolloutEngine:
        learner = open_learner()
        for tensor in dict(learner.weights()).values():
            tensor.data.mul_({"warmer": 0.5, "colder": 2.0}[name])
        return Native().open(learner.directory, learner.live_module(), learner.tokenizer)

    def sampled(*models: str) -> dict[str, Any]:
        source = replace(SOURCE, models=models)
        return dict(drawn(source.draw(replace(world(source, prompts_per_step=10), open_policy=open_policy), {}).groups))

    union = sampled("warmer", "", "colder")
    warmer, plain = sampled("warmer"), sampled()
    assert sampled("") == plain
    assert all(len(samples) == 12 for samples in union.values())
    assert {row: samples[:4] for row, samples in union.items()} == warmer
    # The same prompts, but seeds of its own: the policy is the second of three here.
    assert all(samples[4:8] != plain[row] for row, samples in union.items())
    assert sampled("", "warmer") != sampled("warmer", "")
    elsewhere = replace(SOURCE, models=("elsewhere",))
    with pytest.raises(UserError, match="cannot sample from elsewhere"):
        elsewhere.draw(world(elsewhere), {})


def test_demonstrations_beside_the_kept_paths(world: Open, rows: tuple[Example, ...]) -> None:
    """D' = D + kept: every asked row's own completion once, without a reward."""
    rewards = (as_reward(finished_short),)
    source = replace(SOURCE, max_completion_tokens=40, select=DistinctPaths(duplicates="text"))
    paths = source.draw(world(source, prompts_per_step=1, rewards=rewards), {})
    both = replace(source, demonstrations=True)
    whole = both.draw(world(both, prompts_per_step=1, rewards=rewards), {})
    kept = int(paths.metrics["gathered_groups"])
    assert kept == paths.metrics["paths/kept"] > 0
    assert sum(value for name, value in paths.metrics.items() if name.startswith("paths/")) == 40
    assert whole.metrics["gathered_groups"] == kept + 10
    groups = both.draw(world(both, prompts_per_step=kept + 10, rewards=rewards), {}).groups
    shown = [group.rollouts[0] for group in groups if group.rollouts[0].version == DEMONSTRATED]
    assert sorted(rollout.text for rollout in shown) == sorted(str(row.completion) for row in rows)
    assert all(rollout.reward is None for rollout in shown)
    with pytest.raises(UserError, match="row:0 has no demonstration"):
        both.draw(world(both, [replace(rows[0], completion=None)], rewards=rewards), {})


def test_nothing_kept_says_why(world: Open) -> None:
    source = replace(SOURCE, select=DistinctPaths(), max_completion_tokens=40)
    with pytest.raises(UserError, match=r"of 40 completions of 10 prompts none was kept \(.*paths/wrong \d+"):
        source.draw(world(source, rewards=(as_reward(finished_short, correct_at=2.0),)), {})


def test_a_task_without_rewards_can_be_imitated(world: Open) -> None:
    draw = SOURCE.draw(world(SOURCE, prompts_per_step=2, rewards=()), {})
    assert all(rollout.rewards == {} for group in draw.groups for rollout in group.rollouts)


def test_stages_share_a_store(world: Open, tmp_path: Path) -> None:
    """Each has its own samples there."""
    first = replace(world(SOURCE), store=tmp_path)
    second = replace(first, name="second")
    assert SOURCE.draw(first, {}).groups != SOURCE.draw(second, {}).groups
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second.jsonl", "stage.jsonl"]


def test_a_gathering_that_was_cut_short_samples_the_rest_alone(
    counted: Callable[..., tuple[DrawContext, Counted]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rows a part; the first two parts are on the disk when it ends, and the result is the same file."""
    monkeypatch.setattr("groupwise.sources.offline_rollouts.SAMPLED_TOGETHER", 4 * SOURCE.samples_per_prompt)
    straight, engine = counted(SOURCE)
    expected = SOURCE.draw(replace(straight, store=tmp_path / "straight"), {})
    requests = engine.requests

    def end(name: str, done: int, total: int) -> None:
        if name == "gather" and done == 8:
            raise ConnectionError

    cut, engine = counted(SOURCE)
    with pytest.raises(ConnectionError):
        SOURCE.draw(replace(cut, store=tmp_path / "cut", on_phase=end), {})
    assert len(list((tmp_path / "cut").rglob("*.jsonl"))) == 2
    before = engine.requests
    after, engine = counted(SOURCE)
    found = SOURCE.draw(replace(after, store=tmp_path / "cut"), {})
    assert (before, engine.requests) == (8, requests - 8)
    assert found.groups == expected.groups
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["stage.jsonl"]
    assert (tmp_path / "cut" / "stage.jsonl").read_bytes() == (tmp_path / "straight" / "stage.jsonl").read_bytes()
