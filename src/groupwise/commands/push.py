"""This is ``groupwise push``: it sends a model to the hub, with a card that holds its evaluation."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

EXAMPLES = """  groupwise push runs/quickstart/models/grpo me/arithmetic --private
  groupwise push runs/quickstart/models/grpo me/arithmetic --dry_run
  groupwise push models/mine me/mine --evaluation found.json

The token is read from HF_TOKEN alone, and stands in nothing that is written or said."""
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
"""This is a name as the hub takes one; two marks one behind the other it does not take."""
SENT = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md")
"""Files of weights that run code when they are read are not sent."""


def execute(arguments: Sequence[str]) -> int:
    """Sends the model, and says where it is."""
    chosen = _parser().parse_args(arguments)
    model, evaluation = Path(chosen.model), Path(chosen.evaluation) if chosen.evaluation else None
    if not (model / "config.json").is_file() and not (model / "adapter_config.json").is_file():
        raise UserError(
            f"{model}: is no model's directory (no config.json); expected one such as runs/NAME/models/STAGE"
        )
    if evaluation and not evaluation.is_file():
        raise UserError(f"{evaluation}: no such file; groupwise evaluate MODEL --json FILE writes one")
    names = chosen.repo.split("/")
    if len(names) != 2 or not all(map(NAME.fullmatch, names)) or re.search(r"--|\.\.", chosen.repo):
        raise UserError(
            f"{chosen.repo}: is no repository; expected OWNER/NAME, of letters, digits, and -, _ or . between"
        )
    from groupwise.runs.hub_card import hub_card
    from groupwise.storage.hub_upload import upload
    from groupwise.storage.manifest import damage

    if (model / "manifest.json").is_file() and (why := damage(model)):
        raise UserError(f"{model}: the model is damaged: {why}")
    card = hub_card(model, chosen.repo, evaluation)
    kept, left = _files(model)
    if left:
        print(visible(f"not sent: {', '.join(left)}"))
    size = sum(path.stat().st_size for path in kept.values()) + len(card.encode())
    told = f"{counted(len(kept) + 1, 'file')}, {size / 1e6:,.1f} MB"
    if chosen.dry_run:
        print(visible(card))
        print(visible(f"would send {told} to {chosen.repo}: {', '.join(['README.md', *kept])}"))
        return 0
    address = upload(chosen.repo, {"README.md": card.encode(), **kept}, chosen.private)
    print(visible(f"{address}: {told}"))
    return 0


def _files(model: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns what is sent, by its name there, and the names of what is not."""
    found = {
        path.relative_to(model).as_posix(): path
        for path in sorted(model.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(model).parts)
    }
    kept = {name: path for name, path in found.items() if path.suffix in SENT and name != "README.md"}
    return kept, [name for name in found if name not in kept and name != "README.md"]


def _parser() -> ArgumentParser:
    usage = "groupwise push MODEL OWNER/NAME [--private] [--evaluation FILE] [--dry_run]"
    known = parser("push", "Send a model to the hub, with a card that holds its evaluation.", EXAMPLES, usage)
    known.add_argument("model", metavar="MODEL", help="a model directory, such as runs/NAME/models/STAGE")
    known.add_argument("repo", metavar="OWNER/NAME", help="the repository; made where there is none")
    known.add_argument("--private", action="store_true", help="make it a private one, where it is made")
    known.add_argument("--evaluation", metavar="FILE", help="of groupwise evaluate --json, in place of the run's own")
    known.add_argument("--dry_run", action="store_true", help="print the card and the files; send nothing")
    return known
