"""This is ``groupwise view``: runs in the browser, live, on this machine alone; nothing is written."""

from __future__ import annotations

import ast
import secrets
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import groupwise
from groupwise.commands.parser import parser
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.printable import visible

EXAMPLES = """  groupwise view runs/quickstart
  groupwise view runs/quickstart runs/other --open
  groupwise view runs/quickstart --port 7575
  groupwise view runs/quickstart --export quickstart.html

It prints an address with a token in it; open that. A run may go on writing meanwhile. Ctrl-C stops the
viewer."""
EXPLAINER = (sys.executable, "-m", "groupwise.commands.explain_answers")


def execute(arguments: Sequence[str]) -> int:
    """Serves until it is stopped."""
    chosen = _parser().parse_args(arguments)
    refuse_number("--port", chosen.port, "[0, 65535]", whole=True)
    from groupwise.view.run_files import open_runs

    if chosen.export:
        from groupwise.storage.named_file import refuse_place, write_named
        from groupwise.view.export import document

        refuse_place(Path(chosen.export))
        write_named(Path(chosen.export), document(open_runs(chosen.runs)))
        print(visible(chosen.export))
        return 0
    runs = open_runs(chosen.runs)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install 'groupwise[view]' brings it") from None
    from groupwise.view.serve import serve

    token = secrets.token_urlsafe(24)

    def introduce(port: int) -> None:
        address = f"http://127.0.0.1:{port}/?token={token}"
        print(address, flush=True)  # not masked: who starts the viewer must be able to read it
        print("open this address in a browser on this machine; Ctrl-C stops the viewer", file=sys.stderr)
        if chosen.open:
            import webbrowser

            webbrowser.open(address)

    serve(runs, EXPLAINER, methods(), token, chosen.port, introduce)
    return 0


def methods() -> list[tuple[str, str]]:
    """Returns the name and the first line of every recipe, read from the files: importing them would load torch."""
    folder = Path(groupwise.__file__).parent / "recipes"
    found = []
    for path in sorted(folder.glob("[a-z]*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found.append((path.stem, said.partition("\n")[0]))
    return found


def _parser() -> ArgumentParser:
    summary = "Runs in the browser: curves, every rollout, every token; live while they write."
    known = parser("view", summary, EXAMPLES, "groupwise view RUN [RUN ...] [--port N] [--open] [--export FILE.html]")
    known.add_argument("runs", metavar="RUN", nargs="+", help="directories of runs; several are laid over one another")
    known.add_argument("--port", type=int, metavar="N", default=0, help="of this machine; 0: any that is free (0)")
    known.add_argument("--export", metavar="FILE.html", help="write one file that needs no server, and end")
    known.add_argument("--open", action="store_true", help="open the address in the browser")
    return known
