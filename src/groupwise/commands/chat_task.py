"""This is ``groupwise chat MODEL --task FILE.py``: the task's environment talks with the model, or with a person in its
place."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from groupwise.commands.prompt_options import trained_options
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.commands.episodes import Keyboard, Player
    from groupwise.tasks.task import Task
    from groupwise.types import Example

CALL = "/call"


def play_task(chosen: Namespace, said: Mapping[str, Any]) -> None:
    """Plays a row, and on a terminal further ones for as long as the user likes."""
    from groupwise.rewards.scoring import prepare

    _refuse(chosen)
    task = _task(chosen.task)
    rows = task.held_out if len(task.held_out) else task.train
    kind = "held-out row" if len(task.held_out) else "row"
    if not 0 <= chosen.row < len(rows):
        raise UserError(f"--row is {chosen.row}; {task.name} has the {kind}s 0 to {len(rows) - 1}")
    prepare(task.judges)
    player = _open(chosen, said, task)
    print(visible(f"{task.name}: {_about(player, chosen)}"), file=sys.stderr)
    try:
        number = chosen.row
        while True:
            print(visible(f"{kind} {number} ({rows[number].id}), seed {chosen.seed}"), file=sys.stderr)
            _play(player, rows[number], chosen)
            number = (number + 1) % len(rows)
            if not sys.stdin.isatty() or input("Enter: the next row; /exit leaves. ").strip() == "/exit":
                return
    except EOFError:
        print(visible("\nleft before the end"), file=sys.stderr)
    finally:
        assert task.episodes is not None
        task.episodes.worlds.close()


def _refuse(chosen: Namespace) -> None:
    for name in ("against", "prompt", "remember"):
        if vars(chosen)[name]:
            raise UserError(f"--{name} does not go with --task, where the environment says what is asked")
    refuse_number("--row", chosen.row, "[0, inf)", whole=True)


def _task(spec: str) -> Task:
    from groupwise.commands.task_file import is_task_file, read_task

    if not is_task_file(spec):
        raise UserError(f"--task {spec}: expected a Python file whose task has an environment or tools, FILE.py")
    task = read_task(spec)
    if task.episodes is None:
        raise UserError(f"--task {spec}: {task.name} has neither environment nor tools; groupwise chat MODEL asks it")
    if not len(task.held_out) and not len(task.train):
        raise UserError(f"--task {spec}: {task.name} has no rows to play")
    return task


def _open(chosen: Namespace, said: Mapping[str, Any], task: Task) -> Player:
    from groupwise.commands.episodes import Person, Player
    from groupwise.commands.models import open_model

    system = task.system if chosen.system is None else chosen.system
    known = trained_options(chosen.model, system, chosen.stop, task.chat)
    stops = (known.stop_strings or task.stop_strings) if chosen.stop is None else known.stop_strings
    arguments = {**task.template_arguments, **said}
    engine, renderer = open_model(
        chosen.model, chosen.device, chosen.dtype, known.system or None, known.chat, arguments
    )
    renderer = replace(renderer, stop_strings=stops, converses=task.budget.rewritten)
    narrowed = chosen.top_k, chosen.top_p, chosen.min_p
    sampling = renderer.sampling(chosen.max_completion_tokens, chosen.temperature, *narrowed)
    if chosen.me:
        engine = Person(engine.context_tokens, lambda: ())
    return Player(engine, renderer, task, sampling, chosen.seed, _show)


def _about(player: Player, chosen: Namespace) -> str:
    turns = player.task.budget.most
    limits = f"at most {turns} turns and {chosen.max_completion_tokens} tokens"
    if not chosen.me:
        return limits
    return f"{limits}. You are the model: a line is a turn, one that ends with \\ goes on, Ctrl-D leaves"


def _play(player: Player, row: Example, chosen: Namespace) -> None:
    from groupwise.commands.episodes import Keyboard, Person, ending
    from groupwise.tasks.episode_rows import with_tools

    episodes = player.task.episodes
    assert episodes is not None
    if chosen.me:
        example = with_tools(row, episodes.environment)
        keyboard = Keyboard(player.renderer, example)
        _tell_tools(example)
        player = replace(player, engine=Person(player.engine.context_tokens, lambda: _typed(keyboard)))
    rollout = player.play(row)
    print(visible(ending(rollout, episodes.name)), flush=True)


def _tell_tools(example: Example) -> None:
    """Says which tools may be called, and how a person does it."""
    functions = [schema["function"] for schema in example.columns.get("tools") or ()]
    for function in functions:
        names = ", ".join(function.get("parameters", {}).get("properties", {}))
        about = " ".join(str(function.get("description", "")).split())
        print(visible(f"tool {function['name']}({names}): {about}"), file=sys.stderr)
    if functions:
        print(visible(f'{CALL} {functions[0]["name"]} {{"NAME": VALUE}} calls it'), file=sys.stderr)


def _typed(keyboard: Keyboard) -> Sequence[int]:
    """Returns the person's next turn."""
    while True:
        text = _line()
        if not text.startswith(f"{CALL} "):
            return keyboard.turn(text)
        try:
            return keyboard.call(*_read_call(text))
        except UserError as error:
            print(visible(str(error)), file=sys.stderr)


def _read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Reads ``/call NAME {...}``. Raises UserError where it is none."""
    _, name, *rest = text.split(maxsplit=2)
    try:
        arguments = json.loads(rest[0]) if rest else {}
    except ValueError as error:
        raise UserError(f"{rest[0]} is no JSON ({error}); expected {CALL} NAME {{...}}") from error
    if not isinstance(arguments, dict):
        raise UserError(f'{rest[0]} is no object; expected {CALL} {name} {{"NAME": VALUE}}')
    return name, arguments


def _line() -> str:
    """Returns what is typed up to a line's end that no backslash stands before; a pipe's lines are shown as if
    typed."""
    is_typed, lines = sys.stdin.isatty(), list[str]()
    while True:
        line = input("[you] " if not lines else "... ") if is_typed else _piped()
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(lines)


def _piped() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    print(visible(f"[you] {line.rstrip()}"), flush=True)
    return line.rstrip("\r\n")


def _show(text: str) -> None:
    print(visible(text), end="", flush=True)
