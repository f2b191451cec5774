"""This is ``groupwise convert``: it writes a script of TRL, verl or OpenRLHF as a recipe."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible

EXAMPLES = """  groupwise convert train_grpo.py
  groupwise convert config.yaml --trainer grpo --out my_run.py
  groupwise convert run_verl.sh
  groupwise convert algorithm.adv_estimator=grpo data.train_files=train.parquet actor_rollout_ref.rollout.n=8
  groupwise convert -- trl grpo --model_name_or_path MODEL --dataset_name DATA --reward_funcs accuracy_reward

Nothing of the script is run. The recipe's first lines say what was assumed, and what has no place and why."""


def execute(arguments: Sequence[str]) -> int:
    """Writes the recipe, and says what it could not take over."""
    from groupwise.foreign.convert import convert
    from groupwise.foreign.reading import read
    from groupwise.foreign.script import TRAINERS

    trainers = {name.lower(): name for name in TRAINERS}
    typed: list[str] = []
    words = list(arguments)
    if "--" in words:
        words, typed = words[: words.index("--")], words[words.index("--") + 1 :]
    known = parser("convert", "A script of TRL, verl or OpenRLHF as a recipe of Groupwise.", EXAMPLES)
    known.add_argument("source", nargs="*", help="a .py, .yaml or .sh file, verl overrides, or a command after --")
    known.add_argument("--out", metavar="FILE.py", help="the recipe (by default SOURCE_groupwise.py, here)")
    known.add_argument("--trainer", choices=sorted(trainers), help="TRL's, where a YAML file does not tell")
    known.add_argument("--devices", metavar="N", type=int, help="GPUs that the script ran on, where it does not tell")
    known.add_argument("--fresh", action="store_true", help="write over a file that is there")
    chosen = known.parse_args(words)
    given = [*chosen.source, *typed]
    if not given:
        raise UserError("nothing to convert; expected a file, overrides, or a command after --, e.g. train_grpo.py")
    if chosen.devices is not None and chosen.devices < 1:
        raise UserError(f"--devices is {chosen.devices}; expected at least 1")
    script = read(given, trainers.get(chosen.trainer or "", ""))
    if chosen.devices:
        script = replace(script, devices=chosen.devices)
    out = Path(chosen.out) if chosen.out else Path(f"{_stem(given)}_groupwise.py")
    if out.suffix != ".py":
        raise UserError(f"--out {out}: a recipe is a Python file; expected a name that ends in .py")
    found = convert(script, _name(out), Path(given[0]).name if len(given) == 1 else shlex.join(given)[:60])
    _write(out, found.text, chosen.fresh)
    _tell(out, found)
    return 0


def _stem(given: Sequence[str]) -> str:
    first = next((Path(word).stem for word in given if Path(word).is_file()), "recipe")
    return re.sub(r"\W+", "_", first) or "recipe"


def _name(out: Path) -> str:
    """Returns a run's name, which is the file's."""
    return re.sub(r"[^\w-]+", "_", out.stem) or "converted"


def _write(out: Path, text: str, fresh: bool) -> None:
    try:
        with out.open("w" if fresh else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{out} is there already; --fresh writes over it, --out gives it another name") from error
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another --out") from error


def _tell(out: Path, found) -> None:  # type: ignore[no-untyped-def]
    for title, lines in (("assumed", found.assumed), ("no place", found.unplaced), ("not read", found.unread)):
        for line in lines:
            print(visible(f"{title}: {line}"))
    if found.idle:
        print(
            visible(
                f"the same without: {', '.join(found.idle)} (defaults, unknown values, or options of what isn't used)"
            )
        )
    missing = "".join(f" --{name} ..." for name in found.missing)
    print(visible(f"{out} is written; now: groupwise run {shlex.quote(str(out))}{missing} --dry_run"), file=sys.stdout)
