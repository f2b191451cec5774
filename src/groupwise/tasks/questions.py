"""This module keeps what a model was asked in training, beside the model: so that whoever talks to it can ask it the
same way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from groupwise.algorithm import Source
from groupwise.storage.atomic import RECORD
from groupwise.tasks.task import Task
from groupwise.types import Example

KEY = "asked"
LOOKED_AT = 300  # rows
SHOWN_LETTERS = 60


@dataclass(frozen=True)
class Questions:
    """These say how the model of a stage was asked."""

    single: bool = False
    """Whether every prompt was one question, with nothing said before it."""
    example: str = ""
    """A held-out question."""
    answer: str = ""
    """Its reference answer."""
    system: str = ""
    """The system message before every question."""
    stop_strings: tuple[str, ...] = ()
    """Texts that also ended an answer."""
    chat: Literal["auto", "always", "never"] = "auto"
    """See ``Task.chat``."""
    begun: str = ""
    """How every answer was begun for the model: the words of the assistant's that all prompts end with."""
    temperature: float | None = None
    """That its own answers were sampled at; None: it sampled none."""

    @classmethod
    def of(cls, task: Task, source: Source | None = None) -> Questions:
        """Reads them off a stage's task and the source of what it learns from; the example is a held-out row where
        there is one."""
        rows = [task.train[place] for place in range(min(LOOKED_AT, len(task.train)))]
        shown = next(iter([*task.held_out[:1], *rows[:1]]), None)
        if shown is None:
            return cls()
        begun = {_begun(row) for row in rows}
        return cls(
            all(map(_is_single, rows)),
            _last_words(shown),
            shown.answer or "",
            task.system or "",
            task.stop_strings,
            task.chat,
            begun.pop() if len(begun) == 1 else "",
            source.temperature if source and source.sampled_by() == "learner" else None,
        )

    def in_words(self) -> str:
        """Says what is asked of the model because it was trained so; empty where its chat template alone decides."""
        said = [f"the system message {_short(self.system)}"] if self.system else []
        said += [f"answers that also end with {', '.join(map(_short, self.stop_strings))}"] if self.stop_strings else []
        said += [f"answers begun with {_short(self.begun)}"] if self.begun else []
        said += [f'chat="{self.chat}"'] if self.chat != "auto" else []
        return ", ".join(said)

    def record(self) -> dict[str, Any]:
        """Returns them as ``groupwise_run.json`` keeps them."""
        return {KEY: asdict(self)}


def read_questions(source: str) -> Questions:
    """Reads what the model in a directory was asked; without a word of it, as of a model from elsewhere, nothing is
    known."""
    path = Path(source).expanduser() / RECORD
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))[KEY]
        return Questions(**kept | {"stop_strings": tuple(kept.get("stop_strings", ()))})
    except (OSError, ValueError, KeyError, TypeError):
        return Questions()


def _is_single(row: Example) -> bool:
    """A text, or one message of a user, perhaps behind a system message and before words of the answer."""
    if isinstance(row.prompt, str):
        return True
    roles = [message["role"] for message in _spoken(row.prompt)]
    return roles in (["user"], ["user", "assistant"])


def _begun(row: Example) -> str:
    """The words of the assistant's that the prompt ends with."""
    last = None if isinstance(row.prompt, str) else row.prompt[-1]
    return str(last["content"]) if last and last["role"] == "assistant" else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}...")


def _spoken(messages: Sequence[Any]) -> list[Any]:
    return [message for message in messages if message["role"] != "system"]


def _last_words(row: Example) -> str:
    if isinstance(row.prompt, str):
        return row.prompt
    asked = [message for message in _spoken(row.prompt) if message["role"] != "assistant"]
    return str(asked[-1]["content"]) if asked else ""
