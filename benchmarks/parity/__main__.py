"""Losses and gradients of other systems, by their own code, against ours on the same random draws.

PYTHONPATH=src python benchmarks/parity            (make parity makes its environment first)

Writes benchmarks/parity.json and the tables of docs/parity.md.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from draws import Draw, Found, draw, draws
from page import write

if TYPE_CHECKING:
    from case import Case

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-10  # everything is float64
PACKAGES = ("trl", "verl", "openrlhf", "torch", "transformers", "numpy")


def main() -> int:
    """Prints one line a case; the exit code is 1 where one is neither the same nor explained by a formula."""
    warnings.simplefilter("ignore")
    from cases import cases

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    given = draws()
    compared = [(case, row(case, given)) for case in cases(given["near"].mask.shape[1])]
    small = draw(7, groups=2, group_size=4, longest=5, spread=0.5)
    presets = {case.preset: golden(case, small) for case, _ in compared if case.preset}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, CPU",
        "versions": {name: version(name) for name in PACKAGES},
        "tolerance": TOLERANCE,
        "draws": {name: {"completions": len(one.mask), "tokens": sum(one.lengths)} for name, one in given.items()},
        "rows": [found for _, found in compared],
        "golden": {"draw": _lists(small), "found": presets},
    }
    (ROOT / "benchmarks" / "parity.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write(ROOT / "docs" / "parity.md", result)
    return int(any(found["verdict"] not in ("same", "explained") for _, found in compared))


def row(case: Case, given: dict[str, Draw]) -> dict[str, Any]:
    """Of parity.json: losses on the draw ``near``, and the largest difference of each quantity over all draws."""
    from_ours: dict[str, float] = {}
    from_formula: dict[str, float] = {}
    losses = {}
    for name, one in given.items():
        changed = case.changed(one)
        theirs, mine = case.theirs(changed), case.ours(changed)
        _raise(from_ours, difference(theirs, mine, changed))
        _raise(from_formula, difference(theirs, case.by_hand(changed), changed))
        losses[name] = {"theirs": theirs.loss, "ours": mine.loss}
    found = {"system": case.system, "name": case.name, "preset": case.preset, "updates": case.updates}
    found |= {"loss": losses["near"], "difference": from_ours}
    found |= {"verdict": _verdict(case, from_ours, from_formula, given)}
    if case.formula:
        found |= {"why": case.why, "difference_by_hand": from_formula}
    print(f"{found['verdict']:9s} {case.system:9s} {case.name:48s}", end=" ")
    print("  ".join(f"{name} {value:.1e}" for name, value in from_ours.items()), end="")
    print(f"   by hand {max(from_formula.values()):.1e}: {case.why}" if case.formula else "", flush=True)
    return found


def _verdict(case: Case, from_ours: dict[str, float], from_formula: dict[str, float], given: dict[str, Draw]) -> str:
    """A formula by hand must give their number and be nearer to it than ours, or it is not needed. A row whose options
    change nothing on these draws shows nothing."""
    if any(not _moves(case, other, given) for other in case.without_options()):
        return "IDLE"
    mine, by_hand = max(from_ours.values()), max(from_formula.values())
    if case.formula is None:
        return "same" if mine <= TOLERANCE else "DIFFERENT"
    return "explained" if by_hand <= TOLERANCE and by_hand < mine / 10 else "DIFFERENT"


def _moves(case: Case, other: Case, given: dict[str, Draw]) -> bool:
    changed = [case.changed(one) for one in given.values()]
    return any(max(difference(case.ours(one), other.ours(one), one).values()) > TOLERANCE for one in changed)


def difference(theirs: Found, mine: Found, draw: Draw) -> dict[str, float]:
    """Largest difference of each quantity: of tensors relative to their largest entry, of losses to at least 1."""
    advantages = theirs.advantages * draw.mask
    pairs = {"gradient": (theirs.logprobs, mine.logprobs), "advantages": (advantages, mine.advantages)}
    found = {"loss": _of_losses(theirs.loss, mine.loss)}
    if theirs.values is not None and mine.values is not None:
        found["value loss"] = _of_losses(theirs.value_loss, mine.value_loss)
        pairs["values"] = (theirs.values, mine.values)
    if theirs.entropy is not None and mine.entropy is not None:
        pairs["entropy"] = (theirs.entropy, mine.entropy)
    relative = {name: float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for name, (a, b) in pairs.items()}
    return found | relative


def golden(case: Case, small: Draw) -> dict[str, Any]:
    """Their loss and gradient on the small draw, for tests that have none of these packages."""
    return {name: value for name, value in _lists(case.theirs(small)).items() if value is not None}


def _lists(value: Draw | Found) -> dict[str, Any]:
    return {name: x.tolist() if isinstance(x, torch.Tensor) else x for name, x in vars(value).items()}


def _of_losses(theirs: float, mine: float) -> float:
    return abs(theirs - mine) / max(1.0, abs(theirs))


def _raise(largest: dict[str, float], found: dict[str, float]) -> None:
    for name, value in found.items():
        largest[name] = max(value, largest.get(name, 0.0))


if __name__ == "__main__":
    sys.exit(main())
