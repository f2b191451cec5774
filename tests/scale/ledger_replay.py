"""A source that draws what a ledger says was learned from: a learner that it feeds ends with the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from groupwise.algorithm import Source
from groupwise.explain.rollouts import rollout_of
from groupwise.ledger.files import Ledger
from groupwise.sources import DrawContext, Position, RolloutBatch
from groupwise.sources.draw import after_prompts
from groupwise.types import Group, Prompt, Rollout


@dataclass(frozen=True)
class FromLedger(Source):
    """Draws what a ledger says that was learned from, step after step."""

    directory: Path
    temperature: float = 1.0

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        step = context.state.global_step
        examples = {row.id: row for row in context.task.train}
        groups: dict[int, list[Rollout]] = {}
        for row in Ledger(self.directory).read("train", step + 1):
            prompt = Prompt(examples[row["example"]], tuple(row["prompt_tokens"]))
            rollout = replace(rollout_of(row), prompt=prompt)
            groups.setdefault(row["group"], []).append(rollout)
        made = [Group(rollouts[0].prompt, tuple(rollouts)) for rollouts in groups.values()]
        return RolloutBatch(made, after_prompts(step + 1))
