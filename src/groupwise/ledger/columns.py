"""A step's rollouts as columns: one schema for every step of every stage, made from tensors without a Python float."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.learning.record import StepRecord
from groupwise.output.masking import masked
from groupwise.types import Rollout, Text, flatten

if TYPE_CHECKING:
    import numpy
    import pyarrow
    from torch import Tensor

VERSION = "5"
"""Of the schema, in each file's metadata under ``groupwise.ledger``; files of version 1 have none. From 3 on there are
``versions``: which weights drew which tokens (``Rollout.spans``); from 4 on ``stop``, ``turns``, ``messages`` and
``world_seed`` of episodes, None without an environment; from 5 on ``restarts``, which are empty but where the
conversation of an episode was written anew."""


def schema() -> pyarrow.Schema:
    """Returns name and type of every column. ``list`` columns have a value for each token of the completion."""
    import pyarrow as pa

    ids, float32s, float64s = pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.float64())
    numbers, spans = pa.map_(pa.string(), pa.float64()), pa.list_(pa.struct({"version": pa.int64(), "end": pa.int32()}))
    columns = {
        "stage": pa.string(),
        **dict.fromkeys(("step", "group"), pa.int64()),
        **dict.fromkeys(("example", "prompt", "answer"), pa.string()),
        **dict.fromkeys(("prompt_tokens", "tokens"), ids),
        "mask": pa.list_(pa.bool_()),
        "text": pa.string(),
        "finished": pa.bool_(),
        "version": pa.int64(),
        "versions": spans,
        "reward": pa.float64(),
        "stop": pa.string(),
        "turns": ids,
        "restarts": ids,
        "messages": pa.string(),
        "world_seed": pa.int64(),
        "correct": pa.bool_(),
        "greedy_reward": pa.float64(),
        "reward_tokens": ids,
        "reward_values": float64s,
        **dict.fromkeys(("scores", "score_weights", "parts"), numbers),
        "statuses": pa.map_(pa.string(), pa.string()),
        "extras": pa.string(),
        "behavior_logprobs": float32s,
        "logprobs": float32s,
        "reads": pa.string(),
        **dict.fromkeys(("old_logprobs", "reference_logprobs", "values", "entropy"), float32s),
        "advantages": float64s,
        "coefficients": float32s,
    }
    return pa.schema(list(columns.items()), metadata={"groupwise.ledger": VERSION})


def table_of(stage: str, record: StepRecord, weights: Mapping[str, float]) -> pyarrow.Table:
    """Makes a table of all rollouts of one step, a row each; ``weights`` are the rewards'."""
    import pyarrow as pa

    form = schema()
    columns = _plain(stage, record) | _rewards(record, weights) | _tokens(record)
    arrays = [_array(columns[field.name], field.type) for field in form]
    return pa.Table.from_arrays(arrays, schema=form)


def _array(values: Any, kind: pyarrow.DataType) -> pyarrow.Array:
    """Of a list of values, or of what ``_ragged`` has made already."""
    import pyarrow as pa

    return values if isinstance(values, pa.Array) else pa.array(values, type=kind)


def _plain(stage: str, record: StepRecord) -> dict[str, Any]:
    """Makes the columns that hold one value a row."""
    rollouts = flatten(record.groups)
    return {
        "stage": [stage] * len(rollouts),
        "step": [record.step] * len(rollouts),
        "group": record.signals.group.tolist(),
        "example": [rollout.prompt.example.id for rollout in rollouts],
        "prompt": [_plain_text(rollout.prompt.example.prompt) for rollout in rollouts],
        "answer": [_encodable(rollout.prompt.example.answer) for rollout in rollouts],
        "text": [_encodable(rollout.text) for rollout in rollouts],
        "finished": [rollout.finished for rollout in rollouts],
        "version": [rollout.version for rollout in rollouts],
        "versions": [[{"version": drawn_by, "end": end} for drawn_by, end in each.spans] for each in rollouts],
        "stop": [rollout.stop for rollout in rollouts],
        "turns": [rollout.turns if rollout.stop else None for rollout in rollouts],
        "restarts": [rollout.restarts for rollout in rollouts],
        "messages": [_said(rollout) for rollout in rollouts],
        "world_seed": [rollout.prompt.world for rollout in rollouts],
        "correct": [rollout.correct for rollout in rollouts],
        "greedy_reward": [group.greedy_reward for group in record.groups for _ in group.rollouts],
        "extras": [extras(rollout) for rollout in rollouts],
        "reads": [record.reads] * len(rollouts),
    }


