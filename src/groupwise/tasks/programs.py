"""This environment runs the programs of an answer and tells the model what they printed, as in ToRA (arXiv 2309.17452)
and DeepSeekMath's evaluation with tools.

A turn that ends with a program, in a fenced block ``python``, is answered with a block ``output``; one that ends
otherwise is the last. Programs run in a sandbox, each by itself.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from groupwise.environments.protocol import Reply, Utterance
from groupwise.isolation.sandbox import SOURCE_BYTES, Sandbox

OUTPUT = "```output"
_OPENING = re.compile(r"(`{3,}|~{3,})[ \t]*(?:python3?|py)(?:[ \t][^`~]*)?", re.IGNORECASE)


@dataclass(frozen=True)
class ProgramTurns:
    """An environment in which programs are run. It has no score: the rewards of the task judge what was said
    (``rewards.transcript``)."""

    time_limit_seconds: Annotated[float, "(0, inf)"] = 10.0
    memory_bytes: Annotated[int, "[1, inf)"] = 512 << 20
    output_bytes: Annotated[int, "[1, inf)"] = 1 << 14

    def __call__(self, row: Mapping[str, Any], random: Random) -> Generator[Utterance, Reply, Any]:
        sandbox = Sandbox(self.time_limit_seconds, self.memory_bytes, self.output_bytes)
        reply, calls, failed = (yield None), 0, 0
        while (source := program_of(reply)) is not None:
            calls += 1
            ended_well, printed = run(sandbox, source)
            failed += not ended_well
            opened = str(reply).rstrip().endswith(OUTPUT)
            block = "\n" if opened else f"{'' if str(reply).endswith(chr(10)) else chr(10)}{OUTPUT}\n"
            reply = yield f"{block}{printed}\n```\n"
        return {"tools/calls": calls, "tools/failed": failed}


def program_of(reply: str) -> str | None:
    """The program that a turn ends with; None where it ends otherwise, so that nothing is run.

    A fence is three marks or more, and is closed by as many; what stands indented, as in a list, is moved to the left.
    """
    text = reply.rstrip()
    text = text.removesuffix(OUTPUT).rstrip() if text.endswith(OUTPUT) else text
    lines = text.replace("\r\n", "\n").split("\n")
    begun = ended = None
    marks = program = ""
    for number, line in enumerate(lines):
        fence = line.strip(" \t")
        if begun is None and (opening := _OPENING.fullmatch(fence)):
            begun, marks = number, opening[1]
        elif begun is not None and fence.startswith(marks) and not fence.strip(marks[0]):
            program, ended, begun = _moved(lines[begun:number]), number, None
    return program if ended == len(lines) - 1 else None


def _moved(lines: list[str]) -> str:
    """The lines behind the first, as far to the left as that one stands to the right."""
    opening, *rest = lines
    indent = len(opening) - len(opening.lstrip(" \t"))
    return "\n".join(line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in rest)


def run(sandbox: Sandbox, source: str) -> tuple[bool, str]:
    """Says whether a program ended well, and what it printed, or in words why it did not."""
    encoded = source.encode("utf-8", "surrogatepass")
    if len(encoded) > SOURCE_BYTES:
        return False, f"Error: the program is longer than {SOURCE_BYTES} bytes"
    ran = sandbox.program(encoded, b"")
    if not ran.trouble:
        return True, ran.output.decode("utf-8", "replace").rstrip("\n")
    why = {"time": "it took too long", "output": "it printed too much"}.get(ran.trouble, ran.trouble)
    return False, f"Error: {why}"
