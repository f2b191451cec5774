"""This module reads verl's rows: a prompt of messages, and its ground truth in ``reward_model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.golds import Structured, alternatives_of, answer_of
from groupwise.tasks.messages import prompt_of
from groupwise.tasks.values import cell, shown, structure_of
from groupwise.types import Example


@dataclass(frozen=True)
class Verl:
    """This is verl's convention: a prompt of messages and its ground truth in ``reward_model``."""

    structured: Structured = "error"

    @property
    def description(self) -> str:
        return "verl: prompt; answer: reward_model.ground_truth"

    @property
    def used(self) -> tuple[str, ...]:
        return ("prompt", "reward_model")

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        reward_model = structure_of(cell(id, row, "reward_model"))
        if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
            raise UserError(f'{id}: reward_model is {shown(reward_model)}; expected {{"ground_truth": ...}}')
        value, where = reward_model["ground_truth"], f"{id}: reward_model.ground_truth"
        answer = answer_of(value, where, self.structured)
        others = alternatives_of(value, where, self.structured)
        columns = {**row, "reward_model": reward_model}
        return Example(id, prompt_of(cell(id, row, "prompt"), f"{id}: prompt"), None, answer, columns, others)
