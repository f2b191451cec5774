"""This is ``groupwise audit --environment``: players who deserve nothing, and those whom the rows show, play against an
environment."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

TOO_MANY = 1
"""Exit code where more of the players who deserve nothing won than --max_false_positives allows."""


def audit_file(chosen: Namespace) -> int:
    """Plays, prints what was found, and writes --json."""
    from groupwise.audit.environments import audit_environment, lines_of
    from groupwise.commands.task_file import is_task_file, read_task

    if chosen.reward or chosen.data:
        raise UserError("--environment FILE.py brings its own rows and reward; leave REWARD and --data out")
    if not is_task_file(chosen.environment):
        raise UserError(f"--environment {chosen.environment}: expected a Python file whose task has an environment")
    task = read_task(chosen.environment)
    if task.episodes is None:
        raise UserError(f"--environment {chosen.environment}: {task.name} has neither environment nor tools")
    rows = task.held_out if len(task.held_out) else task.train
    if not len(rows):
        raise UserError(f"--environment {chosen.environment}: {task.name} has no rows to play")
    rows = [rows[place] for place in range(min(chosen.limit, len(rows)))]
    findings = audit_environment(task.episodes, rows, 1.0 if chosen.correct_at is None else chosen.correct_at)
    print(visible(f"environment {task.episodes.name} of {task.name} on {counted(len(rows), 'row')}, each played twice"))
    for line in lines_of(findings):
        print(visible(line))
    if len(task.rewards) > 1 or task.episodes.name == "tools":
        print("What other rewards of the task say is not asked here: groupwise audit REWARD --data DATA")
    if chosen.json:
        from groupwise.storage.named_file import write_named_json

        write_named_json(
            Path(chosen.json), {"environment": task.episodes.name, "players": [each.to_json() for each in findings]}
        )
    undeserving = [each for each in findings if not each.should_win]
    rate = sum(each.won for each in undeserving) / max(1, sum(each.episodes for each in undeserving))
    if chosen.max_false_positives is not None and rate > chosen.max_false_positives:
        allowed = f"{chosen.max_false_positives:.3%}"
        print(f"groupwise audit: {rate:.3%} of undeserving players won, more than {allowed}", file=sys.stderr)
        return TOO_MANY
    return 0
