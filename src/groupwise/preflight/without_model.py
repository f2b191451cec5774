"""This module finds out about a stage whose model cannot be opened: whatever its rows alone say."""

from __future__ import annotations

from groupwise.output.counting import counted
from groupwise.preflight.data import tell_repeated
from groupwise.preflight.findings import Notebook
from groupwise.training.intake import with_usable_rows
from groupwise.training.stage import Stage

OPEN = "the lengths of prompts, the chat template, rewards on answers, a first step, memory and time"


def tell_what_is_known(notes: Notebook, stage: Stage) -> None:
    """Tells of rows, and of reference answers that a reward cannot read; then what had to be left open."""
    notes.try_part("data", lambda: _tell_rows(notes, stage))
    notes.remark("model", f"without it these could not be looked at: {OPEN}; check again when it can be opened")


def _tell_rows(notes: Notebook, stage: Stage) -> None:
    if not len(stage.task.train):
        notes.problem("data", f"task {stage.task.name} has no training rows")
        return
    usable, lines = with_usable_rows(stage)
    for line in lines:
        notes.remark("data", line.removeprefix(f"{stage.name}: "))
    task = usable.task
    tell_repeated(notes, task)
    words = f"{counted(len(task.train), 'row')}, {len(task.held_out):,} held out"
    notes.fact("data", words, rows=len(task.train), held_out=len(task.held_out))
