"""Every rollout is kept: ids, log-probabilities, rewards, advantages, coefficients. One parquet file a step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.checkpoint import open_new
from groupwise.masking import masked
from groupwise.types import Rollout, flatten
from groupwise.update import StepRecord

if TYPE_CHECKING:
    from torch import Tensor


class Ledger:
    """Writes and reads ``directory/<stage>/<step>.parquet``; a step written again replaces itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, stage: str, step: int) -> Path:
        return self.directory / stage / f"{step:06d}.parquet"

    def write(self, stage: str, record: StepRecord, weights: Mapping[str, float] | None = None) -> Path:
        """All rollouts of one step, a row each. Lists are as long as the completion; ``weights`` are the rewards'."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(stage, record.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with open_new(partial) as file:
            pq.write_table(pa.Table.from_pylist(rows(record, weights or {})), file, compression="zstd")
        os.replace(partial, path)
        return path

    def read(self, stage: str, step: int) -> list[dict[str, Any]]:
        """The rows of one step. Raises FileNotFoundError for a step that is not there."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path(stage, step)).to_pylist()

    def steps(self, stage: str) -> list[int]:
        """Steps on disk, in order."""
        return sorted(int(path.stem) for path in (self.directory / stage).glob("*.parquet"))


def rows(record: StepRecord, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """One plain dict a rollout."""
    signals, table = record.signals, []
    assert signals.advantages is not None
    greedy = [group.greedy_reward for group in record.groups for _ in group.rollouts]
    for row, (rollout, number) in enumerate(zip(flatten(record.groups), signals.group.tolist(), strict=True)):
        length = len(rollout.tokens)

        def cut(tensor: Tensor | None, row: int = row, length: int = length) -> list[float] | None:
            return None if tensor is None else tensor[row, :length].tolist()

        table.append(
            {
                "group": number,
                "example": rollout.prompt.example.id,
                "prompt_tokens": list(rollout.prompt.tokens),
                "tokens": list(rollout.tokens),
                "mask": list(rollout.mask),
                "text": rollout.text.encode("utf-8", "replace").decode(),
                "finished": rollout.finished,
                "version": rollout.version,
                "reward": rollout.reward,
                "correct": rollout.correct,
                "greedy_reward": greedy[row],
                "reward_tokens": list(rollout.rewards),
                "reward_values": list(rollout.rewards.values()),
                **_said(rollout, weights),
                "behavior_logprobs": list(rollout.behavior_logprobs),
                "logprobs": record.logprobs[row, :length].tolist(),
                "reads": record.reads,
                "old_logprobs": cut(signals.old_logprobs),
                "reference_logprobs": cut(signals.reference_logprobs),
                "values": cut(signals.old_values),
                "advantages": signals.advantages[row, :length].tolist(),
                "coefficients": record.coefficients[row, :length].tolist(),
            }
        )
    return table


def _said(rollout: Rollout, weights: Mapping[str, float]) -> dict[str, Any]:
    """By its rewards."""
    return {
        "scores": {name: score.value for name, score in rollout.scores.items()} or None,
        "score_weights": dict(weights) or None,
        "statuses": {name: score.status for name, score in rollout.scores.items()} or None,
        "extras": extras(rollout),
    }


def extras(rollout: Rollout) -> str | None:
    """What rewards said beside their values, as JSON by reward and name; None where none did."""
    said = {name: {**score.logged, **score.extras} for name, score in rollout.scores.items()}
    said = {name: values for name, values in said.items() if values}
    return masked(json.dumps(said, ensure_ascii=False)) if said else None
