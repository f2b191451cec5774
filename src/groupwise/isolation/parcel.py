"""This module packs modules and settings that a fresh interpreter gets on one descriptor, since behind walls it cannot
read ours."""

from __future__ import annotations

import functools
import marshal
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START = (
    "import marshal, os, sys\n"
    "with os.fdopen(int(sys.argv[1]), 'rb') as file: modules, settings = marshal.load(file)\n"
    "for name, code in modules:\n"
    "    module = sys.modules[name] = type(sys)(name)\n"
    "    exec(code, vars(module))\n"
    "module.main(settings)"
)
"""For ``python -c``, with the descriptor as the argument: runs ``main`` of the last module."""


def pack(modules: Sequence[str], settings: dict[str, Any]) -> int:
    """A descriptor to read both from, whose end is there: whoever writes it never waits for a reader."""
    return in_memory(marshal.dumps([[(f"groupwise.isolation.{name}", _code(name)) for name in modules], settings]))


def in_memory(data: bytes) -> int:
    """Returns a descriptor to read ``data`` from."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("groupwise", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@functools.cache
def _code(module: str) -> Any:
    path = Path(__file__).with_name(f"{module}.py")
    return compile(path.read_text(encoding="utf-8"), path.name, "exec", dont_inherit=True)
