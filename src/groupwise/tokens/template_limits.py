"""This module limits what a chat template may take: steps, and letters at a time. It is a program, and comes with
somebody's model.

Steps are counted, not seconds: the same template passes on every machine. What a single operation would make is
reckoned before it is done (``template_operations``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2.utils import Namespace

from groupwise.tokens.template_operations import bounded

STEPS = 2_000_000
"""Lines of Python that filling in one conversation may take; a template of 100 lines takes some 50 a message."""
LETTERS = 16_000_000
"""Of the text, and of anything that the template holds on its way to it."""
_EVERY = 4
_COMPILED = ("<template>", "<unknown>")
"""What jinja calls the file of a template's compiled code."""


class TemplateTooLong(Exception):  # noqa: N818 - it says what is the case
    """A template takes more than it may."""


@contextmanager
def limited() -> Iterator[None]:
    """Counts what this thread does inside and raises TemplateTooLong beyond the limits. A debugger does not see what
    happens inside, and goes on behind it."""
    before = sys.gettrace()
    sys.settrace(_Counter().step)
    try:
        with bounded(LETTERS, TemplateTooLong):
            yield
    finally:
        sys.settrace(before)


def refuse_long(text: str, given: int) -> None:
    """Raises TemplateTooLong for a text that ``given`` letters cannot have made."""
    if len(text) > LETTERS + 8 * given:
        raise TemplateTooLong(f"it writes {len(text):,} letters for a conversation of {given:,}")


class _Counter:
    """This counts what a template does and stops it where that becomes too much."""

    def __init__(self) -> None:
        self._steps = self._of_template = 0

    def step(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._steps += 1
        if self._steps > STEPS:
            raise TemplateTooLong(f"it takes more than {STEPS:,} steps")
        if frame.f_code.co_filename in _COMPILED:
            self._of_template += 1
            if self._of_template % _EVERY == 0:
                _refuse_large(frame.f_locals)
        return self.step


def _refuse_large(values: dict[str, Any]) -> None:
    for value in values.values():
        if isinstance(value, str | list | tuple) and len(value) > LETTERS:
            raise TemplateTooLong(f"it holds {len(value):,} letters or items at a time")
        if isinstance(value, Namespace):
            _refuse_large(object.__getattribute__(value, "_Namespace__attrs"))
