"""The renderer of a task for a model, and what a model's directory remembers of how its prompts were written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from groupwise.storage.atomic import RECORD
from groupwise.tasks.episode_rows import with_tools
from groupwise.tasks.task import Task
from groupwise.tokens.documents import is_document
from groupwise.tokens.renderer import Renderer

SHOWN_LETTERS = 300  # of the first prompt

KEY = "chat_template"
"""Of run.json and of the record in a model's directory: ``{"today": "2026-11-29", "arguments": {...}}``."""


def renderer_of(
    task: Task, tokenizer: Any, name: str, stop_tokens: Sequence[int], today: date | None = None
) -> Renderer:
    """Writes prompts as the task says. ``today``: what a chat template that asks for the date is told."""
    return Renderer(
        tokenizer,
        task.system,
        task.chat,
        name,
        tuple(stop_tokens),
        task.stop_strings,
        task.template_arguments,
        task.demonstrations,
        today,
        converses=task.budget.rewritten if task.episodes is not None else "",
    )


def first_day(record: Mapping[str, Any]) -> date:
    """The date that a run tells its chat templates: that of its first start, whenever it goes on."""
    found = record.get(KEY, {}).get("today")
    return date.fromisoformat(found) if found else date.fromtimestamp(record.get("started", time.time()))


def date_record(renderer: Renderer) -> dict[str, Any]:
    """Returns what run.json says of the date; empty where the chat template does not ask for it."""
    return {KEY: {"today": renderer.today.isoformat()}} if renderer.today is not None and renderer.tells_date else {}


def template_record(task: Task, renderer: Renderer) -> dict[str, Any]:
    """Returns what a model's directory says of its prompts; empty where nothing but the template decides."""
    found: dict[str, Any] = date_record(renderer).get(KEY, {})
    if task.template_arguments:
        found |= {"arguments": dict(task.template_arguments)}
    return {KEY: found} if found else {}


def read_template_record(source: str) -> tuple[dict[str, Any], date | None]:
    """Reads the template arguments and the date that the model in a directory was trained with; none of any other
    model."""
    path = Path(source) / RECORD
    if not path.is_file():
        return {}, None
    found = json.loads(path.read_text(encoding="utf-8")).get(KEY, {})
    today = found.get("today")
    return dict(found.get("arguments", {})), date.fromisoformat(today) if today else None


def shown_prompt(renderer: Renderer, task: Task) -> str:
    """The first prompt as the model gets it, special tokens and all, on one line; without what an environment says."""
    if not len(task.train):
        return "no prompt: the task has no rows"
    if is_document(task.train[0]):
        return "documents as they stand, EOS behind each"
    episodes = task.episodes
    row = task.train[0] if episodes is None else with_tools(task.train[0], episodes.environment)
    tokens = renderer.prompt(row).tokens
    text = repr(renderer.tokenizer.decode(list(tokens), skip_special_tokens=False))
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 40]} ... {text[-35:]}"
