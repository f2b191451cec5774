"""The command line as a whole: quick help, exit codes, and help with an example for every command."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from importlib.metadata import version

import pytest

from groupwise.cli import COMMANDS, main
from groupwise.commands.flags import underscored

HEAVY = ("torch", "transformers", "tyro", "rich", "numpy", "pyarrow", "datasets")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "groupwise.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)


def test_help_answers_at_once():
    def seconds() -> float:
        """Of the processor, which a busy machine does not stretch as it stretches the clock's."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from groupwise.cli import main; main(['--help']); "
        f"print(sorted(set({HEAVY}) & set(sys.modules)), len(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=1200)
    heavy, _, modules = result.stdout.splitlines()[-1].rpartition(" ")
    assert heavy == "[]"
    assert int(modules) < 150


def test_help_names_every_command(capsys):
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    assert all(f"  {name} " in bare for name in COMMANDS)
    assert "groupwise run examples/quickstart.py" in bare


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys, command):
    try:
        code = main([command, "--help"])
    except SystemExit as end:
        code = end.code
    shown = capsys.readouterr().out
    assert code == 0
    assert "examples:\n" in shown
    assert f"  groupwise {command}" in shown.partition("examples:")[2]
    assert max(len(line) for line in shown.splitlines()) <= 120


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"groupwise {version('groupwise')}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rnu"], "groupwise: unknown command rnu: perhaps you meant run"),
        (["train"], "groupwise: unknown command train: perhaps you meant run"),
        (["grpo"], "groupwise: unknown command grpo: perhaps you meant run grpo"),
        (["merge"], "groupwise: unknown command merge: perhaps you meant export"),
        (
            ["xyz"],
            "groupwise: unknown command xyz; there are run, check, evaluate, view, compare, report, list, resume, "
            "export, push, chat, serve, fetch, convert, new, explain, audit, doctor, corpus, methods",
        ),
        (
            ["evaluate", "m", "--task", "stepwise", "--sample", "4"],
            "unknown option --sample: perhaps you meant --samples",
        ),
        (["chat", "m", "--promt", "hi"], "unknown option --promt: perhaps you meant --prompt"),
        (["new"], "the following arguments are required: name"),
        (["new", "a", "b"], "unexpected 'b'"),
        (["methods", "--all"], "unknown option --all"),
        (["evaluate", "m"], "the following arguments are required: --task"),
        (["evaluate", "m", "--task", "stepwise", "--seed", "one"], "invalid int value: 'one'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(capsys, arguments, line):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert line in shown.err


def test_an_interrupted_command_exits_with_130(capsys, monkeypatch):
    import groupwise.commands.methods as methods

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "execute", interrupted)
    assert main(["methods"]) == 130
    assert capsys.readouterr().err == "groupwise methods: interrupted\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_output_without_room_is_one_line(arguments):
    """A disk that is full, which Python would find when the process ends, and a reader that has gone."""
    command = [sys.executable, "-m", "groupwise.cli", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=1200)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"groupwise {arguments[0]}: what it prints can't be written (No space left")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=1200)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    import groupwise.commands.methods as methods

    monkeypatch.setattr(methods, "execute", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["methods"])


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("--dry-run", "--dry_run"),
        ("--a-b=c-d", "--a_b=c-d"),
        ("a-b", "a-b"),
        ("-5", "-5"),
        ("--kl.live-weight", "--kl.live_weight"),
    ],
)
def test_dashes_and_underscores_are_alike(word, read):
    assert underscored(word) == read
