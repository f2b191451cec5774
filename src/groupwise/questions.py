"""What a model was asked in training, beside the model: so that whoever talks to it can ask it the same way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groupwise.checkpoint import RECORD
from groupwise.tasks.task import Task
from groupwise.types import Example

KEY = "asked"
LOOKED_AT = 300  # rows


@dataclass(frozen=True)
class Questions:
    """How the model of a stage was asked."""

    single: bool = False
    """Whether every prompt was one question, with nothing said before it."""
    example: str = ""
    """A held-out question."""
    answer: str = ""
    """Its reference answer."""
    system: str = ""
    """The system message before every question."""

    @classmethod
    def of(cls, task: Task) -> Questions:
        """Of a stage's task; the example is a held-out row where there is one."""
        rows = [task.train[place] for place in range(min(LOOKED_AT, len(task.train)))]
        shown = next(iter([*task.held_out[:1], *rows[:1]]), None)
        if shown is None:
            return cls()
        return cls(all(map(_is_single, rows)), _last_words(shown), shown.answer or "", task.system or "")

    def record(self) -> dict[str, Any]:
        """As ``groupwise_run.json`` keeps it."""
        return {KEY: asdict(self)}


def asked(source: str) -> Questions:
    """What the model in a directory was asked; without a word of it, as of a model from elsewhere, nothing is known."""
    path = Path(source).expanduser() / RECORD
    try:
        return Questions(**json.loads(path.read_text(encoding="utf-8"))[KEY])
    except (OSError, ValueError, KeyError, TypeError):
        return Questions()


def _is_single(row: Example) -> bool:
    """A text, or one message of a user, perhaps behind a system message."""
    return isinstance(row.prompt, str) or [message["role"] for message in _spoken(row.prompt)] == ["user"]


def _spoken(messages: Sequence[Any]) -> list[Any]:
    return [message for message in messages if message["role"] != "system"]


def _last_words(row: Example) -> str:
    if isinstance(row.prompt, str):
        return row.prompt
    return str(_spoken(row.prompt)[-1]["content"]) if _spoken(row.prompt) else ""