def _rewards(record: StepRecord, weights: Mapping[str, float]) -> dict[str, Any]:
    """By its rewards. Every row that was scored at all names all rewards; one that gave no value has None."""
    rollouts = flatten(record.groups)
    names = list(dict.fromkeys(name for rollout in rollouts for name in rollout.scores))
    scores = [_by_name({n: s.value for n, s in rollout.scores.items()}, names) for rollout in rollouts]
    return {
        "reward": [rollout.reward for rollout in rollouts],
        "reward_tokens": [list(rollout.rewards) for rollout in rollouts],
        "reward_values": [list(rollout.rewards.values()) for rollout in rollouts],
        "scores": scores,
        "score_weights": [list(weights.items()) or None] * len(rollouts),
        "parts": [row and [(n, _part(value, weights.get(n, 1.0))) for n, value in row] for row in scores],
        "statuses": [_by_name({n: s.status for n, s in rollout.scores.items()}, names) for rollout in rollouts],
    }


def parts_of(rollout: Rollout, weights: Mapping[str, float]) -> dict[str, float | None]:
    """Returns what each reward of the sum added to it, by name."""
    return {name: _part(rollout.scores[name].value, each) for name, each in weights.items() if name in rollout.scores}


def _by_name(values: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]] | None:
    return [(name, values.get(name)) for name in names] if values else None


def _part(value: float | None, weight: float) -> float | None:
    """What a reward added to the sum."""
    return None if value is None else value * weight


def _tokens(record: StepRecord) -> dict[str, Any]:
    """Makes the columns that hold one value a token, a list of them a row."""
    import numpy as np

    signals, rollouts = record.signals, flatten(record.groups)
    assert signals.advantages is not None
    lengths = np.array([len(rollout.tokens) for rollout in rollouts], dtype=np.int64)
    inside = np.arange(signals.mask.shape[1])[None, :] < lengths[:, None]

    def cut(tensor: Tensor | None, kind: Any = np.float32) -> Any:
        if tensor is None:
            return [None] * len(rollouts)
        return _ragged(tensor.detach().cpu().numpy()[inside].astype(kind, copy=False), lengths)

    behavior = [np.asarray(rollout.behavior_logprobs, dtype=np.float32) for rollout in rollouts]
    return {
        "prompt_tokens": _joined(rollout.prompt.tokens for rollout in rollouts),
        "tokens": _joined(rollout.tokens for rollout in rollouts),
        "mask": cut(signals.mask, bool),
        "behavior_logprobs": _ragged(np.concatenate(behavior), lengths),
        "logprobs": cut(record.logprobs),
        "old_logprobs": cut(signals.old_logprobs),
        "reference_logprobs": cut(signals.reference_logprobs),
        "values": cut(signals.old_values),
        "entropy": cut(record.entropy),
        "advantages": cut(signals.advantages, np.float64),
        "coefficients": cut(record.coefficients),
    }


def _joined(rows: Iterable[Sequence[int]]) -> pyarrow.Array:
    """Makes a column of lists of ids, one list a row."""
    import numpy as np

    arrays = [np.asarray(row, dtype=np.int32) for row in rows]
    return _ragged(np.concatenate(arrays), np.array([len(row) for row in arrays], dtype=np.int64))


def _ragged(values: numpy.ndarray[Any, Any], lengths: numpy.ndarray[Any, Any]) -> pyarrow.Array:
    """Values one row after the other, as lists of so many."""
    import numpy as np
    import pyarrow as pa

    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _plain_text(prompt: Text) -> str | None:
    """The prompt as the data has it; of a conversation its messages as JSON."""
    return _encodable(prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, default=str))


def _said(rollout: Rollout) -> str | None:
    """The whole conversation of an episode as JSON."""
    if rollout.stop is None:
        return None
    return masked(json.dumps([*rollout.prompt.messages, *rollout.messages], ensure_ascii=False, default=str))


def _encodable(text: str | None) -> str | None:
    """Half of a surrogate pair has no UTF-8."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def extras(rollout: Rollout) -> str | None:
    """Returns what rewards said beside their values, as JSON by reward and name; None where none did."""
    said = {name: {**score.logged, **score.extras} for name, score in rollout.scores.items()}
    said = {name: values for name, values in said.items() if values}
    return masked(json.dumps(said, ensure_ascii=False)) if said else None
