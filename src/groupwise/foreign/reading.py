"""A file of another system, or words of its command line, as a Script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from groupwise.errors import UserError
from groupwise.foreign.python_file import read_python
from groupwise.foreign.script import MOST_BYTES, Script, limited
from groupwise.foreign.shell import command, overrides, read_shell
from groupwise.foreign.yaml_file import read_yaml

EXPECTED = (
    "expected a file (.py of TRL, .yaml of TRL or verl, .sh of TRL, verl or OpenRLHF), overrides such as "
    "algorithm.adv_estimator=grpo, or a command such as: trl grpo --model_name_or_path M"
)


def read(words: Sequence[str], trainer: str = "") -> Script:
    """Reads files and words: a later one counts where several say the same. Raises UserError where nothing can be
    read."""
    files = [word for word in words if not re.match(r"[+\w.@]+=", word)]
    rest = [word for word in words if word not in files]
    if not files or not all(Path(word).is_file() for word in files):
        script = command(words)
        if script is not None:
            return script
    missing = next((word for word in files if not Path(word).is_file()), None)
    if missing is not None or not files:
        raise UserError(f"{missing or ' '.join(words)[:80]!r}: no such file and no training command; {EXPECTED}")
    scripts: list[Script] = []
    for name in files:
        told = trainer or next((script.trainer for script in scripts if script.system == "TRL"), "")
        scripts.append(_file(Path(name), told))
    return _joined(scripts + ([overrides(rest)] if rest else []))


def _file(path: Path, trainer: str) -> Script:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = limited(data.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8 (byte {error.start}); {EXPECTED}") from error
    if path.suffix == ".py":
        return read_python(text, str(path))
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(text, str(path), trainer)
    if path.suffix in (".sh", ".bash", ".slurm", ".txt", ""):
        return read_shell(text, str(path))
    raise UserError(f"{path}: unknown kind of file; {EXPECTED}")


def _joined(scripts: Sequence[Script]) -> Script:
    """Settings of all, in order; what else there is comes from the first that has it."""
    first = scripts[0]
    other = next((script for script in scripts if script.system != first.system), None)
    if other is not None:
        raise UserError(f"one is of {first.system} and another of {other.system}; convert them by themselves")
    settings = [setting for script in scripts for setting in script.settings]
    return replace(first, settings=settings, unread=[line for script in scripts for line in script.unread])
