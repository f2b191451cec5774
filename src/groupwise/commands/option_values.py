"""This module has tyro read values of options: what it says of a mistake becomes one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import tyro

from groupwise.commands.option_errors import told
from groupwise.commands.recipe_module import without_source
from groupwise.errors import UserError

CONFIG = (
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.AvoidSubcommands,
    tyro.conf.SuppressFixed,
    tyro.conf.FlagConversionOff,
)


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
