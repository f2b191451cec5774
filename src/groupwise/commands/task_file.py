"""A task that a Python file defines: ``--task FILE.py`` or, where it defines several, ``--task FILE.py:NAME``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from groupwise.commands.recipe_file import errors_in
from groupwise.commands.recipe_module import namespace_of
from groupwise.errors import UserError
from groupwise.runs.recipe import Run
from groupwise.tasks.task import Task

EXPECTED = "task = Task(...), or run = Run(...) whose stages have one"


def is_task_file(spec: str) -> bool:
    """Says whether a task's name is that of a Python file, perhaps with a name in it."""
    return spec.endswith(".py") or ".py:" in spec


def read_task(spec: str) -> Task:
    """Runs the file and returns its task: the one of that name, ``task``, its only one, or that of its run's last
    stage (with an environment, where one has). Raises UserError where there is none."""
    file, _, name = spec.partition(".py")
    path, name = Path(f"{file}.py"), name.removeprefix(":")
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a Python file that defines {EXPECTED}")
    sys.path.insert(0, str(path.parent.resolve()))
    with errors_in(path):
        namespace = namespace_of(path)
        found = _named(namespace, name) if name else _only(namespace)
        if isinstance(found, Run):
            tasks = [stage.task for stage in found.stages]
            found = next((task for task in reversed(tasks) if task.episodes is not None), tasks[-1])
    if not isinstance(found, Task):
        raise UserError(f"{spec}: {_missing(namespace, name)}; expected {EXPECTED}")
    return found


def _named(namespace: dict[str, Any], name: str) -> Any:
    """A task or a run, or what a function of that name makes."""
    found = namespace.get(name)
    return found() if inspect.isfunction(found) else found


def _only(namespace: dict[str, Any]) -> Any:
    """Returns ``task``, the only task, or ``run``; a function is called where all of its parameters have a default."""
    tasks = [value for value in namespace.values() if isinstance(value, Task)]
    if isinstance(namespace.get("task"), Task):
        return namespace["task"]
    if len(tasks) == 1:
        return tasks[0]
    run = namespace.get("run")
    if inspect.isfunction(run):
        needed = [each for each in inspect.signature(run).parameters.values() if each.default is each.empty]
        return None if needed else run()
    return run


def _missing(namespace: dict[str, Any], name: str) -> str:
    tasks = sorted(each for each, value in namespace.items() if isinstance(value, Task))
    if name:
        return f"its {name} is {type(namespace[name]).__name__}" if name in namespace else f"it defines no {name}"
    if tasks:
        return f"it defines {', '.join(tasks)}; say which: --task FILE.py:{tasks[0]}"
    return "its function run has parameters without a default" if "run" in namespace else "it defines no task"
