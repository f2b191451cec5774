"""This is ``groupwise export``: it writes what a run has made as files for others."""

from __future__ import annotations

import csv
import re
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.known_run import known_run
from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.runs.directory import RunDirectory
from groupwise.storage.named_file import errors_named, refuse_place
from groupwise.view.run_files import stages_of

EXAMPLES = """  groupwise export runs/quickstart --model models/arithmetic
  groupwise export runs/mine --adapter adapters/mine --stage grpo
  groupwise export runs/quickstart --ledger rollouts.jsonl --steps 50-60
  groupwise export runs/quickstart --ledger rollouts.csv --metrics metrics.csv

--model writes a directory that transformers, vLLM and llama.cpp's converter load, adapters merged in."""
PARTS = ("model", "adapter", "ledger", "metrics")


def execute(arguments: Sequence[str]) -> int:
    """Writes each part that was asked for, and says what it holds."""
    chosen = _parser().parse_args(arguments)
    place, _ = known_run(Path(chosen.run))
    asked = {name: Path(vars(chosen)[name]) for name in PARTS if vars(chosen)[name]}
    if not asked:
        raise UserError("nothing was asked for; expected --model DIR, --adapter DIR, --ledger FILE or --metrics FILE")
    if len({path.resolve() for path in asked.values()}) < len(asked):
        raise UserError(f"{', '.join(f'--{name}' for name in asked)}: two parts have one name; expected one for each")
    for path in (asked[name] for name in ("ledger", "metrics") if name in asked):
        if path.is_dir():
            refuse_place(path)
    taken = next((path for path in asked.values() if path.exists() or path.is_symlink()), None)
    if taken and not chosen.fresh:
        raise UserError(f"{taken} is there already; --fresh writes over it, or choose another name")
    write = {"model": _model, "adapter": _adapter, "ledger": _ledger, "metrics": _metrics}
    for name, path in asked.items():
        with errors_named(path):
            print(visible(write[name](place, path, chosen)))
    return 0


def _model(place: RunDirectory, path: Path, chosen: Namespace) -> str:
    left = _left(place, chosen.stage)
    _copy(left, path)
    return f"{path}: the model that {left.name} left"


def _adapter(place: RunDirectory, path: Path, chosen: Namespace) -> str:
    left = _left(place, chosen.stage)
    if not (left / "adapter").is_dir():
        raise UserError(f"{left}: stage {left.name} trained every weight, so there is no adapter; expected --model DIR")
    _copy(left / "adapter", path)
    return f"{path}: the adapter that {left.name} left, for peft"


def _left(place: RunDirectory, stage: str | None) -> Path:
    """Returns the directory of a stage's model, and raises UserError where it is not there or not whole."""
    from groupwise.storage.manifest import damage

    names = [one["name"] for one in stages_of(place.read())]
    made = [name for name in names if place.model(name).is_dir()]
    if stage is not None and stage not in names:
        raise UserError(f"{place.path}: has no stage {stage}; there are {', '.join(names)}")
    if not made or (stage is not None and stage not in made):
        raise UserError(
            f"{place.path}: {stage or 'no stage'} has left no model yet; groupwise resume {place.path} goes on"
        )
    left = place.model(stage or made[-1])
    if why := damage(left):
        raise UserError(f"{left}: the model is damaged: {why}")
    return left


def _copy(source: Path, target: Path) -> None:
    from groupwise.storage.atomic import complete_directory

    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise UserError(f"{target}: lies in the run's own {source}, or holds it; choose another place")
    with complete_directory(target) as aside:
        _copy_files(source, aside)


def _copy_files(source: Path, target: Path) -> None:
    """Copies what lies in a directory, and behind its links. Raises OSError at the first failure, where copytree would
    go on and tell of every file."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _copy_files(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def _ledger(place: RunDirectory, path: Path, chosen: Namespace) -> str:
    from groupwise.ledger.export import export_ledger, steps_of, without_damaged

    first, last = _range(chosen.steps)
    files = steps_of(place.ledger, chosen.stage, first, last)
    whole = without_damaged(files)
    damaged = [f"{stage} {step}" for stage, step in files if (stage, step) not in whole]
    count = export_ledger(whole, path)
    left = f"; left out, since their files are damaged: {', '.join(damaged)}" if damaged else ""
    return f"{path}: {counted(count, 'rollout')} of {counted(len(whole), 'step')}{left}"


def _range(text: str | None) -> tuple[int, int | None]:
    """Reads ``50-60``, ``50-``, ``-60`` or ``50`` as the first and the last step; None: no end."""
    if text is None:
        return 0, None
    found = re.fullmatch(r"(\d*)(?:(-)(\d*))?", text)
    if not found or text in ("", "-"):
        raise UserError(f"--steps is {text}; expected 50, 50-60, 50- or -60")
    first = int(found[1] or 0)
    last = int(found[3]) if found[3] else None if found[2] else first
    if last is not None and last < first:
        raise UserError(f"--steps is {text}, which begins after its end")
    return first, last


def _metrics(place: RunDirectory, path: Path, chosen: Namespace) -> str:
    from groupwise.sinks.jsonl import read_metrics
    from groupwise.storage.atomic import PARTIAL

    if path.suffix != ".csv":
        raise UserError(f"{path}: does not end in .csv; metrics.jsonl in the run has them a JSON object a line")
    first, last = _range(chosen.steps)
    rows = [row for row in read_metrics(place.path) if chosen.stage in (None, row["stage"]) and first <= row["step"]]
    rows = [row for row in rows if last is None or row["step"] <= last]
    if not rows:
        raise UserError(f"{place.path}: metrics.jsonl has none of the steps that were asked for")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{path.name}")
    names = list(dict.fromkeys(["stage", "step", *(name for row in rows for name in row)]))
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
    return f"{path}: {counted(len(rows), 'step')}, {counted(len(names) - 2, 'metric')}"


def _parser() -> ArgumentParser:
    usage = "groupwise export RUN [--model DIR] [--adapter DIR] [--ledger FILE] [--metrics FILE] [--stage NAME]"
    known = parser("export", "Write what a run has made as files for others.", EXAMPLES, usage)
    known.add_argument("run", metavar="RUN", help="the directory of a run")
    known.add_argument("--model", metavar="DIR", help="a model directory, adapters merged in")
    known.add_argument("--adapter", metavar="DIR", help="the adapter alone, for peft")
    known.add_argument(
        "--ledger", metavar="FILE", help="every rollout: .jsonl, .parquet, or .csv (without the values of each token)"
    )
    known.add_argument("--metrics", metavar="FILE.csv", help="every step's metrics as a table")
    known.add_argument("--stage", metavar="NAME", help="of which stage (model: the last; others: all)")
    known.add_argument("--steps", metavar="A-B", help="these steps of the ledger and the metrics alone")
    known.add_argument("--fresh", action="store_true", help="write over what is there")
    return known
