"""This module puts the page together: one document, its styles and scripts in order."""

from __future__ import annotations

from importlib.resources import files
from string import Template

SCRIPTS = (
    *("uplot.js", "base.js", "text.js", "charts.js", "overview.js", "rollouts.js", "tokens.js", "group.js"),
    *("prompt.js", "what_if.js", "evaluation.js", "compare.js", "report.js", "start.js"),
)
STYLES = ("uplot.css", "view.css")
SCRIPTLESS = "This page draws its curves and tokens with a script of its own; allow it to run."


def asset(name: str) -> str:
    """Returns the text of a file of the page's."""
    return files("groupwise.view").joinpath("assets", name).read_text(encoding="utf-8")


def page() -> str:
    """Returns the document that fetches its styles and scripts from this server."""
    styles = "\n".join(f'<link rel="stylesheet" href="/static/{name}">' for name in STYLES)
    scripts = "\n".join(f'<script src="/static/{name}" defer></script>' for name in SCRIPTS)
    return Template(asset("page.html")).substitute(
        head=styles, title="Groupwise", policy="", data="", plain=SCRIPTLESS, scripts=scripts
    )
