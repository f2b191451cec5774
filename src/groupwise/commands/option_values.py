"""This module has tyro read values of options: what it says of a mistake becomes one line."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import tyro

from groupwise.commands.option_errors import told
from groupwise.errors import UserError

CONFIG = (
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.AvoidSubcommands,
    tyro.conf.SuppressFixed,
    tyro.conf.FlagConversionOff,
)

RECIPE_MODULE = "groupwise_recipe"
"""The name that a recipe file is run under."""


def parse_value(view: type, default: Any, arguments: Sequence[str], program: str) -> Any:
    """Returns what tyro makes of the words; its boxed errors become one line of a UserError."""
    said = io.StringIO()
    try:
        with without_source(), contextlib.redirect_stderr(said):
            return tyro.cli(
                view, default=default, args=list(arguments), prog=program, use_underscores=True, config=CONFIG
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UserError(told(said.getvalue())) from None


@contextlib.contextmanager
def without_source() -> Iterator[None]:
    """Tells tyro, which looks for what a class says of its fields, that a recipe file's own classes have no source: the
    file was run, and is no module."""
    module = ModuleType(RECIPE_MODULE)
    module.__file__ = f"<{RECIPE_MODULE}>"
    sys.modules[RECIPE_MODULE] = module
    try:
        yield
    finally:
        del sys.modules[RECIPE_MODULE]
