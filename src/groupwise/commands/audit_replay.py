"""groupwise audit --run: a run's episodes played again against its environment as it is today."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.tasks.task import Task

DIFFERS = 1
"""Exit code where an episode went otherwise."""


def audit_run(chosen: Namespace) -> int:
    """Plays, prints what differs, and writes --json."""
    from groupwise.audit.environments import shortened_line
    from groupwise.audit.replay import recorded, replayed
    from groupwise.commands.task_file import read_task
    from groupwise.explain.rollouts import step_rows
    from groupwise.learners.loading import load_tokenizer
    from groupwise.tasks.task_renderer import read_template_record, renderer_of

    if chosen.reward or chosen.data:
        raise UserError("--run RUN brings its own rows and reward; leave REWARD and --data out")
    stage, step, rows = step_rows(chosen.run, chosen.stage, chosen.step)
    rows = [row for row in rows if row.get("stop") is not None][: chosen.limit]
    if not rows:
        raise UserError(
            f"{chosen.run}: step {step} of {stage} holds no episodes: its task has neither environment nor tools, or "
            "--stage and --step mean another step; a reward is tried by: groupwise audit REWARD --data FILE"
        )
    file = chosen.environment or _file_of(chosen.run)
    task = read_task(file)
    episodes = task.episodes
    if episodes is None:
        raise UserError(f"{file}: {task.name} has neither environment nor tools")
    where = _tokenizer_of(Path(chosen.run))
    renderer = renderer_of(task, load_tokenizer(where), str(where), (), read_template_record(str(where))[1])
    finding = replayed(episodes, renderer, task.train, [recorded(row, episodes.name) for row in rows])
    print(visible(_head(task, file, stage, step, len(rows))))
    told = ", ".join(f"{kind} {count}" for kind, count in finding.differing.most_common())
    print(f"{finding.same} went the same" + (f"; of the others differ first: {told}" if told else ""))
    for line in finding.examples:
        print(visible(shortened_line(line)))
    if chosen.json:
        from groupwise.storage.named_file import write_named_json

        write_named_json(Path(chosen.json), {"stage": stage, "step": step, "episodes": len(rows)} | finding.to_json())
    return DIFFERS if finding.differing else 0


def _head(task: Task, file: str, stage: str, step: int, count: int) -> str:
    return f"step {step} of {stage}: {counted(count, 'episode')} played again, by {task.name} of {file}"


def _file_of(run: str) -> str:
    """The Python file that the run was begun with. Raises UserError where it was none."""
    from groupwise.commands.resume import command_of
    from groupwise.commands.task_file import is_task_file

    try:
        words, where = command_of(Path(run))
    except UserError:
        words, where = [], Path()
    file = next((word for word in words[:1] if is_task_file(word)), None)
    if file is None:
        raise UserError(
            f"{run}: was not begun by groupwise run FILE.py; say with --environment FILE.py which task it played"
        )
    return str(where / file)


def _tokenizer_of(run: Path) -> Path:
    """The newest directory of the run with a tokenizer. Raises UserError where there is none."""
    found = sorted(run.rglob("tokenizer_config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"{run}: holds no model or checkpoint whose tokenizer reads what was said")
    return found[-1].parent
