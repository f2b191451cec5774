"""Models, data, names and directories of strangers, given to the command in a child of this process."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from attempts import Seen, data, directories, models, names
from attempts.commands import Attempt, Place
from callers import PLAIN_ID
from forked import import_all, spawned
from surroundings import TOKEN, Files, changed, make_home, snapshot

import groupwise as gw

ALLOWED_SECONDS = 60.0
"""Of an attempt: many times what it takes."""
MEMORY_BYTES = 700 << 20
"""That an attempt may take beyond what a harmless one takes."""
ADDRESS_BYTES = 6 << 30
MODEL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=256)
KINDS: dict[str, dict[str, Attempt]] = {
    "models": models.KINDS,
    "data": data.KINDS,
    "names": names.KINDS,
    "directories": directories.KINDS,
}
CONTROL = {"\n", "\t", "\r"}
"""A terminal does no harm with these."""


def attempts(place: Path, wanted: Callable[[str], bool] = lambda name: True) -> list[dict[str, Any]]:
    """All of them, each in a folder of its own, two at a time."""
    place.mkdir(parents=True)
    model = place / "whole"
    MODEL.save(model)
    usual = warm_up(place, model)
    found = [(f"{kind}: {what}", attempt) for kind, tries in KINDS.items() for what, attempt in tries.items()]
    chosen = [(number, name, attempt) for number, (name, attempt) in enumerate(found) if wanted(name)]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda one: tried(*one, place, model, usual), chosen))


def warm_up(place: Path, model: Path) -> int:
    """Loads what the commands load, so that their children need not, and measures one that does no harm."""
    from attempts.commands import chat, train

    from groupwise.cli import COMMANDS

    for name in COMMANDS:
        __import__(f"groupwise.commands.{name}")
    memory = 0
    for number, make in enumerate((train, lambda one: train(one, method="sft"), lambda one: chat(one.whole_model))):
        there = Place(place / f"warm-{number}", model, make_home(place / f"warm-home-{number}"))
        there.path.mkdir()
        status, _, memory, said = ended(there, make(there), plain=False)
        if status != 0:
            raise RuntimeError(f"a harmless command fails: {said}")
        import_all((there.path / "modules.txt").read_text().split())
    return memory


def tried(number: int, name: str, attempt: Attempt, place: Path, model: Path, usual: int) -> dict[str, Any]:
    there = Place(place / f"{number:03}", model, make_home(place / f"home-{number:03}"))
    there.path.mkdir()
    plain = any(word in name for word in directories.AS_PLAIN)
    before: Files = {}
    try:
        arguments = laid_out(there, attempt)
        there = replace(there, asked=str(there.home) in arguments)
        before = snapshot(there.home)
        status, seconds, memory, said = ended(there, arguments, plain)
        seen = judged(there, before, status, memory - usual, said)
    except Exception as error:  # what a stranger cannot lay out shows nothing
        seconds, seen = 0.0, Seen("TRACEBACK", f"not tried: {type(error).__name__}: {error}"[:160])
    there.path.chmod(0o755)
    shutil.rmtree(there.path, ignore_errors=True)
    shutil.rmtree(there.home.parent, ignore_errors=True)
    return {"name": name, "caller": "here", "seconds": round(seconds, 2), **seen._asdict()}


def laid_out(there: Place, attempt: Attempt) -> list[str]:
    """What the attempt lays out is made in a child, so that this process stays small; the arguments come back."""
    told = there.home.parent / "arguments.json"
    child = spawned(lambda: told.write_text(json.dumps(attempt(there))) and None, there.path)
    if (status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) != 0:
        raise RuntimeError(f"status {status}: {(there.path / 'said.txt').read_text()[-160:]}")
    (there.path / "said.txt").unlink()
    return list(json.loads(told.read_text()))


def ended(there: Place, arguments: list[str], plain: bool) -> tuple[int | None, float, int, str]:
    """Exit status (None: it did not end), seconds, bytes and what was said."""
    started = time.monotonic()
    child = spawned(partial(command, arguments, plain), there.path)
    status = usage = None
    while status is None and time.monotonic() - started < ALLOWED_SECONDS:
        ready, code, usage = os.wait4(child, os.WNOHANG)
        if ready:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.01)
    if status is None:
        os.kill(child, signal.SIGKILL)
        _, _, usage = os.wait4(child, 0)
    said = (there.path / "said.txt").read_text(errors="surrogateescape")
    return status, time.monotonic() - started, 0 if usage is None else usage.ru_maxrss << 10, said


def command(arguments: list[str], plain: bool) -> None:
    """The command line, in a child that cannot take the whole machine."""
    from groupwise.cli import main

    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.environ.update(WANDB_API_KEY=TOKEN, HF_HUB_OFFLINE="1", GROUPWISE_KERNELS="off", HOME=str(Path.cwd()))
    if plain and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(PLAIN_ID)
        os.setuid(PLAIN_ID)
    status = main(arguments)
    if Path.cwd().name.startswith("warm-"):
        Path("modules.txt").write_text("\n".join(sorted(sys.modules)))
    raise SystemExit(status)


def judged(there: Place, before: Files, status: int | None, memory: int, said: str) -> Seen:
    """The worst of all that can be seen of it."""
    problems = list(problems_of(there, before, status, memory, said))
    last = said.strip().splitlines()[-1:] or [""]
    if problems:
        return problems[0]
    return Seen("refused" if status else "held", "" if not status else printable(last[0])[:160])


def problems_of(there: Place, before: Files, status: int | None, memory: int, said: str) -> Iterator[Seen]:
    if there.mark.exists():
        yield Seen("ESCAPED", "a program ran that nobody asked for")
    after = snapshot(there.home)
    if there.asked:  # for a run there: what it adds is no harm
        after = {name: content for name, content in (after | record_of(before)).items() if name in before}
    if differences := changed(before, after):
        yield Seen("TOUCHED", differences)
    if TOKEN in said:
        yield Seen("ESCAPED", "a secret was shown")
    if control := sorted({letter for letter in said if is_control(letter)}):
        yield Seen("ESCAPED", f"{control} reached the terminal")
    if memory > MEMORY_BYTES:
        yield Seen("ESCAPED", f"it took {memory >> 20} MiB")
    if status is None:
        yield Seen("HUNG", f"no end after {ALLOWED_SECONDS:.0f} s: {printable(said[-80:])}")
    if "Traceback (most recent call last)" in said or (status is not None and status < 0):
        yield Seen("TRACEBACK", printable(" | ".join(said.strip().splitlines()[-3:]))[-300:] or f"signal {status}")


def record_of(files: Files) -> Files:
    """A run's record, which a run that is told to start over writes anew."""
    return {name: content for name, content in files.items() if name == "run.json"}


def is_control(letter: str) -> bool:
    return letter not in CONTROL and (ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0x202A <= ord(letter) <= 0x202E)


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
