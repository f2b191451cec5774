"""This module keeps groups to look at: a few of some steps, in groups.json, as the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groupwise.learning.record import StepRecord
from groupwise.ledger.files import extras, parts_of
from groupwise.output.conversation import Part, conversation
from groupwise.runs.directory import RunDirectory
from groupwise.runs.recorder import Recorder, is_sampled
from groupwise.sources import DrawContext
from groupwise.sources.reward_metrics import signal_of
from groupwise.storage.atomic import read_json, write_json
from groupwise.training.loop import Progress
from groupwise.training.stage import Stage
from groupwise.types import Group, Prompt, Rollout

SHOWN_GROUPS = 3  # of a step


class ShownGroups(Recorder):
    """A few groups of the first step, of the one in the middle and of the last, in groups.json."""

    def __init__(self, stage: Stage, context: DrawContext, place: RunDirectory) -> None:
        self.stage, self.context, self.place = stage, context, place
        self.shown = {1, (stage.steps + 1) // 2, stage.steps}

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Adds those of this step, where it is one of them."""
        if record is not None and is_sampled(record) and progress.step in self.shown and not record.bad:
            self._show(record)
        return {}

    def _show(self, record: StepRecord) -> None:
        """Keeps the groups of a step for the report, those with a signal first."""
        path = self.place.groups
        there = read_json(path, list) or []
        kept = [row for row in there if (row["stage"], row["step"]) != (self.stage.name, record.step)]
        signal = signal_of(self.stage.algorithm)
        order = sorted(range(len(record.groups)), key=lambda number: not signal(record.groups[number]))
        starts = [sum(len(group.rollouts) for group in record.groups[:number]) for number in range(len(record.groups))]
        for number in order[:SHOWN_GROUPS]:
            kept.append(self._group(record, record.groups[number], starts[number]))
        write_json(path, kept)

    def _group(self, record: StepRecord, group: Group, start: int) -> dict[str, Any]:
        prompt, rollouts = group.prompt, []
        assert record.signals.advantages is not None
        weights = {reward.name: reward.weight for reward in self.stage.task.rewards}
        for row, rollout in enumerate(group.rollouts, start=start):
            length = len(rollout.tokens)
            rollouts.append(
                {
                    "text": rollout.text,
                    "tokens": self._pieces(rollout.tokens),
                    "reward": rollout.reward,
                    "correct": rollout.correct,
                    "advantage": float(record.signals.advantages[row, rollout.last]),
                    "coefficients": record.coefficients[row, :length].tolist(),
                    "logprobs": record.logprobs[row, :length].tolist(),
                    "finished": rollout.finished,
                }
                | ({"parts": parts_of(rollout, weights)} if len(weights) > 1 and rollout.scores else {})
                | ({"extras": said} if (said := extras(rollout)) else {})
                | ({"stop": rollout.stop, "said": _said(rollout, record, row)} if rollout.stop else {})
            )
        shown = self.context.renderer.tokenizer.decode(list(prompt.tokens), skip_special_tokens=True)
        place = {"stage": self.stage.name, "step": record.step}
        opening = {"opening": [_message(part) for part in _opening(prompt)]} if prompt.messages else {}
        return place | {"prompt": shown, "answer": prompt.example.answer, **opening, "rollouts": rollouts}

    def _pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token as text by itself."""
        decode = self.context.renderer.tokenizer.decode
        return [str(decode([token], skip_special_tokens=False)) for token in tokens]


def _opening(prompt: Prompt) -> list[Part]:
    """Returns what was said before the model's first turn."""
    return conversation(prompt.messages, (), ())[0]


def _said(rollout: Rollout, record: StepRecord, row: int) -> list[dict[str, Any]]:
    """The conversation of an episode; of each turn where its tokens stand, its reward and its advantage."""
    assert record.signals.advantages is not None
    found = []
    for part in conversation(rollout.messages, rollout.mask, rollout.turns)[1]:
        said = _message(part)
        if part.is_sampled:
            last = part.end - 1
            advantage = float(record.signals.advantages[row, last])
            said |= {"tokens": [part.begin, part.end], "reward": rollout.rewards.get(last), "advantage": advantage}
        found.append(said)
    return found


def _message(part: Part) -> dict[str, Any]:
    return {"role": part.role, "text": part.text} | ({"tool": part.tool} if part.tool else {})
