"""This module writes runs as one file that opens from disk, without a server and without a network: the viewer's own
page with its answers inside."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from groupwise.output.counting import counted
from groupwise.storage.atomic import write_atomically
from groupwise.view.about import headline
from groupwise.view.answers import Answers
from groupwise.view.answers_json import encoded
from groupwise.view.groups import group_of
from groupwise.view.ledger_numbers import plain_numbers
from groupwise.view.pages import SCRIPTLESS, SCRIPTS, STYLES, asset
from groupwise.view.run_files import RunFiles, open_runs
from groupwise.view.token_pieces import TokenPieces

GROUPS_OF_A_STEP = 3
ROLLOUTS = 16  # of a group
TOKENS = 600
"""Of a completion; the viewer shows longer ones whole."""


def write_page(
    directories: Sequence[Path], path: Path, comparison: dict[str, Any] | None = None, are_over: bool = False
) -> Path:
    """Writes what the runs have so far to ``path``, and returns it. ``comparison``: tables and remarks above them.
    ``are_over``: nothing trains in them any more, though their lock may still be held.

    Raises UserError for a directory that is no run's.
    """
    runs = open_runs(directories, are_over)
    write_atomically(path, document(runs, comparison))
    return path


def document(runs: Sequence[RunFiles], comparison: dict[str, Any] | None = None) -> str:
    """Returns the page: no script but its own may run, and nothing is fetched."""
    style, script = ("\n".join(map(asset, names)) for names in (STYLES, SCRIPTS))
    answers = stored(runs) | ({"comparison": comparison} if comparison else {})
    data = encoded(answers).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    names = ", ".join(str(run.record().get("name") or run.directory.name) for run in runs)
    return Template(asset("page.html")).substitute(
        policy=f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        title=f"{_plain(names)} · Groupwise",
        plain=" ".join([*filter(None, map(_in_words, runs)), SCRIPTLESS]),
        head=f"<style>{style}</style>",
        data=f'<script type="application/json" id="stored">{data}</script>\n',
        scripts=f"<script>{script}</script>",
    )


def stored(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Returns what the page asks, and the answers."""
    answers = Answers.of(runs)
    found: dict[str, Any] = {"runs": answers.all_runs({}), "written": {"written": round(time.time())}}
    for number, run in enumerate(runs):
        fields = {"run": str(number)}
        found[f"curves?run={number}"] = answers.curves_of(fields)
        found[f"evaluation?run={number}"] = answers.evaluation(fields)
        found[f"groups?run={number}"] = {"groups": list(_groups(run))}
    return found


def _groups(run: RunFiles) -> Iterator[dict[str, Any]]:
    """Yields a few groups of the first step of each stage, of the one in the middle and of the last, those with a
    signal first."""
    for stage in sorted(run.ledger.glob("*")):
        files = sorted(path for path in stage.glob("*.parquet") if path.stem.isdecimal())
        for path in (files[at] for at in sorted({0, len(files) // 2, len(files) - 1}) if files):
            numbers = plain_numbers(path)
            if numbers is None:
                continue
            pairs = sorted(zip((1 - numbers["signal"]).tolist(), numbers["group"].tolist(), strict=True))
            for group in list(dict.fromkeys(group for _, group in pairs))[:GROUPS_OF_A_STEP]:
                found = group_of(path, group, TokenPieces(run.directory), run.record(), TOKENS)
                found["rollouts"] = found["rollouts"][:ROLLOUTS]
                yield {"stage": stage.name, "step": int(path.stem), "steps": [], "group": group, **found}


def _in_words(run: RunFiles) -> str:
    """Says what a run found, for a reader without scripts."""
    found = headline(run.evaluation())
    if found is None:
        return ""
    before, after = found["before"]["value"], found["after"]["value"]
    name = _plain(str(run.record().get("name") or run.directory.name))
    measured = f"{name}: on {counted(found['problems'], 'held-out problem')} {found['measure']}"
    if found["only"]:
        return f"{measured} is {after:.3f} {_plain(found['moments'][1])}."
    if after == before:
        return f"{measured} stayed at {before:.3f}."
    return f"{measured} {'rose' if after > before else 'fell'} from {before:.3f} to {after:.3f}."


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(text: str) -> str:
    for letter, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(letter, name)
    return text.encode("utf-8", "replace").decode()
