"""This module writes ``report.html``: a whole run in one file that opens from disk, without a server and without a
network. It is the page that ``groupwise view --export`` writes."""

from __future__ import annotations

from pathlib import Path

from groupwise.errors import UserError


def write_report(run_directory: Path) -> Path:
    """Renders what a run directory holds to ``report.html`` inside it and returns that path. The run itself calls it,
    at its end or where it stops.

    Raises UserError where ``run.json`` is missing.
    """
    from groupwise.view.export import write_page  # numpy and pyarrow

    if not (run_directory / "run.json").is_file():
        raise UserError(f"{run_directory} has no run.json, so it is not a run directory: name the directory of a run")
    return write_page([run_directory], run_directory / "report.html", are_over=True)
