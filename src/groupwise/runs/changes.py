"""This module says which options may change while a run goes on: those that no step already taken depends on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from groupwise.config.describe import as_described_now, differences, parts_that_differ
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.storage.manifest import damage

SHOWN = 3
Recipe = Mapping[str, Any]

FREE = re.compile(
    r"checkpoints\..*|evaluation\..*|evaluate_first|sinks(?:\..*)?|engine\.threads"
    r"|learner\.(is|processes|context|timeout_seconds|tokens_per_micro_batch|checkpointing)"
    r"|engine\.(urls(\.\d+)?|weights|concurrent|in_flight|timeout_seconds|attempts|transfer|largest_gap)"
    r"|stages\.\d+\.(checkpoint_every|evaluate_every|most_skipped_steps|most_unscored)"
    r"|stages\.\d+\.(task\.turns\.processes|algorithm\.(source\.)+side_by_side)"
)
"""What no number of a step depends on, other than by rounding: several processes and smaller micro-batches add in
another order, and servers say the same wherever they stand."""
QUICK = ("evaluation.during", "evaluation.during_samples")
"""Of the evaluations inside a stage; the others are made again under another plan."""
LENGTH = re.compile(r"stages\.(\d+)\.(?:steps|schedule_steps)")

REASONS = {
    r"seed": "every sample and every order of rows follows from it",
    r"model(\..*)?": "it is what the run began with",
    r"name": "it names the run in what is written already",
    r"stages": "a stage more or less is another run; a further one can be a run of its own, with this one's model",
    r"learner\.(threads|device|dtype)|engine\..*": "another rounds otherwise",
    r"stages\.\d+\.task.*": "the steps already taken are of these rows, rewards and prompts",
    r".*": "the steps already taken were made with it",
}
"""Why another value would be another run, by the option; the first that fits."""


class RunFiles(Protocol):
    """This is what is asked here of a run's directory: ``directory.RunDirectory`` answers."""

    path: Path

    def begun(self, stage: str) -> bool:
        """Says whether anything of the stage is there."""

    def model(self, stage: str) -> Path:
        """Returns where the model that the stage leaves lies."""

    def checkpoint(self, stage: str, step: int) -> Path:
        """Returns where the checkpoint behind a step lies."""

    def checkpoints(self, stage: str) -> dict[int, Path]:
        """Returns the stage's checkpoints by their steps, ascending."""


@dataclass(frozen=True)
class Changes:
    """These are what a continued run does otherwise from now on."""

    words: tuple[str, ...] = ()
    """``option: now (there: before)``, one for each."""
    lengthened: str = ""
    """The stage that had left its model and takes more steps."""
    evaluates_anew: bool = False
    """Whether all models are evaluated again, under another plan."""


def accepted(place: RunFiles, ours: Recipe, theirs: Recipe) -> Changes:
    """Returns what may change from ``theirs``, the recipe recorded in ``place``, to ``ours``. Raises UserError, with
    the reason for each option, where something may not."""
    theirs = as_described_now(theirs, ours)
    refused: list[str] = []
    lengthened: list[str] = []
    paths = [path for path, _, _ in parts_that_differ(ours, theirs)]
    said = [_with_stage(words, theirs) for words in differences(ours, theirs)]
    for path, words in zip(paths, said, strict=True):
        found = _Option(place, ours, theirs, path)
        why = found.refusal()
        refused += [f"{words}: {why}"] if why else []
        lengthened += [found.stage] if not why and found.goes_beyond_its_end else []
    if refused:
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise UserError(
            f"{place.path}: belongs to another recipe; they differ in {'; '.join(refused[:SHOWN])}{more}. Choose "
            "another --out, or start over with --fresh"
        )
    anew = any(path.startswith("evaluation.") and path not in QUICK for path in paths)
    return Changes(tuple(said), lengthened[0] if lengthened else "", anew)


def _with_stage(words: str, theirs: Recipe) -> str:
    """Calls an option of a stage by the stage's name, as the command line does, and not by its place."""
    return re.sub(r"^stages\.(\d+)\.", lambda found: f"{theirs['stages'][int(found[1])]['name']}.", words)


class _Option:
    """This is one place in which two recipes differ."""

    def __init__(self, place: RunFiles, ours: Recipe, theirs: Recipe, path: str) -> None:
        self.place, self.path = place, path
        of_stage = re.match(r"stages\.(\d+)\.", path)
        self.number = int(of_stage[1]) if of_stage else None
        self.ours = {} if self.number is None else ours["stages"][self.number]
        self.theirs = {} if self.number is None else theirs["stages"][self.number]
        self.stage = str(self.theirs.get("name", ""))
        self.is_last = self.number == len(theirs.get("stages", ())) - 1

    def refusal(self) -> str:
        """Says why it may not change; empty where it may."""
        if FREE.fullmatch(self.path) or self._has_not_begun:
            return ""
        if LENGTH.fullmatch(self.path):
            return next(self._length_refusals(), "")
        return next(why for pattern, why in REASONS.items() if re.fullmatch(pattern, self.path))

    @property
    def goes_beyond_its_end(self) -> bool:
        """Says whether the stage had left its model, and would have taken more steps."""
        return self._is_done and int(self.ours["steps"]) > int(self.theirs["steps"])

    @property
    def _has_not_begun(self) -> bool:
        return bool(self.stage) and self.ours["name"] == self.stage and not self.place.begun(self.stage)

    @property
    def _is_done(self) -> bool:
        return bool(self.stage) and self.place.model(self.stage).exists()

    def _length_refusals(self) -> Iterator[str]:
        steps, before = int(self.ours["steps"]), int(self.theirs["steps"])
        taken = before if self._is_done else max(self.place.checkpoints(self.stage), default=0)
        schedule = self.theirs["schedule"]
        if schedule != "constant" and falls_over(self.ours) != falls_over(self.theirs):
            before_it = f"{schedule}, over {counted(falls_over(self.theirs), 'step')}"
            yield (
                f"the learning rate of the steps already taken falls ({before_it}); with --"
                f"{self._option('schedule_steps')} {falls_over(self.theirs)} it does so, too, and then stays low"
            )
        if steps < taken:
            yield f"{taken} steps are taken already"
        if self._is_done and steps > before and not self.is_last:
            yield "the stage after it begins with the model that it left"
        if self._is_done and steps > before and self.is_last:
            end = self.place.checkpoint(self.stage, before)
            if not end.exists():
                yield (
                    f"{end} is not kept (checkpoints.keep_end), so its optimiser is gone; a new run with --model "
                    f"{self.place.model(self.stage)} goes on from its weights"
                )
            elif wrong := damage(end):
                yield f"{end}, from which it would go on, is damaged: {wrong}"

    def _option(self, name: str) -> str:
        return name if self.is_last and self.number == 0 else f"{self.stage}.{name}"


def falls_over(stage: Mapping[str, Any]) -> int:
    """Counts the steps over which a stage's learning rate falls."""
    return int(stage.get("schedule_steps") or stage["steps"])
