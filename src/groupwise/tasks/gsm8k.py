"""This task is GSM8K (Cobbe et al. 2021, arXiv 2110.14168): grade school word problems, answers after ``####``."""

from __future__ import annotations

from pathlib import Path

from groupwise.tasks.from_file import from_file
from groupwise.tasks.task import Task

HUB_NAME = "openai/gsm8k/main"


def gsm8k(train: str | Path | None = None, test: str | Path | None = None, limit: int | None = None) -> Task:
    """Makes the task GSM8K, rewarded by its final answer: from the hub, or from the paths of its ``train.jsonl`` and
    ``test.jsonl``.

    With ``train`` given and ``test`` not, a tenth of the questions is held out. ``limit``: only so many rows of each.
    Raises UserError for what cannot be read.
    """
    from groupwise.rewards import FinalAnswer

    return from_file(
        train or f"{HUB_NAME}:train",
        FinalAnswer(),
        held_out=test or (None if train else f"{HUB_NAME}:test"),
        limit=limit,
        name="gsm8k",
    )
