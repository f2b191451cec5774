"""This module makes rows of a run's ledger a case: what would a method have done with the rollouts that are there?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.explain.case import LISTS, Case, Response
from groupwise.ledger.files import Ledger
from groupwise.rewards.verdicts import CORRECT_AT
from groupwise.sources import AllRollouts, BestAndWorst
from groupwise.sources.reward_metrics import signal_of
from groupwise.sources.selection import select_from
from groupwise.storage.atomic import read_json
from groupwise.types import DEMONSTRATED, Example, Group, Prompt, Rollout, Score
from groupwise.values.tolerance import reaches

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StepBatch:
    """This is what a method takes of a step's rows."""

    rows: Sequence[Sequence[int]]
    """Numbers of the step's rows, by group; a pair is a group of two."""
    case: Case
    """The same as numbers."""
    left_out: Mapping[str, int]
    """Rollouts that its source would not have trained on, by the reason."""


def reward_scales(directory: str | Path, stage: str) -> dict[str, dict[str, float]]:
    """The mean and spread by which a run standardised a stage's learned rewards, by the names of these."""
    kept = (read_json(Path(directory) / "run.json", dict) or {}).get("reward_scales")
    scales = kept.get(stage) if isinstance(kept, dict) else None
    return scales if isinstance(scales, dict) else {}


def step_rows(directory: str | Path, stage: str | None, step: int | None) -> tuple[str, int, list[Row]]:
    """The rows of a run's step, and which stage and step they are of: the newest where nothing is said.

    Raises UserError, with what is there, for a run, stage or step that is not.
    """
    ledger = Ledger(Path(directory) / "ledger")
    stages = {path.name: ledger.steps(path.name) for path in sorted(ledger.directory.glob("*")) if path.is_dir()}
    stages = {name: steps for name, steps in stages.items() if steps}
    if not stages:
        raise UserError(f"{directory}: no ledger there; --run takes the directory of a run that has made a step")
    if stage is None:
        stage = _stage_with(stages, step, directory)
    if stage not in stages:
        raise UserError(f"{directory}: no stage {stage} in its ledger; there are {', '.join(stages)}")
    steps = stages[stage]
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        raise UserError(f"{directory}: stage {stage} has no step {chosen}; there are {steps[0]} to {steps[-1]}")
    return stage, chosen, list(ledger.read(stage, chosen))


def _stage_with(stages: Mapping[str, Sequence[int]], step: int | None, directory: str | Path) -> str:
    """The only one; of several the only one whose rollouts were sampled cannot be told, so it must be named."""
    able = [name for name, steps in stages.items() if step is None or step in steps]
    if len(able) == 1 or len(stages) == 1:
        return (able or list(stages))[0]
    if not able:
        there = ", ".join(f"{name} {steps[0]} to {steps[-1]}" for name, steps in stages.items())
        raise UserError(f"{directory}: no stage has step {step}; there are {there}")
    raise UserError(f"{directory} has the stages {', '.join(able)}; --stage says which")


def select(rows: Sequence[Row], algorithm: Algorithm, name: str, judge: str = "") -> StepBatch:
    """Returns what the method's source would train on, of groups that were sampled already. What is right says the
    verdict that the run kept, or the reward ``judge`` of the run; where it kept none, its first reward.

    Raises UserError where nothing is left, and where the run has no such reward.
    """
    kept = not judge and any(row.get("correct") is not None for row in rows)
    rows = rows if kept else [{**row, "correct": _verdict(row, judge, name)} for row in rows]
    rollouts = [rollout_of(row) for row in rows]
    members: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row["group"], []).append(number)
    groups = [
        Group(rollouts[chosen[0]].prompt, tuple(rollouts[i] for i in chosen), rows[chosen[0]].get("greedy_reward"))
        for chosen in members.values()
    ]
    chosen_groups, left_out = _kept(groups, algorithm)
    if not chosen_groups:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(f"{name}: nothing is left to learn from: {reasons}")
    place = {id(rollout): number for number, rollout in enumerate(rollouts)}
    chosen = [[place[id(rollout)] for rollout in group.rollouts] for group in chosen_groups]
    return StepBatch(
        chosen, _case([[rows[number] for number in group] for group in chosen], chosen_groups, name), left_out
    )


def _kept(groups: list[Group], algorithm: Algorithm) -> tuple[list[Group], dict[str, int]]:
    source, left_out = algorithm.source, {}
    signal = signal_of(algorithm)
    kept = [group for group in groups if source.keeps(group, signal)]
    left_out["in groups without signal"] = _count(groups) - _count(kept)
    selection = source.selection() or AllRollouts()
    if algorithm.objective.joins_group() and not selection.chooses():
        selection = BestAndWorst()
    chosen, _ = select_from(kept, selection)
    left_out["not selected"] = _count(kept) - _count(chosen)
    return chosen, {reason: count for reason, count in left_out.items() if count}


def _count(groups: Sequence[Group]) -> int:
    return sum(len(group.rollouts) for group in groups)


def rollout_of(row: Row) -> Rollout:
    """Returns the rollout that a row of a ledger keeps; its example has no text, which the ledger does not repeat."""
    prompt = Prompt(Example(row["example"], ""), tuple(row["prompt_tokens"]))
    statuses = row["statuses"] or {}
    return Rollout(
        prompt=prompt,
        tokens=tuple(row["tokens"]),
        mask=tuple(row["mask"]),
        behavior_logprobs=tuple(row["behavior_logprobs"]),
        text=row["text"],
        finished=row["finished"],
        version=row["version"],
        versions=tuple((span["version"], span["end"]) for span in row.get("versions") or ()),
        rewards=_placed(row),
        scores={name: Score(value, statuses.get(name) or "scored") for name, value in (row["scores"] or {}).items()},
        correct=row["correct"],
    )


def _verdict(row: Row, judge: str, name: str) -> bool | None:
    """Of the reward ``judge``; empty, where no verdict was kept: of the first reward."""
    scores, value = row["scores"] or {}, row["reward"]
    if judge and judge not in scores:
        raise UserError(f"{name}: no reward is named {judge!r}; the run kept {', '.join(scores) or 'none'}")
    if scores:
        value = scores[judge or next(iter(row.get("score_weights") or scores))]
    return None if value is None else reaches(value, CORRECT_AT)


def _placed(row: Row) -> dict[int, float]:
    return dict(zip(row["reward_tokens"], row["reward_values"], strict=True))


def _case(rows: Sequence[Sequence[Row]], groups: Sequence[Group], name: str) -> Case:
    weights = rows[0][0].get("score_weights") or {}
    greedy = [group.greedy_reward for group in groups]
    return Case(
        groups=[[_response(row) for row in group] for group in rows],
        greedy_rewards=None
        if all(reward is None for reward in greedy)
        else [float("nan") if reward is None else reward for reward in greedy],
        reward_weights=weights,
        name=name,
    )


def _response(row: Row) -> Response:
    """One update a draw keeps no old log-probabilities: then they are those of the first pass."""
    lists = {name: row[name] for name in LISTS if row.get(name) is not None}
    lists.setdefault("old_logprobs", row["logprobs"])
    return Response(
        logprobs=row["logprobs"],
        lists=lists,
        reward=row["reward"],
        scored=row["reward"] is not None,
        placed=_placed(row),
        parts=row["scores"] or {},
        truncated=not row["finished"],
        mask=row["mask"],
        tokens=row["tokens"],
        correct=row["correct"],
        judged=True,
        demonstrated=row["version"] == DEMONSTRATED,
    )
