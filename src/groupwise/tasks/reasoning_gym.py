"""This module makes any family of reasoning-gym (https://github.com/open-thought/reasoning-gym) a task, by its name."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from groupwise.errors import UserError
from groupwise.rewards.reasoning_gym import ReasoningGym, are_there_guards, worker_pool
from groupwise.tasks.task import Task
from groupwise.types import Example

SYSTEM = "Think it through. Then give your final answer, and nothing else, between <answer> and </answer>."
CHUNK = 50
DRAWS = 4
"""At most so many questions are drawn for each held-out question wanted."""
MAKING_SECONDS = 600.0


def reasoning_gym(
    family: str, size: int = 1000, held_out: int = 200, seed: int = 0, **config: bool | int | float | str | list[Any]
) -> Task:
    """Makes a task of ``size`` questions to train on and ``held_out`` others, with the family's verifier as the reward.

    The two splits come from different random streams, and a held-out question occurs neither in ``train`` nor twice.
    ``config`` holds the family's own options (``reasoning_gym.create_dataset``), as JSON can say them. The questions
    depend on the arguments alone; they are made in worker processes, about a millisecond each in most families and
    up to a second in a few (knight_swap, sokoban).

    Raises UserError for an unknown family or option (with the nearest name), where reasoning-gym is not installed,
    and where the family has too few different questions for ``held_out``.
    """
    _check(family, config)
    source = {"family": family, "config": config}
    train = tuple(_draw({**source, "seed": _seed(seed, "train"), "size": size}, "train"))
    seen = {example.prompt for example in train}
    fresh: list[Example] = []
    for example in _draw({**source, "seed": _seed(seed, "held_out"), "size": held_out * DRAWS}, "held_out"):
        if len(fresh) < held_out and example.prompt not in seen:
            seen.add(example.prompt)
            fresh.append(example)
    if len(fresh) < held_out:
        raise UserError(
            f"reasoning-gym family '{family}': of {held_out * DRAWS} held-out questions only {len(fresh)} are new; "
            f"ask for held_out={len(fresh)} or fewer, a smaller size than {size}, or a config with more variety"
        )
    return Task(family, train, (ReasoningGym(family, config),), tuple(fresh), system=SYSTEM)


def _draw(source: Mapping[str, Any], split: str) -> Iterator[Example]:
    """All questions of one stream, in order, a few chunks at a time."""
    family, size = source["family"], source["size"]
    chunks = [{**source, "start": start, "stop": min(start + CHUNK, size)} for start in range(0, size, CHUNK)]
    pool = worker_pool(family, source["config"], unguarded=not are_there_guards())  # no model has written any of it
    for outcome, chunk in zip(pool.run(chunks, MAKING_SECONDS), chunks, strict=True):
        if outcome.status != "done":
            raise UserError(
                f"reasoning-gym family '{family}' could not make its questions from {chunk['start']} on: "
                f"{outcome.reason or f'no end within {MAKING_SECONDS:.0f} s'}; check its options {source['config']}"
            )
        for index, (question, answer) in enumerate(outcome.value, start=chunk["start"]):
            columns = {"reasoning_gym": {**source, "index": index}}
            yield Example(f"{family}/{split}:{index}", question, answer=answer, columns=columns)


def _check(family: str, config: Mapping[str, Any]) -> None:
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise UserError("reasoning-gym is not installed; install it with: pip install 'groupwise[gym]'") from error
    if family not in DATASETS:
        near = difflib.get_close_matches(family, DATASETS, n=3, cutoff=0.5)
        hint = f"perhaps you meant {' or '.join(near)}" if near else f"there are {', '.join(sorted(DATASETS))}"
        raise UserError(f"reasoning-gym has no family '{family}'; {hint}")
    try:
        create_dataset(family, seed=0, size=1, **json.loads(json.dumps(config)))
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"reasoning-gym family '{family}' does not take the options {dict(config)}: {error}") from error


def _seed(seed: int, split: str) -> int:
    """Far apart for neighbouring seeds: reasoning-gym draws question i from seed + i."""
    return int.from_bytes(hashlib.sha256(f"{split}:{seed}".encode()).digest()[:4], "big") >> 1
