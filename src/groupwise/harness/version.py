"""This module says which lm-eval is installed. Some installers go back to one from years ago without a word: that is
refused."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from groupwise.errors import UserError

NEEDED = "lm-eval>=0.4.13,<0.5"


def refuse_version() -> None:
    """Raises UserError where lm-eval is missing or too old."""
    try:
        found = version("lm-eval")
    except PackageNotFoundError:
        raise UserError("lm-eval is not installed; pip install 'groupwise[harness]'") from None
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < (0, 4):
        raise UserError(
            f"lm-eval {found} is installed, whose models and tasks have another form: an installer goes back to it "
            f"where lm-eval's extra [math] asks for another antlr4 than math-verify; expected {NEEDED} without [math]: "
            "pip install 'groupwise[harness]'"
        )
