"""Directories in which a run should go on, and what others laid there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attempts.commands import Attempt, Place, chat, evaluate, recipe, train


def _run(place: Place, *more: str) -> list[str]:
    return ["run", str(recipe(place)), "--out", "run", *more]


def _linked(place: Place, name: str, *more: str, to: str = "Documents/thesis.tex") -> list[str]:
    """A link at a name that the run will write, to a file of the user's."""
    link = place.path / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place.home / to)
    return _run(place, *more)


def _written(place: Place, name: str, content: str, *more: str) -> list[str]:
    place.write(f"run/{name}", content)
    return _run(place, *more)


def _home(place: Place, **files: str) -> list[str]:
    """``--fresh`` where a home is, with what may look like a run in it."""
    for name, content in files.items():
        (place.home / name.replace("__", ".")).write_text(content)
    return ["run", str(recipe(place)), "--out", str(place.home), "--fresh"]


def _folder_link(place: Place, name: str) -> list[str]:
    (place.path / "run").mkdir()
    (place.path / "run" / name).symlink_to(place.home)
    return _run(place, "--fresh")


def _git(place: Place, config: str, attributes: str = "* filter=x\n", *, hooks: bool = False) -> list[str]:
    """The folder in which the command is given is a repository of a stranger's."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(place.path)]
    recipe(place)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    place.write(".gitattributes", attributes)
    place.write("recipe.py", (place.path / "recipe.py").read_text() + "\n")
    with (place.path / ".git/config").open("a") as file:
        file.write(config.replace("MARK", str(place.mark)))
    if hooks:
        for name in ("post-index-change", "pre-commit", "post-checkout", "fsmonitor-watchman"):
            hook = place.write(f".git/hooks/{name}", f"#!/bin/sh\ntouch {place.mark}\n")
            hook.chmod(0o755)
    return _run(place)


def _git_link(place: Place, content: str) -> list[str]:
    place.write(".git", content.replace("HOME", str(place.home)))
    return _run(place)


def _git_pipe(place: Place) -> list[str]:
    (place.path / ".git").mkdir()
    os.mkfifo(place.path / ".git/HEAD")
    return _run(place)


def _locked(place: Place, holder: Callable[[Path], None]) -> list[str]:
    (place.path / "run").mkdir()
    holder(place.path / "run")
    return _run(place)


def _flocked(directory: Path) -> None:
    """Held by another process for some seconds."""
    lock = directory / ".lock"
    lock.touch()
    code = "import fcntl,sys,time; f=open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(20)"
    process = subprocess.Popen(["python3", "-c", code, str(lock)], stdout=subprocess.PIPE)
    if process.stdout:
        process.stdout.readline()


def _mode(place: Place, mode: int, *command: str) -> list[str]:
    """A folder of another mode; tried as a user who is not root."""
    arguments = _run(place)
    (place.path / "run").mkdir()
    (place.path / "run").chmod(mode)
    return [*arguments, *command]


def _closed(place: Place, make: Callable[[Place], list[str]]) -> list[str]:
    arguments = make(place)
    place.path.chmod(0o555)
    return arguments


def _json(place: Place, name: str) -> list[str]:
    (place.path / "out").mkdir(exist_ok=True)
    (place.path / "out" / name).symlink_to(place.home / "Documents/thesis.tex")
    return [*evaluate(place.whole_model), "--json", "out/x.json"]


def _explained(place: Place, **files: str) -> list[str]:
    for name, content in files.items():
        place.write(f"run/{name.replace('__', '.').replace('SLASH', '/')}", content)
    return ["explain", "grpo", "--run", "run"]


def _special(place: Place, name: str) -> list[str]:
    (place.path / "run").mkdir()
    os.mkfifo(place.path / "run" / name)
    return _run(place)


_FORGED = json.dumps({"recipe": "x", "recipe_sha256": "0" * 64, "run": "run"})
_ESC = "\x1b]0;x\x07\u202e"
_RECORD: dict[str, Any] = {
    "recipe": {"name": _ESC},
    "recipe_sha256": "0" * 64,
    "stages": [{"name": _ESC}],
    "seconds": 1,
}
KINDS: dict[str, Attempt] = {
    "a link for the lock": partial(_linked, name=".lock"),
    "a link for the record": partial(_linked, name="run.json"),
    "a link for the half-written record": partial(_linked, name=".partial-run.json"),
    "a link for the metrics": partial(_linked, name="metrics.jsonl"),
    "a link for the report": partial(_linked, name="report.html"),
    "a link for the evaluation": partial(_linked, name="evaluation.json"),
    "a link for the models": partial(_linked, name="models", to="Documents"),
    "a link for the checkpoints": partial(_linked, name="checkpoints", to="Documents"),
    "a link for the ledger": partial(_linked, name="ledger", to="Documents"),
    "a link for a model": partial(_linked, name="models/sft", to="Documents"),
    "a link for a half-written model": partial(_linked, name="models/.partial-sft", to="Documents"),
    "a link for all": lambda place: (place.path / "run").symlink_to(place.home) or _run(place),
    "a link for all, fresh": lambda place: (place.path / "run").symlink_to(place.home) or _run(place, "--fresh"),
    "a link for the JSON": partial(_json, name="x.json"),
    "a link for the half-written JSON": partial(_json, name=".partial-x.json"),
    "fresh in a home": _home,
    "fresh in a home with a record": partial(_home, run__json="{}"),
    "fresh in a home with a forged record": partial(_home, run__json=_FORGED),
    "fresh in a home with a record of control characters": partial(_home, run__json=json.dumps(_RECORD)),
    "fresh in the root": lambda place: ["run", str(recipe(place)), "--out", "/", "--fresh"],
    "fresh with a forged record and links": lambda place: (
        _linked(place, "models", to="Documents"),
        _written(place, "run.json", _FORGED, "--fresh"),
    )[1],
    "fresh with a link for the checkpoints": partial(_folder_link, name="checkpoints"),
    "fresh with a link for the models": partial(_folder_link, name="models"),
    "fresh with a link for the ledger": partial(_folder_link, name="ledger"),
    "a record that is a list": partial(_written, name="run.json", content="[]"),
    "a record nested deeply": partial(_written, name="run.json", content="[" * 100_000),
    "a record of nan": partial(_written, name="run.json", content='{"seconds": NaN, "recipe": 3}'),
    "a record of control characters": partial(_written, name="run.json", content=json.dumps(_RECORD)),
    "a record of bytes": partial(_written, name="run.json", content="\udcff\udcfe"),
    "a record that is a folder": partial(_written, name="run.json/x", content=""),
    "metrics that are a folder": partial(_written, name="metrics.jsonl/x", content=""),
    "a lock that is a folder": partial(_written, name=".lock/x", content=""),
    "models that are a file": partial(_written, name="models", content=""),
    "checkpoints that are a file": partial(_written, name="checkpoints", content="x"),
    "a pipe for the lock": partial(_special, name=".lock"),
    "a pipe for the record": partial(_special, name="run.json"),
    "a pipe for the metrics": partial(_special, name="metrics.jsonl"),
    "a lock that another holds": partial(_locked, holder=_flocked),
    "a file for a folder": lambda place: place.write("run", "x") and _run(place),
    "a folder that is full of other things": partial(_written, name="thesis.tex", content="thesis"),
    "git: a monitor of files": partial(_git, config="[core]\n\tfsmonitor = touch MARK; false\n"),
    "git: a filter": partial(_git, config='[filter "x"]\n\tclean = touch MARK; cat\n\tsmudge = touch MARK; cat\n'),
    "git: a process of a filter": partial(_git, config='[filter "x"]\n\tprocess = touch MARK\n\trequired = true\n'),
    "git: hooks": partial(_git, config="", hooks=True),
    "git: a pager and an editor": partial(
        _git, config="[core]\n\tpager = touch MARK\n\teditor = touch MARK\n\tsshCommand = touch MARK\n"
    ),
    "git: an alias": partial(_git, config='[alias]\n\tstatus = "!touch MARK"\n\trev-parse = "!touch MARK"\n'),
    "git: an included config": partial(_git, config="[include]\n\tpath = ../recipe.py\n"),
    "git: a difference by a program": partial(
        _git, config='[diff "x"]\n\ttextconv = touch MARK\n\tcommand = touch MARK\n', attributes="* diff=x\n"
    ),
    "git: a file that leads away": partial(_git_link, content="gitdir: HOME/.ssh"),
    "git: a file of bytes": partial(_git_link, content="\udcff\0"),
    "git: a pipe for the head": _git_pipe,
    "not to be written: the run's": partial(_mode, mode=0o555),
    "not to be read: the run's": partial(_mode, mode=0o000),
    "not to be written: the folder": partial(_closed, make=_run),
    "not to be written: a result": partial(
        _closed, make=lambda place: [*evaluate(place.whole_model), "--json", "x.json"]
    ),
    "not to be written: a file of options": partial(
        _closed, make=lambda place: train(place, None, "--write_options", "x.toml")
    ),
    "not to be written: a project": partial(_closed, make=lambda place: ["new", "x"]),
    "not to be read: data": lambda place: (place.data().chmod(0), train(place, place.path / "train.jsonl"))[1],
    "not to be read: a model": lambda place: ((model := place.model()), (model / "config.json").chmod(0), chat(model))[
        2
    ],
    "not to be read: a recipe": lambda place: (recipe(place).chmod(0), _run(place))[1],
    "a full device for a result": lambda place: [*evaluate(place.whole_model), "--json", "/dev/full"],
    "the null device for a run": lambda place: ["run", str(recipe(place)), "--out", "/dev/null"],
    "a folder below a file": lambda place: place.write("x", "") and ["run", str(recipe(place)), "--out", "x/run"],
    "a folder with a long name": lambda place: ["run", str(recipe(place)), "--out", "x" * 300],
    "a folder with many parts": lambda place: ["run", str(recipe(place)), "--out", "/".join(["x"] * 3000)],
    "explained: a record of control characters": partial(_explained, run__json=json.dumps(_RECORD)),
    "explained: metrics of control characters": partial(
        _explained, run__json=json.dumps(_RECORD), metrics__jsonl=json.dumps({"stage": _ESC, "step": 1}) + "\n"
    ),
    "explained: no record": _explained,
    "explained: a ledger of nothing": partial(_explained, run__json=_FORGED, ledgerSLASHgrpoSLASH0__json="[]"),
    "a folder that is taken away": lambda place: shutil.rmtree(place.path / "run", ignore_errors=True) or _run(place),
}
AS_PLAIN = ("not to be",)
"""Attempts that root would not notice: they are made by a plain user."""
