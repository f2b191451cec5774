"""This module finds out about rows before a first step: answers nobody can read, and what a template does to
answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from groupwise.errors import UserError
from groupwise.protocols import ReadsGold, Reward
from groupwise.tokens.renderer import Renderer
from groupwise.training.checks import needs_reward
from groupwise.training.stage import Stage
from groupwise.types import Example

BAD = "bad by their label or weight"
SHOWN = 3  # rows that are named
LOOKED_AT = 300  # rows, evenly spread, whose answers are rendered


@dataclass(frozen=True)
class Unreadable:
    """This is a row whose reference answer a reward cannot read."""

    row: Example
    reward: str
    reason: str

    def __str__(self) -> str:
        answer = "" if self.row.answer is None else f" {self.row.answer[:60]!r}"
        return f"{self.row.id}{answer} ({self.reward}: {self.reason})"


def unreadable(rows: Sequence[Example], rewards: Sequence[Reward]) -> dict[int, Unreadable]:
    """Returns rows, by their place, whose reference answer one of the rewards cannot read. Rows that are made on
    demand, and rewards that do not say what they can read, are not asked."""
    found: dict[int, Unreadable] = {}
    for reward in rewards if isinstance(rows, list | tuple) else ():
        if not isinstance(reward, ReadsGold):
            continue
        for place, reason in enumerate(reward.unreadable(rows)):
            if reason:
                found.setdefault(place, Unreadable(rows[place], reward.name, reason))
    return dict(sorted(found.items()))


def with_usable_rows(stage: Stage) -> tuple[Stage, list[str]]:
    """Returns the stage without rows that it cannot learn from, and a line for each kind of row left out:
    demonstrations that are labelled bad, and those of ``with_readable_golds``. Raises UserError where no row would be
    left."""
    good, lines = _without_bad(stage)
    readable, more = with_readable_golds(good)
    return readable, [*lines, *more]


def _without_bad(stage: Stage) -> tuple[Stage, list[str]]:
    rows = stage.task.train
    if not isinstance(rows, list | tuple):
        return stage, []
    keep = [stage.algorithm.source.uses(row) for row in rows]
    bad = len(rows) - sum(keep)
    if not bad:
        return stage, []
    if bad == len(rows):
        raise UserError(f"{stage.name}: all {bad:,} demonstrations are {BAD}; expected some that are good")
    line = f"{stage.name}: {bad:,} of {len(rows):,} demonstrations are {BAD} and not learned from"
    return replace(stage, task=stage.task.with_rows(keep)), [line]


def with_readable_golds(stage: Stage) -> tuple[Stage, list[str]]:
    """Returns the stage without rows whose reference answer its rewards cannot read, and a line for each kind of row
    left out.

    Training rows are asked about where the stage scores completions. Raises UserError where ``unreadable_answers`` is
    error, and where no row would be left.
    """
    task, lines = stage.task, []
    rewards = task.rewards if needs_reward(stage.algorithm) else ()
    for kind, rows, asked in (("training", task.train, rewards), ("held-out", task.held_out, task.judges)):
        bad = unreadable(rows, asked)
        if not bad:
            continue
        line = f"{stage.name}: {len(bad):,} of {len(rows):,} {kind} rows have a reference answer that cannot be read: "
        line += _listed(list(bad.values()))
        if stage.unreadable_answers == "error":
            raise UserError(f"{line}; mend or remove them, or set unreadable_answers to skip")
        if len(bad) == len(rows):
            raise UserError(f"{line}; expected answers that the reward reads: name their column, or another reward")
        lines.append(f"{line}; they are skipped")
        if kind == "training":
            task = task.with_rows([place not in bad for place in range(len(rows))])
        else:
            task = replace(task, held_out=[row for place, row in enumerate(rows) if place not in bad])
    return replace(stage, task=task), lines


def template_notes(stage: Stage, renderer: Renderer) -> list[str]:
    """Says what the chat template adds to answers, and which arguments of rows it does not read.

    Raises UserError where it drops a part of an answer or rewrites its prompt.
    """
    rows = stage.task.train
    looked_at = [rows[place] for place in range(0, len(rows), max(1, -(-len(rows) // LOOKED_AT)))]
    answers = [answer for row in looked_at for answer in stage.algorithm.source.texts_of(row)]
    answers = [answer for answer in answers if answer.completion is not None]
    added = Counter(filter(None, (renderer.transcript(answer).added for answer in answers)))
    unread = Counter(name for row in looked_at for name in renderer.unread_arguments(row))
    lines = [
        f"the chat template writes {text[:80]!r} beside {count:,} of {len(answers):,} answers looked at: it is learned "
        "with them"
        for text, count in added.most_common(SHOWN)
    ]
    lines += [f"the chat template does not read {name}, which {count:,} rows set" for name, count in unread.items()]
    return lines


def _listed(rows: Sequence[Unreadable]) -> str:
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    return "; ".join(map(str, rows[:SHOWN])) + more
