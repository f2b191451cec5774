"""A run has a model, a list of stages, a learner and an engine; each stage takes the model that the last one left.

Directory of a run::

    run.json           the resolved recipe, machine and versions          metrics.jsonl   every step's numbers
    models/<stage>/    what a stage left: a Hugging Face directory        tensorboard/    the same
    checkpoints/       a stage under way: model, optimizer, progress      ledger/         every rollout, a file a step
    gathered/          samples that a stage took once, to begin with       bad_batches/    updates that were left out
    evaluation.json    how good each stage's model is                     report.html     all of it to look at
    alarms.jsonl       what the doctor said (groupwise.doctor)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from groupwise.config.describe import describe
from groupwise.config.identity import unknowns
from groupwise.config.ranges import refuse_number, refuse_options
from groupwise.engines import Native
from groupwise.errors import UserError
from groupwise.evaluation.evaluate import Evaluation
from groupwise.explain.presets import coincidence
from groupwise.learners import Local, NewModel
from groupwise.learners.source import check_model
from groupwise.learning.trainable import LearnerConfig
from groupwise.protocols import EngineConfig
from groupwise.rewards.scoring import prepare
from groupwise.runs.environment import conditions, recipe_hash
from groupwise.runs.quick_evaluation import refuse_unknown_best
from groupwise.runs.scorer_evaluation import ScorerEvaluation
from groupwise.sinks.trackers import Tracker
from groupwise.training.checks import refuse, refuse_order, reward_models, warnings
from groupwise.training.stage import Checkpoints, HeldOut, Stage

LONGEST_NAME = 100
"""Bytes of the name of a run or a stage; a file system takes 255, and names are put together."""


@dataclass(frozen=True)
class Run:
    """A recipe is the value that a recipe file calls ``run``, whose numbers the command line tunes."""

    name: str
    """Names the directory under runs/."""
    model: str | NewModel
    """A model directory, a hub name, or a small new model made from its config."""
    stages: tuple[Stage, ...]
    learner: LearnerConfig = Local()
    engine: EngineConfig = Native()
    evaluation: HeldOut = HeldOut()
    checkpoints: Checkpoints = Checkpoints()
    evaluate_first: bool = True
    """Whether the model that the first policy stage begins with is evaluated too, once, so that there is a before to
    every after. One of random weights is not."""
    seed: Annotated[int, "(-inf, inf)"] = 0
    """With the recipe, all that decides the result."""
    sinks: tuple[Tracker, ...] = ()
    """Trackers that hear of the run beside the terminal and its own files: ``groupwise.sinks.trackers``."""


@dataclass(frozen=True)
class Outcome:
    """An outcome is what a run left: its directory, the last model and each stage's evaluation."""

    directory: Path
    model: Path
    evaluations: dict[str, Evaluation]
    already_finished: bool = False
    scorers: dict[str, ScorerEvaluation] = field(default_factory=dict)
    """Of stages that trained one."""


def validate(recipe: Run) -> list[str]:
    """Warns about a recipe. Raises UserError where it cannot mean what it says, or a reward cannot work here."""
    if not recipe.stages:
        raise UserError(f"run {recipe.name} has no stages; expected at least one Stage")
    if isinstance(recipe.model, str):
        check_model(recipe.model)
    names = [stage.name for stage in recipe.stages]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"run {recipe.name} has two stages named {twice}; each needs its own name")
    bad = next((name for name in [recipe.name, *names] if not _is_name(name)), None)
    if bad is not None:
        raise UserError(
            f"{bad!r} can't name a run or a stage: it names a directory; use letters, digits, -, _ and ., a letter, a "
            f"digit or _ first, {LONGEST_NAME} at most"
        )
    if isinstance(recipe.model, NewModel) and "new" in names:
        raise UserError(f"run {recipe.name}: models/new holds the model it begins with; name the stage otherwise")
    refuse_ranges(recipe)
    for sink in recipe.sinks:
        sink.refuse()
    for stage in recipe.stages:
        refuse(stage)
    refuse_order(recipe.stages)
    refuse_unknown_best(recipe.stages, recipe.evaluation, recipe.checkpoints)
    for directory in reward_models(recipe.stages):
        check_model(directory)
    prepare(reward for stage in recipe.stages for reward in (*stage.task.rewards, *stage.task.referee))
    others = ((stage.name, coincidence(stage)) for stage in recipe.stages)
    told = [f"stage {name}: {said}" for name, said in others if said]
    return [*_uncomparable(recipe), *(warning for stage in recipe.stages for warning in warnings(stage)), *told]


def _is_name(name: str) -> bool:
    allowed = all(letter.isalnum() or letter in "-_." for letter in name)
    return 0 < len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME and allowed and name[0] not in "-."


def _uncomparable(recipe: Run) -> Iterator[str]:
    """Returns what will keep the run from being continued after a stop."""
    for place, kind in unknowns(describe(recipe)):
        yield (
            f"{place} holds a {kind}, which cannot be compared with another one, so that this run cannot be continued "
            "after a stop; keep plain values there and make the object when it is called"
        )


def refuse_ranges(recipe: Run) -> None:
    """Raises UserError for a number of the recipe, named as its option is, that lies outside what is declared."""
    for stage in recipe.stages:
        refuse_options(stage, "--" if len(recipe.stages) == 1 else f"--{stage.name}.")
        for reward in (*stage.task.rewards, *stage.task.referee):
            refuse_number(f"stage {stage.name}: the weight of reward '{reward.name}'", reward.weight, "(-inf, inf)")
    refuse_options(recipe, "--")


def as_record(recipe: Run) -> dict[str, Any]:
    """Returns run.json as it stands when a run begins."""
    described = describe(recipe)
    return {
        "name": recipe.name,
        "recipe": described,
        "recipe_sha256": recipe_hash(described),
        "stages": [{"name": stage.name, "steps": stage.steps} for stage in recipe.stages],
        **conditions(recipe.stages),
        "started": time.time(),
    }


def directory_of(out: Path | str | None, name: str) -> Path:
    """Returns the directory of a run of that name, ``out`` where that is said. Raises UserError where it is empty."""
    if out is not None and not str(out).strip():
        raise UserError("--out is empty; expected the run's directory, or nothing: then it is runs/NAME")
    return Path("runs") / name if out is None else Path(out).expanduser()
